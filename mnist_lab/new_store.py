"""A new local store: another process makes MLflow's tables, while this one imports."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from mnist_lab.files import whole

# It ends at once when the process that began it does: the next one begins the file anew.
_TABLES = """
import gc, os, sys, threading
gc.disable()
from mnist_lab.mlflow_backend import mlflow
uri = sys.stdin.readline().strip()
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
if uri:
    mlflow.MlflowClient(uri).search_experiments(max_results=1)
    os._exit(0)
"""


class Beside:
    """A process beside this one, which imports MLflow at once and makes tables when it is told.

    Args:
        meanwhile: what this process has to do anyway while the tables are made.
    """

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self._meanwhile = meanwhile
        self._process = subprocess.Popen(
            [sys.executable, "-c", _TABLES],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> Beside:
        return self

    def __exit__(self, *_: object) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.communicate()

    def made(self, uri: str) -> bool:
        """Have the tables made; False if that fails."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{uri}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return False
        self._meanwhile()
        return self._process.wait() == 0


def make(path: Path, beside: Beside | None) -> None:
    """Make a database, all of it or nothing: MLflow cannot go on with half of its tables.

    Args:
        path: where there is none yet.
        beside: who makes the tables; None for this process.
    """
    with whole(path) as unfinished:
        # No more is quoted than must be: MLflow would make a folder of the quoted name.
        quoted = str(unfinished).replace("%", "%25").replace("?", "%3F")
        uri = f"sqlite:///{quoted}"
        if beside is not None and beside.made(uri):
            return
        from mnist_lab.mlflow_backend import mlflow

        unfinished.unlink(missing_ok=True)
        mlflow.MlflowClient(uri).search_experiments(max_results=1)
