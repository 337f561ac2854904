"""Can the store be reached? Asked before any training starts, and answered within seconds."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from mnist_lab import sqlite_store
from mnist_lab.config import UserError

_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
_PROBE_SECONDS = 5

ACCEPTED = (
    "the http:// address of a running `mlflow server`, a database such as sqlite:///mlflow.db or "
    "postgresql://…, or nothing for mlflow.db in this folder"
)


class TrackingError(UserError):
    """The MLflow store cannot be reached, or does not hold what was asked for."""


def without_password(uri: str) -> str:
    """`uri` with its user name and password, if any, replaced by ***."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2]))


def local_uri(uri: str) -> str:
    """`uri`, that of an sqlite file by its whole path: it means the same in any folder."""
    path = sqlite_store.local_path(uri)
    if path is None or path.is_absolute():
        return uri
    prefix, _, rest = uri.partition(":///")
    return f"{prefix}:///{path.absolute()}{rest.removeprefix(str(path))}"


def probe(uri: str, shown: str) -> None:
    """Fail in seconds where MLflow itself would try again for minutes."""
    parts = urlsplit(uri)
    scheme = parts.scheme.partition("+")[0]
    if path := sqlite_store.local_path(uri):
        if not path.parent.is_dir() or path.is_dir():
            raise TrackingError(
                f"MLFLOW_TRACKING_URI: {shown} is no file in a folder that there is; "
                f"expected {ACCEPTED}"
            )
    elif scheme in _PORTS:
        try:
            address = (parts.hostname or "", parts.port or _PORTS[scheme])
            socket.create_connection(address, timeout=_PROBE_SECONDS).close()
        except (OSError, ValueError) as error:
            raise TrackingError(
                f"MLFLOW_TRACKING_URI: {shown} cannot be reached ({error}); expected {ACCEPTED}"
            ) from None


@contextmanager
def alone(path: Path | None) -> Iterator[None]:
    """Hold other processes of the lab off while the tables of a local database are made.

    MLflow's migrations fail where two processes run them on one new database.
    """
    if path is None:
        yield
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # given back when the folder is closed
        yield
    finally:
        os.close(folder)


@contextmanager
def impatient() -> Iterator[None]:
    """One short try a request, for the first contact alone."""
    settings = {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(_PROBE_SECONDS),
        "MLFLOW_SQLALCHEMYSTORE_MAX_RETRIES": "0",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def first_line(error: Exception, uri: str, shown: str) -> str:
    """The first line of an error's text, with `shown` for the URI it may quote."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].replace(uri, shown)[:300]
