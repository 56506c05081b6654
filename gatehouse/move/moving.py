"""The move of one service: check, pause its writes, copy, compare; a killed one is continued."""

import importlib
import importlib.util
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Table
from sqlalchemy.engine import make_url

from gatehouse.move import NotMoved
from gatehouse.move.checking import unfit_rows
from gatehouse.move.databases import STATE_TABLE, Copied, Source, Target, kind_of, masked
from gatehouse.move.postgresql import Postgresql
from gatehouse.move.progress import Progress
from gatehouse.move.rows import Sum, key_positions
from gatehouse.move.sqlite import Sqlite
from shared.data.database import Database
from shared.data.migrate import MigrationFailed, newest, upgrade
from shared.data.reach import VERSION_TABLE

UNCHANGED = "Nothing was changed."
_KINDS = {"sqlite", "postgresql"}
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Moved:
    """One table after a move, or compared."""

    table: str
    rows: int
    hash: str
    is_equal: bool = True


@dataclass(slots=True)
class Move:
    """Everything that stays the same during one move."""

    service: str
    source_url: str
    target_url: str
    migrations: Path
    say: Say
    show_progress: Callable[[str, int, int], Progress] = Progress
    _tables: list[Table] = field(init=False)

    def __post_init__(self) -> None:
        kinds = {kind_of(url) for url in (self.source_url, self.target_url)}
        if not kinds <= _KINDS or len(kinds) == 1:
            raise NotMoved(f"a move leads from SQLite to PostgreSQL or back, not {_ways(self)}. {UNCHANGED}")
        models = importlib.import_module(f"services.{self.service}.models")
        self._tables = models.Table.metadata.sorted_tables

    @property
    def owner(self) -> str:
        """What identifies this move, so that it can be continued."""
        source = make_url(self.source_url)
        place = str(Path(str(source.database)).absolute()) if kind_of(self.source_url) == "sqlite" else ""
        return f"{self.service} from {place or masked(self.source_url)}"

    # What the command offers.

    def rehearse(self) -> dict[str, int]:
        """Check everything that a move checks, and change nothing; return the rows of each table."""
        with closing(self._source()) as source:
            self._check_source(source)
            if not self._is_absent_file():
                with closing(self._target()) as target:
                    self._check_target(target)
            return {table.name: source.count(table) for table in self._tables}

    def compare(self) -> list[Moved]:
        """Compare the two databases as they are."""
        if self._is_absent_file():
            raise NotMoved(f"{masked(self.target_url)}: there is no such database. {UNCHANGED}")
        with closing(self._source()) as source, closing(self._target()) as target:
            self._check_version(source, "the present database")
            self._check_version(target, "the target")
            sums = self._sums(source, "reading the source")
            return self._compared(sums, self._sums(target, "reading the target"))

    def cancel(self) -> None:
        """Let the service write to its present database again."""
        with closing(self._source()) as source:
            self._lock(source)
            source.resume_writes()

    def run(self) -> list[Moved]:
        """Move everything; afterwards writes to the source stay paused, because they would be lost."""
        with closing(self._source()) as source:
            self._lock(source)
            self._check_source(source)
            with closing(self._target()) as target:
                self._check_target(target)
                return self._paused(source, target)

    # The steps.

    def _lock(self, source: Source) -> None:
        if not source.lock():
            raise NotMoved(f"another move of {self.service} is running; wait for it or stop it. {UNCHANGED}")

    def _paused(self, source: Source, target: Target) -> list[Moved]:
        try:
            source.pause_writes()  # an interrupted pause is undone as well
            self.say(f"{self.service}: writes are paused, reads go on")
            moved = self._copy_and_compare(source, target)
            target.finish(self._tables)
        except BaseException as error:
            self._explain(error, is_resumed=_resumed(source))
            raise
        return moved

    def _explain(self, error: BaseException, *, is_resumed: bool) -> None:
        """Turn the failure of a database into a sentence."""
        known = (psycopg.Error, MigrationFailed, sqlite3.Error, KeyboardInterrupt, NotMoved)
        if isinstance(error, known):
            reason = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error).strip()
            writes = (
                f"{self.service} writes to its present database again, which is unchanged"
                if is_resumed
                else f"Writes may still be paused: run gatehouse move {self.service} --cancel"
            )
            raise NotMoved(
                f"{reason.rstrip('.')}. {writes}. "
                "Run the same command again to continue, or empty the target."
            ) from None

    def _copy_and_compare(self, source: Source, target: Target) -> list[Moved]:
        if target.state() is not None:
            if (continued := self._continued(source, target)) is not None:
                return continued
            self.say("the service wrote to its database since the move began; the copy begins anew")
            target.wipe()
        sums = self._copy(source, target)
        compared = self._compared(sums, self._sums(target, "comparing"))
        if different := [one.table for one in compared if not one.is_equal]:
            raise NotMoved(f"the copy differs from the source in {', '.join(different)}")
        return compared

    def _continued(self, source: Source, target: Target) -> list[Moved] | None:
        """Copy the rows that are missing; None if those of the earlier attempt are no longer right."""
        try:
            self._copy(source, target)
        except (psycopg.IntegrityError, sqlite3.IntegrityError):  # a new row beside the one it replaced
            return None
        sums = self._sums(source, "reading the source again")
        compared = self._compared(sums, self._sums(target, "comparing"))
        return compared if all(one.is_equal for one in compared) else None

    def _copy(self, source: Source, target: Target) -> dict[str, Sum]:
        state = self._prepared(source, target)
        total = sum(source.count(table) for table in self._tables)
        done = sum(copied.sum.rows for copied in state.values())
        if done:
            self.say(f"continuing after {done:,} rows")
        progress = self.show_progress("copying", total, done)
        for table in self._tables:
            copied = state[table.name]
            positions = key_positions(table)
            for rows in source.read(table, copied.after):
                copied.sum.add(rows)
                copied.after = [rows[-1][position] for position in positions]
                target.write(table, rows, copied)
                progress.advance(len(rows))
        progress.end()
        return {name: copied.sum for name, copied in state.items()}

    def _prepared(self, source: Source, target: Target) -> dict[str, Copied]:
        """Migrate the target unless that is done, and return how far each table has been copied."""
        if target.state() is None:
            target.begin(self.owner)
        state = dict(target.state() or {})
        if not state:
            upgrade(self.target_url, self.migrations)
            self._let_service_prepare(source)
            target.clear(self._tables)
            state = dict(target.state() or {})
        return state

    def _let_service_prepare(self, source: Source) -> None:
        """Call the service's `prepare_target`, for what its migrations do not create."""
        name = f"services.{self.service}.moving"
        if importlib.util.find_spec(name) is None:
            return
        database = Database(self.target_url, pool_size=1)
        try:
            with database.transaction() as session:
                importlib.import_module(name).prepare_target(session, source.months)
        finally:
            database.close()

    def _sums(self, database: Source | Target, what: str) -> dict[str, Sum]:
        sums = {table.name: Sum() for table in self._tables}
        progress = self.show_progress(what, sum(database.count(table) for table in self._tables), 0)
        for table in self._tables:
            for rows in database.read(table, None):
                sums[table.name].add(rows)
                progress.advance(len(rows))
        progress.end()
        return sums

    def _compared(self, source: dict[str, Sum], target: dict[str, Sum]) -> list[Moved]:
        return [
            Moved(name, total.rows, total.hexadecimal, total == target[name])
            for name, total in source.items()
        ]

    # Checks before anything is changed.

    def _check_source(self, source: Source) -> None:
        self._check_version(source, "the present database")
        known = {table.name: {column.name for column in table.columns} for table in self._tables}
        found = source.tables()
        for name in sorted(found.keys() - known.keys() - {VERSION_TABLE}):
            raise NotMoved(f"the table {name} is not one of {self.service}, so it would be lost. {UNCHANGED}")
        for name, columns in known.items():
            if columns != found.get(name):
                raise NotMoved(f"the table {name} has other columns than this program. {UNCHANGED}")
        if isinstance(source, Sqlite):
            self.say(f"{self.service}: checking the rows")
            if unfit := unfit_rows(source, self._tables):
                listed = "".join(f"\n  {line}" for line in unfit)
                raise NotMoved(f"PostgreSQL would refuse these values:{listed}\n{UNCHANGED}")

    def _check_version(self, database: Source | Target, what: str) -> None:
        version, known = database.version(), newest(self.migrations)
        if version != known:
            raise NotMoved(
                f"{what} of {self.service} is at version {version or 'none'}, but this program is at "
                f"{known}; run gatehouse migrate, or the program of that version. {UNCHANGED}"
            )

    def _check_target(self, target: Target) -> None:
        tables = target.tables()
        if not tables:
            return
        if STATE_TABLE not in tables:
            raise NotMoved(
                f"{masked(self.target_url)} has tables already; name an empty database. {UNCHANGED}"
            )
        if target.owner() != self.owner:
            raise NotMoved(
                f"{masked(self.target_url)} has an unfinished move of {target.owner()}; continue that one, "
                f"or name an empty database. {UNCHANGED}"
            )

    # The two databases.

    def _source(self) -> Any:
        return (
            Sqlite(self.source_url) if kind_of(self.source_url) == "sqlite" else Postgresql(self.source_url)
        )

    def _target(self) -> Any:
        if kind_of(self.target_url) == "sqlite":
            return Sqlite(self.target_url, is_target=True)
        return Postgresql(self.target_url)

    def _is_absent_file(self) -> bool:
        is_file = kind_of(self.target_url) == "sqlite"
        return is_file and not Path(str(make_url(self.target_url).database)).exists()


def _resumed(source: Source) -> bool:
    """Let the service write again; return whether that is certain."""
    try:
        source.resume_writes()
    except (Exception, KeyboardInterrupt):  # noqa: BLE001 - the first error is the one to report
        return False
    return True


def _ways(move: Move) -> str:
    return f"from {kind_of(move.source_url)} to {kind_of(move.target_url)}"
