"""Is there room for what a run writes? Asked before any training, which may take hours."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mnist_lab.config import UserError

# A run of the baseline needs 2 MB, one of the widest nets 100 MB for its model.
NEEDED_MB = 100


class RoomError(UserError):
    """What a run writes would find no room, or may not be written."""


def check_database(
    path: Path,
    what: str = "database of runs",
    otherwise: str = "MLFLOW_TRACKING_URI to name another store",
) -> None:
    """Refuse a local database that could not be written.

    Args:
        path: of the file, which may not exist yet.
        what: is kept there, for the message.
        otherwise: what the user could do instead.

    Raises:
        RoomError: names the file or its folder, what was found and what is expected.
    """
    if os.path.exists(path) and not _writable(path):
        raise RoomError(
            f"{path}: this {what} is read-only ({_found(path)}); expected a file that can be "
            f"written, or {otherwise}"
        )
    _check(path.parent, f"the folder of the {what}")


def check_artifacts(location: str) -> None:
    """Refuse a local folder for files and models that could not be written.

    Args:
        location: MLflow's address of it, a path or file:///…; any other is its server's concern.

    Raises:
        RoomError: as `check_database`.
    """
    if place := _local(location):
        _check(place, "the folder of the runs' files and models")


def elsewhere(location: str, database: Path | None) -> str:
    """What is to be said where files and models are not kept beside the folder's own database.

    MLflow notes the whole path of the place when an experiment begins. A folder that is copied,
    moved, or mounted under another name brings that path along.

    Args:
        location: MLflow's address of the place.
        database: the store's file; None for a server's.
    """
    place = _local(location)
    if database != Path("mlflow.db").absolute() or place is None:
        return ""
    # The folder, or its mlruns, may be a link.
    if {Path.cwd(), Path.cwd().resolve()} & {*place.parents, *place.resolve().parents}:
        return ""
    there = "" if os.path.isdir(place) else ", which is not there and will be made"
    return (
        f"note: files and models of these runs are kept in {place}{there}; MLflow noted that place "
        "when their experiment began. For a record that is all here, begin a new one in a folder "
        "without mlflow.db"
    )


def _local(location: str) -> Path | None:
    """The folder of MLflow's address, which is a path as it is or file:///…; else None."""
    if location.startswith("file:"):
        return Path(unquote(urlsplit(location).path))
    return None if re.match(r"[\w+-]+:", location) else Path(location)


def check_temporary() -> None:
    """Refuse to start where no temporary files can be written.

    Raises:
        RoomError: as `check_database`.
    """
    try:
        folder = tempfile.gettempdir()
    except FileNotFoundError as error:
        raise RoomError(f"TMPDIR: {error}; expected a folder that can be written") from None
    _check(Path(folder), "the folder for temporary files (TMPDIR)")


def _check(folder: Path, what: str) -> None:
    """Refuse a folder that cannot be written or is full; the one above stands for a missing one."""
    # `os.path` takes what may not be looked into for missing, where `Path` raises an error.
    while not os.path.exists(folder) and folder != folder.parent:
        folder = folder.parent
    if not os.path.isdir(folder) or not _writable(folder):
        raise RoomError(
            f"{folder}: {what} cannot be written ({_found(folder)}); expected a folder that can"
        )
    free_mb = shutil.disk_usage(folder).free / 1e6
    if free_mb < NEEDED_MB:
        raise RoomError(
            f"{folder}: {what} has {free_mb:.0f} MB free on its disk; expected at least "
            f"{NEEDED_MB} MB"
        )


def _writable(path: Path) -> bool:
    return os.access(path, os.W_OK)


def _found(path: Path) -> str:
    if not path.stat().st_mode & stat.S_IWUSR:
        return f"its mode is {stat.filemode(path.stat().st_mode)}"
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        return "its file system is mounted read-only"
    return f"it belongs to user {path.stat().st_uid}, and this is user {os.geteuid()}"
