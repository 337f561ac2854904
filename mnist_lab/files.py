"""Files that a command writes for the user: whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from mnist_lab.config import UserError


def check_folder(path: Path, option: str) -> None:
    """Refuse, before any work, a file that could not be written after it.

    Raises:
        UserError: names the option.
    """
    if not path.parent.is_dir():
        raise UserError(f"{option}: {path}: there is no folder {path.parent}/ to write it in")
    if path.is_dir():
        raise UserError(f"{option}: {path}: is a folder; expected the name of a file")


def replace(path: Path, text: str, option: str) -> None:
    """Write a file, or leave the one that is there as it is.

    Raises:
        UserError: names the option.
    """
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as draft:
            draft.write(text)
        os.chmod(draft.name, 0o666 & ~_umask())
        os.replace(draft.name, path)
    except OSError as error:
        raise UserError(f"{option}: {path}: cannot be written ({error.strerror})") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
