"""Reading a SQLite database that holds bytes where text should be.

SQLite accepts any bytes as text, and its driver fails on invalid UTF-8 without naming the row. This
module decodes such bytes to surrogates, which no text contains, so that a check finds the record.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import event
from sqlalchemy.exc import DataError, DBAPIError

from shared.data.database import Database, UnreadableTime

_NO_TEXT = "Could not decode to UTF-8"


def is_unreadable_text(error: BaseException) -> bool:
    """Whether the database could not be read because of bytes that are not text."""
    cause = error.__cause__
    return isinstance(cause, DBAPIError) and str(cause.orig).startswith(_NO_TEXT)


def is_unreadable(error: BaseException) -> bool:
    """Whether the database could not be read because of such text, or of a time that Python cannot hold."""
    # The driver itself fails without an SQLSTATE, which comes from the server.
    is_refused_by_driver = isinstance(error, DataError) and getattr(error.orig, "sqlstate", None) is None
    return is_unreadable_text(error) or isinstance(error, UnreadableTime) or is_refused_by_driver


@contextmanager
def reading_any_text(database: Database) -> Iterator[Database]:
    """Open the database on separate connections, because reading this way is slower."""
    opened = Database(database.url.render_as_string(hide_password=False), pool_size=1)
    event.listen(opened.engine, "connect", _take_any_text)
    try:
        yield opened
    finally:
        opened.close()


def _take_any_text(connection: sqlite3.Connection, _record: object) -> None:
    connection.text_factory = _as_it_is


def _as_it_is(text: bytes) -> str:
    return text.decode(errors="surrogateescape")
