"""URIs of sqlite files, as SQLAlchemy, MLflow and Optuna read them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote


def local_path(uri: str) -> Path | None:
    """The file of an sqlite URI, or None for any other store.

    As SQLAlchemy reads it: %20 is a space, + is a plus, and the file's name ends at a "?".
    """
    prefix, separator, rest = uri.partition(":///")
    path = unquote(rest.partition("?")[0])
    if not separator or prefix.partition("+")[0] != "sqlite" or path in ("", ":memory:"):
        return None
    return Path(path)


def in_memory(uri: str) -> bool:
    """Whether a URI is that of an sqlite database that lasts no longer than its process."""
    scheme, _, place = uri.partition("?")[0].partition("://")
    return scheme.partition("+")[0] == "sqlite" and place in ("", "/", "/:memory:")


def file_uri(path: Path) -> str:
    """The URI of an sqlite file, of which `local_path` gives the path again.

    Only what would be misread is quoted, braces by Optuna: MLflow makes the folder that a URI
    names, and takes its quoted name for the name itself.
    """
    marks = (f"%{ord(mark):02X}" if mark in "%?{}" else mark for mark in str(path))
    return f"sqlite:///{''.join(marks)}"
