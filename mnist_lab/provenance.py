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
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from operator import itemgetter
from pathlib import Path

PACKAGES = ("mnist_lab", "tensorflow", "keras", "numpy", "mlflow", "optuna")

# The packages that decide the numbers of a training of a given configuration, data and seed, and
# what the trainer imports of ours without its numbers resting on it.
_DECIDING_PACKAGES = ("tensorflow", "keras", "numpy")
_NOT_DECIDING = ("config", "declared", "provenance")


# Whatever a user's git shows on screen, what is recorded is a patch that `git apply` takes.
_DIFF = (
    *("diff", "--no-color", "--no-ext-diff", "--no-textconv"),
    *("--src-prefix=a/", "--dst-prefix=b/", "--unified=3", "--submodule=short", "-O/dev/null"),
)
_MOST_UNTRACKED = 1_000_000  # bytes of a file
_MOST_UNTRACKED_IN_ALL = 5_000_000  # bytes
_MOST_NAMED = 20  # files that are left out
_MOST_LEFT_OUT = 1_000
# What the commands themselves leave behind, with which each patch would be larger than the last.
_OUTPUTS = ("mlruns", "unsent", "mlflow.db", "mlflow.db-journal", "mlflow.db-wal", "mlflow.db-shm")
# Studies and stores lie where the user says.
_DATABASES = tuple(f".db{end}" for end in ("", "-journal", "-wal", "-shm"))
# They would have git look into another checkout than the one that is asked for, or for other paths.
_MISLEADING = (
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_PREFIX"),
    *(f"GIT_{how}_PATHSPECS" for how in ("LITERAL", "GLOB", "NOGLOB", "ICASE")),
)
_MOST_BINARY = 1_000_000  # bytes, before and after, of the binary files in a patch


class _RefusalError(Exception):
    """What git said instead of an answer."""


@dataclass(frozen=True)
class GitState:
    """The state of the code's git checkout.

    Attributes:
        commit: SHA-1 of HEAD, or "" where git names none.
        diff: what differs from HEAD, untracked files included, as a patch; "" for a clean tree.
            Binary files over 1 MB in all, each untracked file over 1 MB, and what is over 5 MB of
            untracked files, are only named. The store of the runs, and a Python environment, are
            left out, and all untracked files where git is told not to show them.
        problem: why commit or diff lack something, in git's words; "" where they are complete.
    """

    commit: str
    diff: str
    problem: str = ""

    @property
    def dirty(self) -> str:
        """Whether the tree differs from HEAD: "true", "false", "unknown"; "" for no checkout."""
        if self.diff:
            return "true"
        if self.problem:
            return "unknown"
        return "false" if self.commit else ""


@cache
def git_state() -> GitState:
    """The checkout that holds this package, or else the one around the current folder.

    Read once a process: the code that runs is the code that was imported. Empty where there is
    no git or no checkout. Where git refuses to answer, `problem` has what it said.
    """
    if shutil.which("git") is None:
        return GitState("", "")
    for folder in (_package(), Path.cwd()):
        for root in (folder, *folder.parents):
            if os.path.exists(root / ".git"):  # a folder, or a file in a linked worktree
                return _state(root)
    return GitState("", "")


def _package() -> Path:
    return Path(__file__).resolve().parent


def _state(root: Path) -> GitState:
    commit = diff = problem = ""
    try:
        commit = _git(root, "log", "-1", "--no-show-signature", "--format=%H").strip()
        diff, problem = _diff(root)
    except (OSError, _RefusalError) as error:
        problem = str(error)
    return GitState(commit, diff, problem)


def _diff(root: Path) -> tuple[str, str]:
    """`git diff HEAD` with untracked files, and what git said of those that it could not add.

    By way of a copy of the index, and with a folder of its own for new objects: the checkout is
    left as it was, and may be one that this user cannot write to.
    """
    with tempfile.TemporaryDirectory() as scratch:
        index = Path(scratch) / "index"
        original = root / _git(root, "rev-parse", "--git-path", "index").removesuffix("\n")
        objects = root / _git(root, "rev-parse", "--git-path", "objects").removesuffix("\n")
        if original.is_file():
            # With its time: what was written in the same second, git looks into for changes.
            shutil.copy2(original, index)
        environment = {
            "GIT_INDEX_FILE": str(index),
            "GIT_OBJECT_DIRECTORY": scratch,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": f'"{objects}"',  # in quotes, a colon is no end
        }
        problem, named = "", ""
        if _shows_untracked(root):
            without, named = _left_out(root)
            if len(without) > _MOST_LEFT_OUT:  # git looks for each of them at each file
                return f"{named}{_git(root, *_DIFF, 'HEAD', **environment)}", (
                    f"{len(without):,} untracked files are too large for a patch"
                )
            wanted = "\0".join([".", *(f":(exclude,literal){name}" for name in without)])
            add = ("add", "--intent-to-add", "--ignore-errors", "--pathspec-from-file=-")
            try:
                _git(root, *add, "--pathspec-file-nul", given=wanted, **environment)
            except _RefusalError as refusal:  # of a file or folder; all others are added
                problem = str(refusal)
        elif unseen := _untracked_code(root):
            problem = f"{unseen} untracked file(s) of the code: status.showUntrackedFiles is no"
        diff = _git(root, *_DIFF, "HEAD", **environment)
        if re.search(r"^Binary files ", diff, re.MULTILINE):
            sizes = _git(root, *_DIFF, "--stat", "--no-renames", "HEAD", **environment)
            pairs = re.findall(r"\| +Bin (\d+) -> (\d+) bytes$", sizes, re.MULTILINE)
            if sum(int(before) + int(after) for before, after in pairs) <= _MOST_BINARY:
                diff = _git(root, *_DIFF, "--binary", "HEAD", **environment)
        if dirty := re.findall(r"^\+Subproject commit \w+-dirty$", diff, re.MULTILINE):
            problem = f"{problem}\n{len(dirty)} submodule(s) have changes of their own".strip()
        return named + diff, problem  # git takes what stands before a patch for a letter


