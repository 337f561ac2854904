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
_SINCE_1970 = 1e9  # no machine has been up for so many seconds


def this_process() -> str:
    """The present process as text: its machine, its number there and when it was started."""
    return f"{_machine()} {os.getpid()} {_started(psutil.Process()):.2f}"


def is_dead(process: str) -> bool:
    """Whether a process is known to have ended; of one on another machine nothing is known.

    Those that ran before this machine was started anew have ended.

    Args:
        process: as `this_process` told it.
    """
    try:
        machine, number, started = process.rsplit(" ", 2)
        if machine != _machine():
            return _is_this_machine_before(machine)
        now = psutil.Process(int(number))
        if now.status() == psutil.STATUS_ZOMBIE:  # it has ended, and nobody has asked how
            return True
        # Until lately it was told by the clock on the wall, as seconds since 1970.
        then = float(started)
        start = now.create_time() if then > _SINCE_1970 else _started(now)
        return abs(start - then) > _SAME_START_SECONDS
    except psutil.NoSuchProcess:
        return True
    except ValueError:  # not of our making
        return False


def _started(process: psutil.Process) -> float:
    """When a process was started, in seconds since its machine was.

    By the clock on the wall, which psutil's own answer goes by, a process would seem to be another
    one as soon as that clock is set.
    """
    try:
        # The fields after the program's name, which may contain anything.
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (FileNotFoundError, ProcessLookupError):  # it has ended just now, or this is not Linux
        return float(process.create_time())


def is_here(process: str) -> bool:
    """Whether a process is, or was, one of this machine: of those of others nothing is known.

    Args:
        process: as `this_process` told it.
    """
    return process.rsplit(" ", 2)[0] == _machine()


def _machine() -> str:
    """A name of this machine since it was started; a container is a machine of its own."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        container = os.stat("/proc/self/ns/pid").st_ino
    except OSError:  # not Linux
        return platform.node()
    return f"{platform.node()}/{boot}/{container}/{_installation()}"


def _installation() -> str:
    """What a machine keeps when it is started anew; "" where there is none, as in containers."""
    try:
        return Path("/etc/machine-id").read_text().strip()
    except OSError:
        return ""


def _is_this_machine_before(machine: str) -> bool:
    """Whether a machine is this one before it was started anew. Machines can share a name alone."""
    try:
        (node, boot, _, installation), now = machine.rsplit("/", 3), _machine().rsplit("/", 3)
    except ValueError:  # told by an older version, or not on Linux
        return False
    same = installation != "" and (node, installation) == (now[0], now[-1])
    return same and boot != now[1]
