from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from mnist_lab.process import is_dead, this_process
from tests.conftest import ROOT

TELL = "from mnist_lab.process import this_process as t; print(t(), flush=True); input()"


def test_a_process_is_dead_once_it_was_killed_and_not_before() -> None:
    assert not is_dead(this_process())
    other = subprocess.Popen(
        [sys.executable, "-c", TELL],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    told = other.stdout.readline().strip()
    assert not is_dead(told)
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert is_dead(told)
    other.communicate()


def test_a_number_that_was_given_again_is_another_process() -> None:
    machine, number, started = this_process().rsplit(" ", 2)
    assert is_dead(f"{machine} {number} {float(started) - 60:.2f}")


def test_a_process_of_before_this_machine_was_started_anew_is_dead() -> None:
    machine, number, started = this_process().rsplit(" ", 2)
    node, boot, container, installation = machine.rsplit("/", 3)
    assert boot != "before"
    installed = Path("/etc/machine-id")
    known = installed.is_file() and bool(installed.read_text().strip())
    assert is_dead(f"{node}/before/{container}/{installation} {number} {started}") == known
    # Another machine of that name, and a machine that tells nothing that lasts.
    assert not is_dead(f"{node}/before/{container}/0123456789 {number} {started}")
    assert not is_dead(f"{node}/before/{container}/ {number} {started}")
    # A container of this machine may be at work.
    assert not is_dead(f"{node}/{boot}/1/{installation} {number} {started}")


def test_of_another_machine_nothing_is_known() -> None:
    _, number, started = this_process().rsplit(" ", 2)
    assert not is_dead(f"elsewhere/1/2 {number} {float(started) - 60:.2f}")
    assert not is_dead("not of our making")
    assert not is_dead("")


def test_a_clock_that_is_set_kills_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    told = this_process()
    created = psutil.Process().create_time()
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: created + 60)
    assert this_process() == told
    assert not is_dead(told)
