"""Commands of the lab as processes of their own, without the seconds that the imports take.

Each is forked from a process that has imported the libraries and has computed nothing: what a
command does, and how it ends, is its own. What a fresh Python does is left to the tests that start
one.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(["tests.preloaded", "tests.forked"])


def draw_nothing(patch: pytest.MonkeyPatch) -> None:
    """Let studies and experiments draw nothing: it takes longer than to train on a few digits."""
    patch.setattr("mnist_lab.drawing.draw", lambda *_: None)
    patch.setattr("mnist_lab.pictures.of_experiment", lambda *_: {})


class Forked:
    """`python -m MODULE ARGUMENTS` under way, with methods of `subprocess.Popen`.

    Args:
        module: of the lab.
        arguments: of the command line.
        folder: the current one of the command.
        environment: all of its variables.
        terminal: where it writes to, in place of what `communicate` returns.
        draws: whether it draws its figures: it takes longer than to train on a few digits.
    """

    def __init__(
        self,
        module: str,
        arguments: list[str],
        folder: Path,
        environment: dict[str, str],
        terminal: str | None = None,
        draws: bool = False,
    ) -> None:
        self._written = Path(tempfile.mkdtemp(prefix="command-"))
        files = (terminal, terminal) if terminal else (self._file("out"), self._file("err"))
        self._process = _FORKING.Process(
            target=_run, args=(module, arguments, folder, environment, draws, *files)
        )
        self._process.start()
        self.pid: int = self._process.pid or 0

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, *_: object) -> None:
        """Kill it where it still runs."""
        self._process.kill()
        self._process.join()
        shutil.rmtree(self._written)

    @property
    def returncode(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """How it ended; None while it runs."""
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end: what it wrote to stdout and to stderr."""
        self._process.join(timeout)
        if self._process.is_alive():
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0.0)
        return self._text("out"), self._text("err")

    def send_signal(self, number: int) -> None:
        """Send it a signal, as long as it runs."""
        if self._process.is_alive():
            os.kill(self.pid, number)

    def _file(self, name: str) -> str:
        path = self._written / name
        path.touch()
        return str(path)

    def _text(self, name: str) -> str:
        return (self._written / name).read_text()


def _run(
    module: str,
    arguments: list[str],
    folder: Path,
    environment: dict[str, str],
    draws: bool,
    out: str,
    err: str,
) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, name in ((1, out), (2, err)):
        file = os.open(name, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    sys.argv = [module, *arguments]
    sys.path.insert(0, str(folder))
    if not draws:
        draw_nothing(pytest.MonkeyPatch())
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        # A process of `multiprocessing` leaves these out.
        atexit._run_exitfuncs()