def _shows_untracked(root: Path) -> bool:
    """Whether git is to show untracked files: in a home folder they may be keys and passwords."""
    try:
        shown = _git(root, "config", "--get", "status.showUntrackedFiles").strip()
    except _RefusalError:  # it is not set
        return True
    return shown not in ("no", "false")


def _untracked_code(root: Path) -> int:
    """How many files of this package git does not know, if it is in the checkout."""
    if root not in _package().parents:
        return 0
    listed = _git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", str(_package()))
    return listed.count("\0")


def _left_out(root: Path) -> tuple[list[str], str]:
    """Untracked files and folders that are no part of the patch, and lines on those it lacks."""
    names = _git(root, "ls-files", "--others", "--exclude-standard", "-z").split("\0")
    # Without those that git ignores: it adds them by no means, and to name them is an error to it.
    ours = [path for path in _outputs(root) if any(_within(path, name) for name in names)]
    ours += [name for name in names if name.endswith(_DATABASES)]
    mine = [name for name in names if name and not any(_within(path, name) for path in ours)]
    room = _MOST_UNTRACKED_IN_ALL
    large: dict[str, int] = {}
    for name, size in sorted(((name, _size(root / name)) for name in mine), key=itemgetter(1)):
        if size > min(room, _MOST_UNTRACKED):
            large[name] = size
        else:
            room -= size
    lines = [
        f"Untracked, too large for a patch: {name} ({size:,} bytes)\n"
        for name, size in list(large.items())[:_MOST_NAMED]
    ]
    if (more := len(large) - _MOST_NAMED) > 0:
        lines.append(f"and {more:,} more\n")
    return [*ours, *large], "".join(lines)


def _within(path: str, name: str) -> bool:
    """Whether `name`, as git lists it, is `path` or in it."""
    return name == path or name.startswith(f"{path}/")


def _outputs(root: Path) -> list[str]:
    """What the commands write into this folder, and the environment that Python runs in.

    As paths in the checkout, so far as they are in it.
    """
    here = [Path.cwd() / name for name in _OUTPUTS]
    prefix = Path(sys.prefix)  # often reached by a link, or a link itself
    inside = [path for path in (*here, prefix, prefix.resolve()) if root in path.parents]
    return list(dict.fromkeys(path.relative_to(root).as_posix() for path in inside))


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:  # it is gone
        return 0


def _git(root: Path, *arguments: str, given: str = "", **environment: str) -> str:
    """What git prints in the checkout at `root`; what is no UTF-8 stays what it is, byte by byte.

    Args:
        root: of the checkout.
        arguments: of git.
        given: to its standard input.
        environment: variables that are set for it.

    Raises:
        _RefusalError: it ended in an error; has its message.
    """
    # Git refuses other users' checkouts, as one often is in a container, for what their
    # configuration may run. The folder that this package was imported from is trusted already.
    trusted = _package().parent
    inherited = {key: value for key, value in os.environ.items() if key not in _MISLEADING}
    command = ["git", "-C", str(root), "-c", f"safe.directory={trusted}"]
    done = subprocess.run(
        [*command, "-c", "core.quotePath=true", *arguments],
        env={**inherited, "LC_ALL": "C", **environment},
        input=given.encode(errors="surrogateescape"),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise _RefusalError(f"git {arguments[0]}: {said or f'exit code {done.returncode}'}")
    return done.stdout.decode(errors="surrogateescape")


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
            source = (Path(__file__).parent / f"{module}.py").read_text("utf-8")
            modules[module] = meaning(source, in_parts=True)
            waiting += re.findall(
                r"^\s*from mnist_lab\.(\w+) import", modules[module], re.MULTILINE
            )
    parts = [f"{module}\n{source}" for module, source in sorted(modules.items())]
    parts += [f"{package} {version(package)}" for package in _DECIDING_PACKAGES]
    return hashlib.sha256("\n\n".join(parts).encode()).hexdigest()[:16]


def meaning(source: str, *, in_parts: bool = False) -> str:
    """Python source without comments, docstrings and formatting.

    Args:
        source: of a module.
        in_parts: give f-strings as tuples: versions of Python quote these in other ways.
    """
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
    return ast.unparse(_InParts().visit(tree) if in_parts else tree)


class _InParts(ast.NodeTransformer):
    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        self.generic_visit(node)
        return ast.Tuple([ast.Constant("f"), *node.values], ast.Load())

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.AST:
        self.generic_visit(node)
        form = node.format_spec or ast.Constant(None)
        return ast.Tuple([node.value, ast.Constant(node.conversion), form], ast.Load())


def environment() -> dict[str, str]:
    """Tags that name the machine and the packages: python, cpu, cores, and a version each."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": str(cores()),
        **{f"version.{name}": _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # it runs from a folder, and is not installed
        return "unknown"


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
