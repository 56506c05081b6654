"""What a move needs of a database, whichever of the two it is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Table
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from gatehouse.move.rows import Sum
from shared.data.migrate import UNFINISHED_MOVE

STATE_TABLE = UNFINISHED_MOVE
CREATE_STATE = (
    f"CREATE TABLE {STATE_TABLE} (name VARCHAR(100) PRIMARY KEY, place TEXT, rows BIGINT, hashes VARCHAR(32))"
)
READ_STATE = f"SELECT name, place, rows, hashes FROM {STATE_TABLE}"  # noqa: S608 - ours
Row = Sequence[Any]


@dataclass(slots=True)
class Copied:
    """How far one table has been copied."""

    after: list[Any] | None  # the key of the last row
    sum: Sum


class Database(Protocol):
    """One of the two databases of a move."""

    kind: str

    def version(self) -> str | None: ...
    def tables(self) -> dict[str, set[str]]:
        """Return the columns of each table that is not part of a search index."""
        ...

    def count(self, table: Table) -> int: ...
    def months(self, table: str, column: str) -> list[str]:
        """Return the months of the timestamps in a column, as 2026-11."""
        ...

    def read(self, table: Table, after: list[Any] | None) -> Iterator[list[Row]]:
        """Yield the rows after this key in pieces, in the order of their keys."""
        ...

    def close(self) -> None: ...


class Source(Database, Protocol):
    """The database that the service has used."""

    def lock(self) -> bool:
        """Return whether this is the only move of the database; it stays so until the database is closed."""
        ...

    def pause_writes(self) -> None: ...
    def resume_writes(self) -> None: ...
    def is_paused(self) -> bool: ...


class Target(Database, Protocol):
    """The database that the service will use."""

    def begin(self, owner: str) -> None:
        """Mark the empty database as the target of this move."""
        ...

    def state(self) -> Mapping[str, Copied] | None:
        """Return how far each table has been copied, or None if no move has begun here."""
        ...

    def owner(self) -> str: ...
    def clear(self, tables: Sequence[Table]) -> None:
        """Delete the rows that migrations have inserted, and note it."""
        ...

    def write(self, table: Table, rows: list[Row], copied: Copied) -> None:
        """Insert the rows and note how far the copy is, in one transaction."""
        ...

    def finish(self, _tables: Sequence[Table], /) -> None:
        """Set the sequences, check references, and remove the marks of the move."""
        ...

    def wipe(self) -> None:
        """Remove everything, so that the move begins anew."""
        ...


def kind_of(url: str) -> str:
    return make_url(url).get_backend_name()


def is_known(url: str) -> bool:
    """Whether this is the URL of a database that services can use."""
    try:
        return kind_of(url) in ("sqlite", "postgresql")
    except ArgumentError:
        return False


def masked(url: str) -> str:
    return make_url(url).render_as_string(hide_password=True)
