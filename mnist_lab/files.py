"""Files that are written whole or not at all, and one process at a time where it matters."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mnist_lab.config import UserError


def check_folder(path: Path, option: str) -> None:
    """Refuse, before any work, a file that could not be written after it.

    Raises:
        UserError: names the option.
    """
    try:
        if not path.parent.is_dir():
            raise UserError(f"{option}: {path}: there is no folder {path.parent}/ to write it in")
        if path.is_dir():
            raise UserError(f"{option}: {path}: is a folder; expected the name of a file")
        if _stream(path) is not None:
            return
        if path.is_fifo():  # to open it would wait for its reader, and then take it away
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return
        if _is_special(path):
            with path.open("a"):
                return
        with tempfile.NamedTemporaryFile(dir=path.resolve().parent):
            return
    except (OSError, RuntimeError) as error:  # RuntimeError: links that go round in a circle
        raise _unwritable(path, option, error) from None


def make_folder(path: Path, option: str) -> None:
    """Make a folder that files will be written to, unless it is there.

    Raises:
        UserError: it cannot be made or written; names the option.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path):
            return
    except OSError as error:
        raise _unwritable(path, option, error) from None


def replace(path: Path, text: str, option: str) -> None:
    """Write a file, or leave the one that is there as it is.

    A link stays one: what it points to is written. So does a device or a pipe; and a file that
    this process writes to already, as by `--output /dev/stdout > log`, gets the text in its turn.

    Raises:
        UserError: names the option.
    """
    try:
        stream = _stream(path)
        if stream is not None or _is_special(path):
            with open(path if stream is None else os.dup(stream), "w", encoding="utf-8") as out:
                out.write(text)
            return
        path = path.resolve()
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o666 & ~_umask()
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=".unfinished.", delete=False
        ) as draft:
            try:
                draft.write(text)
                draft.flush()
                os.chmod(draft.name, mode)
                os.replace(draft.name, path)
            except BaseException:
                os.unlink(draft.name)
                raise
    except OSError as error:
        raise _unwritable(path, option, error) from None


def _is_special(path: Path) -> bool:
    """Whether something is there that is no file of text: a device, a pipe."""
    return path.exists() and not path.is_file()


def _stream(path: Path) -> int | None:
    """The descriptor, of those that this process writes to, of what a path leads to; else None."""
    named = re.search(r"/fd/(\d+)$", str(path))
    for stream in (1, 2, *([int(named[1])] if named else [])):
        try:
            is_read = fcntl.fcntl(stream, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
            if os.path.samestat(path.stat(), os.fstat(stream)) and not is_read:
                return stream
        except OSError:  # there is none
            continue
    return None


def _unwritable(path: Path, option: str, error: Exception) -> UserError:
    return UserError(
        f"{option}: {path}: cannot be written ({getattr(error, 'strerror', None) or error})"
    )


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path to make a new file at, which becomes `path` once the block ends well.

    Killed in between, it leaves a file that the next call begins anew. One process at a time.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    yield unfinished
    os.replace(unfinished, path)


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A file for `locked`, which can be renamed or deleted meanwhile.

    Raises:
        UserError: it cannot be opened.
    """
    try:
        # Network file systems lock for those alone who could write.
        file = os.open(path, os.O_RDWR if os.access(path, os.W_OK) else os.O_RDONLY)
    except OSError as error:
        raise UserError(f"{path}: cannot be opened ({error.strerror})") from None
    try:
        yield file
    finally:
        os.close(file)


@contextmanager
def locked(file: int, waits: Callable[[], None]) -> Iterator[None]:
    """Hold off this machine's other processes that ask for the same.

    Args:
        file: an open one; it is not touched.
        waits: is called if another process has it, before waiting for that one.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        waits()
        fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
