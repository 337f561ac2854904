"""A study's database on a PostgreSQL server: made if it is not there, and used by one at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

# "mnist" as a number; a lock is one of its database's.
_LOCK = 0x6D6E697374
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
def alone_on(url: str) -> Iterator[None]:
    """Hold off all processes that use a database, on whatever machine.

    Where it cannot be reached, whoever goes on to use it says so.
    """
    with contextlib.ExitStack() as stack:
        try:
            connection = stack.enter_context(_connected(url))
        except SQLAlchemyError:
            connection = None
        if connection is not None:
            # Given back with the connection, also if this process is killed.
            connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
        yield


@contextlib.contextmanager
def _connected(url: str) -> Iterator[Connection]:
    patience = {"connect_timeout": _CONNECT_SECONDS}
    engine = create_engine(
        url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args=patience
    )
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _is(error: DBAPIError, *codes: str) -> bool:
    """Whether PostgreSQL gave one of some codes; psycopg has none for what a connection met."""
    code = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
    return code in codes or (
        code is None and _UNKNOWN_DATABASE in codes and "does not exist" in str(error.orig)
    )
