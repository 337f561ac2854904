"""Which process is at work on something, and whether it is known to have ended."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil

# Why a run ended that nobody ended.
KILLED = "its process was killed"

# Two processes of one number are apart by more than this; the clock's rounding is not.
_SAME_START_SECONDS = 0.5


def this_process() -> str:
    """The present process as text: its machine, its number there and when it was started."""
    return f"{_machine()} {os.getpid()} {psutil.Process().create_time():.2f}"


def is_dead(process: str) -> bool:
    """Whether a process is known to have ended; of one on another machine nothing is known.

    Args:
        process: as `this_process` told it.
    """
    try:
        machine, number, started = process.rsplit(" ", 2)
        if machine != _machine():
            return False
        now = psutil.Process(int(number))
        if now.status() == psutil.STATUS_ZOMBIE:  # it has ended, and nobody has asked how
            return True
        return abs(now.create_time() - float(started)) > _SAME_START_SECONDS
    except psutil.NoSuchProcess:
        return True
    except ValueError:  # not of our making
        return False


def _machine() -> str:
    """A name of this machine since it was started; a container is a machine of its own."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{platform.node()}/{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:  # not Linux
        return platform.node()
