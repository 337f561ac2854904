"""Runs that a store did not take, kept on disk: unsent/RUN_ID/ in the current folder.

Each folder holds record.json, the run's files in files/ and its model in model/. Each file is
whole or not there, and what record.json tells is there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from mnist_lab.config import UserError
from mnist_lab.measured import PARENT_TAG, Measured, from_json

FOLDER = Path("unsent")
_RECORD = "record.json"


def keep(measured: Measured, files: Path) -> Path:
    """Keep what a run has measured so far, in place of what was kept of it before.

    The record is what matters: where there is no room for the files or the model, it is kept
    without them.

    Args:
        measured: the run.
        files: a folder with its files/ and its model/, so far as it has them.

    Returns:
        The folder that it is kept in.

    Raises:
        OSError: there is no room for the record either, or no right to write it.
    """
    folder = FOLDER.absolute() / measured.run_id
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder) as there:
            if not there:  # what was kept before was sent just now
                continue
            try:
                if files.is_dir():
                    shutil.copytree(files, folder, dirs_exist_ok=True, copy_function=_copy)
            except OSError:  # shutil's own error is one
                shutil.rmtree(folder / "model", ignore_errors=True)
            if not (folder / "model").is_dir():
                measured = replace(measured, has_model=False)
            _write(folder / _RECORD, measured.to_json().encode())
            return folder


def kept() -> list[Path]:
    """The folders of the runs that are kept, parents before the runs under them, then by age."""
    runs = {}
    for path in FOLDER.glob(f"*/{_RECORD}"):
        try:
            runs[path.parent] = read(path.parent)
        except UserError:
            if path.exists():  # otherwise it was sent just now
                raise
    return sorted(runs, key=lambda f: (PARENT_TAG in runs[f].tags, runs[f].start_ms, f.name))


def readable() -> Iterator[Measured]:
    """The runs that are kept, but for those whose record cannot be read."""
    for path in FOLDER.glob(f"*/{_RECORD}"):
        with suppress(UserError):
            yield read(path.parent)


def hint() -> str:
    """What a command that begins to train says of the runs that are kept; "" if there are none."""
    count = sum(1 for _ in FOLDER.glob(f"*/{_RECORD}"))
    if not count:
        return ""
    return (
        f"{FOLDER}/ keeps {count} run{'s' if count > 1 else ''} that a store did not take; what is "
        "kept there counts once it is sent:\n  python -m mnist_lab.send"
    )


@contextmanager
def taken(folder: Path) -> Iterator[Measured | None]:
    """Hold a run that is kept while it is sent, so that no other process of this machine sends it.

    Gives what is kept of it; None if it was sent meanwhile.

    Raises:
        UserError: the record cannot be read; names the file.
    """
    with _alone(folder) as there:
        yield read(folder) if there and (folder / _RECORD).exists() else None


def newest(folder: Path) -> float:
    """When a run was last written that is kept, in seconds since 1970."""
    return (folder / _RECORD).stat().st_mtime


def read(folder: Path) -> Measured:
    """What is kept of a run.

    Raises:
        UserError: the record cannot be read; names the file.
    """
    path = folder / _RECORD
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); expected the record of a run, as it was kept"
        ) from None


def forget(folder: Path) -> None:
    """Remove a run that is kept; the record goes first, since a folder without one is none."""
    (folder / _RECORD).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    if folder.parent.is_dir() and not any(folder.parent.iterdir()):
        folder.parent.rmdir()


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Hold this machine's other processes off a folder; whether it is still there by then."""
    try:
        held = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(held, fcntl.LOCK_EX)  # given back when the folder is closed
        yield folder.exists() and os.path.samestat(os.fstat(held), folder.stat())
    finally:
        os.close(held)


def _copy(source: str, target: str) -> str:
    content = Path(source).read_bytes()
    if not os.path.exists(target) or Path(target).read_bytes() != content:
        _write(Path(target), content)
    return target


def _write(path: Path, content: bytes) -> None:
    """Write a whole file or nothing, so that not even a power cut leaves a part of one."""
    draft = path.with_name(f".{path.name}.part")
    try:
        with draft.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
