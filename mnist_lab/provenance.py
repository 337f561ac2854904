"""What produced a run besides its configuration: code, machine, packages."""

from __future__ import annotations

import ast
import getpass
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("mnist_lab", "tensorflow", "keras", "numpy", "mlflow", "optuna")

# The packages that decide the numbers of a training of a given configuration, data and seed, and
# what the trainer imports of ours without its numbers resting on it.
_DECIDING_PACKAGES = ("tensorflow", "keras", "numpy")
_NOT_DECIDING = ("config", "provenance")


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


@cache
def code_digest() -> str:
    """16 hexadecimal digits that tell versions of the code apart that may give other numbers.

    They cover the trainer and all modules it rests on, reduced to what Python runs, and the
    packages that compute. Comments, docstrings and formatting do not count. The configuration's
    own module does not either: each run has the digest of its configuration.
    """
    modules: dict[str, str] = {}
    waiting = ["training"]
    while waiting:
        module = waiting.pop()
        if module not in (*modules, *_NOT_DECIDING):
            modules[module] = meaning((Path(__file__).parent / f"{module}.py").read_text("utf-8"))
            waiting += re.findall(
                r"^\s*from mnist_lab\.(\w+) import", modules[module], re.MULTILINE
            )
    parts = [f"{module}\n{source}" for module, source in sorted(modules.items())]
    parts += [f"{package} {version(package)}" for package in _DECIDING_PACKAGES]
    return hashlib.sha256("\n\n".join(parts).encode()).hexdigest()[:16]


def meaning(source: str) -> str:
    """Python source without comments, docstrings and formatting."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


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
