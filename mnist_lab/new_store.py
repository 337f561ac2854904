"""A new local store: MLflow makes its tables in a process of their own, while this one imports."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from mnist_lab.files import whole
from mnist_lab.mlflow_backend import mlflow

# It ends at once when the process that waits for it does: the next one begins the file anew.
_TABLES = """
import os, sys, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
import mlflow
mlflow.MlflowClient(sys.argv[1]).search_experiments(max_results=1)
os._exit(0)
"""


def make(path: Path, meanwhile: Callable[[], object] | None) -> None:
    """Make a database, all of it or nothing: MLflow cannot go on with half of its tables.

    Args:
        path: where there is none yet.
        meanwhile: what this process has to do anyway; the two seconds of the tables are then
            spent by another.
    """
    with whole(path) as unfinished:
        uri = f"sqlite:///{unfinished}"
        if meanwhile is not None and _made_beside(uri, meanwhile):
            return
        unfinished.unlink(missing_ok=True)
        mlflow.MlflowClient(uri).search_experiments(max_results=1)


def _made_beside(uri: str, meanwhile: Callable[[], object]) -> bool:
    with subprocess.Popen(
        [sys.executable, "-c", _TABLES, uri],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        meanwhile()
        return process.wait() == 0
