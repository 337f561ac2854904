"""The process that workers of this machine are forked from; it has imported what they need."""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing import forkserver

# One thread each, as Dask has it for its workers: NumPy starts its threads with its import.
_SINGLE = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def can_fork() -> bool:
    """Whether workers can be forked from such a process: on Linux, whose libraries allow it."""
    return sys.platform == "linux"


def prepare() -> None:
    """Start the process that workers will be forked from; it imports while this one goes on.

    Does nothing where it is running. It ends with this process.
    """
    if can_fork():
        for name in _SINGLE:
            os.environ.setdefault(name, "1")
        multiprocessing.get_context("forkserver").set_forkserver_preload(["mnist_lab.preloaded"])
        forkserver.ensure_running()
