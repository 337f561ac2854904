from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import mlflow
import pytest

from mnist_lab.interrupts import held, is_interrupt
from mnist_lab.tracking import Store, open_store


def interrupt() -> None:
    """Ctrl-C, as a terminal sends it."""
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.05)


def test_an_interrupt_waits_for_the_end_of_a_write() -> None:
    written: list[str] = []

    @held()
    def write() -> None:
        interrupt()
        written.append("whole")

    with pytest.raises(KeyboardInterrupt):
        write()
    assert written == ["whole"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_interrupt_breaks_through() -> None:
    passed: list[str] = []

    @held()
    def write() -> None:
        interrupt()
        passed.append("first")
        interrupt()
        passed.append("second")

    with pytest.raises(KeyboardInterrupt):
        write()
    assert passed == ["first"]


def test_holds_can_be_nested() -> None:
    written: list[str] = []

    @held()
    def inner() -> None:
        interrupt()
        written.append("inner")

    @held()
    def outer() -> None:
        inner()
        written.append("outer")

    with pytest.raises(KeyboardInterrupt):
        outer()
    assert written == ["inner", "outer"]


def test_a_handler_of_the_users_program_is_left_alone() -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
    try:
        with held():
            interrupt()
            assert received == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_error_that_an_interrupt_caused_is_one() -> None:
    error = SystemError("returned a result with an exception set")
    assert not is_interrupt(error)
    error.__cause__ = KeyboardInterrupt()
    assert is_interrupt(error)
    wrapped = ValueError("of another library")
    wrapped.__context__ = error
    assert is_interrupt(wrapped)
    wrapped.__suppress_context__ = True  # raise … from None
    assert not is_interrupt(wrapped)


@pytest.mark.parametrize("resumed", [False, True])
def test_a_run_that_is_interrupted_while_it_starts_is_ended(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, resumed: bool
) -> None:
    store = open_store()
    experiment = store.experiment("test")
    with store.run(experiment, "run", tags={}) as run:
        known = run.id if resumed else None
    name = "_resume" if resumed else "_start"
    original = getattr(Store, name)

    def interrupted(self: Store, *arguments: object) -> object:
        started = original(self, *arguments)
        interrupt()
        return started

    monkeypatch.setattr(Store, name, interrupted)
    with (
        pytest.raises(KeyboardInterrupt),
        store.run(experiment, "run", tags={}, resume=known),
    ):
        raise AssertionError("it begins")
    statuses = [run.info.status for run in mlflow.MlflowClient().search_runs([experiment])]
    assert sorted(statuses) == (["KILLED"] if resumed else ["FINISHED", "KILLED"])
