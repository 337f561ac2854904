"""Can the store be reached? Asked before any training starts, and answered within seconds."""

from __future__ import annotations

import fcntl
import os
import re
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import SplitResult, urlsplit, urlunsplit

from mnist_lab import sqlite_uri
from mnist_lab.config import UserError

_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
_PROBE_SECONDS = 5
HIDDEN = "***"
"""Stands for a password, in whatever is shown or kept."""

ACCEPTED = (
    "the http:// address of a running `mlflow server`, a database such as sqlite:///mlflow.db or "
    "postgresql://…, or nothing for mlflow.db in this folder"
)


class TrackingError(UserError):
    """The MLflow store cannot be reached, or does not hold what was asked for."""


def without_password(uri: str) -> str:
    """`uri` with *** for its password, if it has one."""
    try:
        parts = urlsplit(uri)
    except ValueError:  # brackets that do not close, say
        return re.sub("//[^/]*@", f"//{HIDDEN}@", uri)
    user, at, host = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    netloc = f"{name}:{HIDDEN}{at}{host}" if colon else parts.netloc
    query = re.sub(r"(?i)((?:^|&)password=)[^&]*", rf"\g<1>{HIDDEN}", parts.query)
    if (netloc, query) == (parts.netloc, parts.query):
        return uri
    return urlunsplit(parts._replace(netloc=netloc, query=query))


def local_uri(uri: str) -> str:
    """`uri`, that of an sqlite file by its whole path: it means the same in any folder.

    MLflow's default quotes what need not be, for which see `sqlite_uri.file_uri`.
    """
    path = sqlite_uri.local_path(uri)
    if path is None:
        return uri
    database, mark, query = uri.partition("?")
    scheme = database.partition(":")[0]
    whole = sqlite_uri.file_uri(path.absolute()).removeprefix("sqlite")
    return f"{scheme}{whole}{mark}{query}"


def probe(uri: str, shown: str) -> None:
    """Fail in seconds where MLflow itself would try again for minutes.

    Raises:
        TrackingError: nothing is there, or a database that lets nobody in.
    """
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise TrackingError(
            f"MLFLOW_TRACKING_URI: {shown} is no URL ({error}); expected {ACCEPTED}"
        ) from None
    scheme = parts.scheme.partition("+")[0]
    if sqlite_uri.in_memory(uri):
        raise TrackingError(
            f"MLFLOW_TRACKING_URI: {shown} is in the memory of one process; expected {ACCEPTED}"
        )
    if path := sqlite_uri.local_path(uri):
        if not os.path.isdir(path.parent) or os.path.isdir(path):  # also where one may not look
            raise TrackingError(
                f"MLFLOW_TRACKING_URI: {shown} is no file in a folder that there is; "
                f"expected {ACCEPTED}"
            )
    elif scheme in _PORTS:
        try:
            if _is_reached_directly(parts):
                address = (parts.hostname or "", parts.port or _PORTS[scheme])
                socket.create_connection(address, timeout=_PROBE_SECONDS).close()
            if not scheme.startswith("http"):
                _log_in(uri)
        except Exception as error:  # each driver of a database has errors of its own
            raise TrackingError(
                f"MLFLOW_TRACKING_URI: {shown} cannot be reached "
                f"({first_line(error, uri, shown)}); expected {ACCEPTED}"
            ) from None


def _is_reached_directly(parts: SplitResult) -> bool:
    """Whether there is a connection of our own: none by way of a proxy or of a socket's file."""
    import urllib.request

    if not parts.hostname:
        return parts.scheme.startswith("http")
    proxies = urllib.request.getproxies()
    proxied = parts.scheme in proxies or (parts.scheme.startswith("http") and "all" in proxies)
    return not proxied or bool(urllib.request.proxy_bypass(parts.hostname))


def _log_in(uri: str) -> None:
    """Open a connection to a database and close it: MLflow would try ten times."""
    from sqlalchemy import create_engine, pool

    with impatient(), create_engine(uri, poolclass=pool.NullPool).connect():
        pass


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


def impatient() -> AbstractContextManager[None]:
    """One short try a request or a connection, for the first contact alone."""
    return _with_variables(
        MLFLOW_HTTP_REQUEST_MAX_RETRIES="0",
        MLFLOW_HTTP_REQUEST_TIMEOUT=str(_PROBE_SECONDS),
        PGCONNECT_TIMEOUT=str(_PROBE_SECONDS),
    )


def as_default(uri: str) -> AbstractContextManager[None]:
    """A store as MLflow's default, for what opens that one whatever client it is told."""
    return _with_variables(MLFLOW_TRACKING_URI=uri)


@contextmanager
def _with_variables(**settings: str) -> Iterator[None]:
    """Variables of the environment, as long as the block lasts."""
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


def first_line(error: BaseException, uri: str, shown: str) -> str:
    """The first line of an error's text, or its name; with `shown` for the URI it may quote."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].replace(uri, shown)[:300]
