"""What produced a run besides its configuration: code, machine, packages."""

from __future__ import annotations

import getpass
import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("mnist_lab", "tensorflow", "keras", "numpy", "mlflow", "optuna")


@dataclass(frozen=True)
class GitState:
    """The state of the code's git checkout.

    Attributes:
        commit: SHA-1 of HEAD, or "" where there is no commit.
        diff: what differs from HEAD, untracked files included; "" for a clean tree.
    """

    commit: str
    diff: str


@cache
def git_state() -> GitState:
    """The checkout that holds this package, or else the one around the current folder.

    Read once a process: the code that runs is the code that was imported. Empty where there is
    no git or no checkout.
    """
    for folder in (Path(__file__).parent, Path.cwd()):
        top = _git(folder, "rev-parse", "--show-toplevel").strip()
        if top:
            root = Path(top)
            return GitState(_git(root, "rev-parse", "HEAD").strip(), _diff(root))
    return GitState("", "")


def _diff(root: Path) -> str:
    """`git diff HEAD` with untracked files, by way of a copy of the index left as it was."""
    with tempfile.TemporaryDirectory() as scratch:
        index = Path(scratch) / "index"
        original = Path(_git(root, "rev-parse", "--absolute-git-dir").strip()) / "index"
        if original.is_file():
            shutil.copyfile(original, index)
        environment = {**os.environ, "GIT_INDEX_FILE": str(index)}
        _git(root, "add", "--intent-to-add", ".", environment=environment)
        return _git(root, "diff", "--no-ext-diff", "HEAD", environment=environment)


def _git(folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> str:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
    except OSError:  # no git on this machine
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""


def environment() -> dict[str, str]:
    """Tags that name the machine and the packages: python, cpu, cores, and a version each."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": str(cores()),
        **{f"version.{name}": version(name) for name in PACKAGES},
    }


def cores() -> int:
    """How many cores this process may use."""
    # Not every system can bind a process to some of its cores.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def user() -> str:
    """The name of the user, for the record."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"


@cache
def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:  # not Linux
        pass
    return platform.processor() or platform.machine()
