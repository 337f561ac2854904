"""A study's database on a PostgreSQL server: made if it is not there, and used by one at a time."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

# How often one asks for a lock that another has. To wait within the server is what its time limits
# for statements and locks would end.
_ASK_SECONDS = (0.02, 1.0)
# Where every server has a database, from which others can be made.
_MAINTENANCE = "postgres"
_UNKNOWN_DATABASE = "3D000"
_CONNECT_SECONDS = 5
_MADE_ALREADY = ("42P04", "23505")


def is_postgresql(url: str) -> bool:
    """Whether a URL, as SQLAlchemy takes it, is that of a PostgreSQL server."""
    return url.partition(":")[0].partition("+")[0] == "postgresql"


def create_database(url: str) -> None:
    """Create the database of a URL, if the server has none of that name.

    Raises:
        SQLAlchemyError: the server does not answer, or the user may not create one.
    """
    try:
        with _connected(url):
            return
    except DBAPIError as error:
        if not _is(error, _UNKNOWN_DATABASE):
            raise
    elsewhere = make_url(url).set(database=_MAINTENANCE)
    with _connected(elsewhere.render_as_string(hide_password=False)) as connection:
        name = connection.dialect.identifier_preparer.quote(make_url(url).database or "")
        try:
            connection.execute(text(f"CREATE DATABASE {name}"))
        except DBAPIError as error:
            if not _is(error, *_MADE_ALREADY):  # by another process, just now
                raise


@contextlib.contextmanager
def alone_on(
    url: str, what: str = "storage", waits: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Hold off all processes that use a database for one thing, on whatever machine.

    Where it cannot be reached, whoever goes on to use it says so.

    Args:
        url: of the database.
        what: it is used for; who uses it for another thing is not held off.
        waits: is called if another process has it, before waiting for that one.
    """
    lock = int.from_bytes(hashlib.sha256(f"mnist_lab {what}".encode()).digest()[:8], signed=True)
    with contextlib.ExitStack() as stack:
        # Given back with the connection, also if this process is killed.
        with contextlib.suppress(SQLAlchemyError):
            _lock(stack.enter_context(_connected(url)), lock, waits)
        yield


def _lock(connection: Connection, lock: int, waits: Callable[[], None]) -> None:
    pause, longest = _ASK_SECONDS
    asked = text("SELECT pg_try_advisory_lock(:lock)")
    waiting = False
    while not connection.execute(asked, {"lock": lock}).scalar():
        if not waiting:
            waits()
        waiting = True
        time.sleep(pause)
        pause = min(2 * pause, longest)


@contextlib.contextmanager
def _connected(url: str) -> Iterator[Connection]:
    patience = {"connect_timeout": _CONNECT_SECONDS}
    engine = create_engine(
        url,
        poolclass=NullPool,
        # A server that is gone in the end has nothing to be set back, and that is no news.
        pool_reset_on_return=None,
        isolation_level="AUTOCOMMIT",
        connect_args=patience,
    )
    connection = engine.connect()
    try:
        yield connection
    finally:
        with contextlib.suppress(SQLAlchemyError):
            connection.close()
        engine.dispose()


def _is(error: DBAPIError, *codes: str) -> bool:
    """Whether PostgreSQL gave one of some codes; psycopg has none for what a connection met."""
    code = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
    return code in codes or (
        code is None and _UNKNOWN_DATABASE in codes and "does not exist" in str(error.orig)
    )
