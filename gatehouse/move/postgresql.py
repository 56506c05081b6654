"""A PostgreSQL database as the source or the target of a move."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Table
from sqlalchemy.engine import make_url

from gatehouse.backup.databases import EMPTY
from gatehouse.move import NotMoved
from gatehouse.move.databases import (
    CREATE_STATE,
    READ_STATE,
    STATE_TABLE,
    Copied,
    Row,
    masked,
)
from gatehouse.move.rows import Sum, rows_at_once, select_in_order
from gatehouse.move.sqlite import copied_from
from shared.data.reach import VERSION_TABLE

# Also while the role's transactions are read-only, and however long a statement takes.
_OPTIONS = "-c timezone=UTC -c statement_timeout=0 -c default_transaction_read_only=off"
_IDLE_SECONDS, _END_SECONDS = 10.0, 20.0
_COLUMNS = """
    SELECT c.relname, array_agg(a.attname::text) FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    GROUP BY 1
"""
# Sessions of the service that began before its transactions became read-only.
_OLD = """
    FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user
    AND pid <> ALL (%(ours)s) AND backend_start < %(since)s
"""


class Postgresql:
    """One database, connected for as long as the move takes."""

    kind = "postgresql"

    def __init__(self, url: str) -> None:
        self.url = url
        self.place = masked(url)
        self.connection = self._connect()
        (encoding,) = self._row("SHOW server_encoding")
        if encoding != "UTF8":
            raise NotMoved(f"{self.place}: its encoding is {encoding}, not UTF8. Nothing was changed.")
        self._reading: psycopg.Connection[Any] | None = None  # with the snapshot of a source

    def _connect(self) -> psycopg.Connection[Any]:
        plain = make_url(self.url).set(drivername="postgresql").render_as_string(hide_password=False)
        try:
            return psycopg.connect(plain, autocommit=True, connect_timeout=10, options=_OPTIONS)
        except psycopg.OperationalError as error:
            raise NotMoved(f"{self.place}: {str(error).strip()}. Nothing was changed.") from None

    def _row(self, query: str, parameters: Any = None) -> Any:
        return self.connection.execute(query.encode(), parameters).fetchone()

    def version(self) -> str | None:
        if VERSION_TABLE not in self.tables():
            return None
        return str(self._row(f"SELECT version_num FROM {VERSION_TABLE}")[0])  # noqa: S608 - ours

    def tables(self) -> dict[str, set[str]]:
        return {name: set(columns) for name, columns in self.connection.execute(_COLUMNS)}

    def count(self, table: Table) -> int:
        query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table.name))
        found = (self._reading or self.connection).execute(query).fetchone()
        assert found is not None
        return int(found[0])

    def months(self, table: str, column: str) -> list[str]:
        query = sql.SQL("SELECT DISTINCT to_char({} AT TIME ZONE 'UTC', 'YYYY-MM') FROM {} ORDER BY 1")
        named = query.format(sql.Identifier(column), sql.Identifier(table))
        return [month for (month,) in self.connection.execute(named)]

    def read(self, table: Table, after: list[Any] | None) -> Iterator[list[Row]]:
        query = select_in_order(table, after=after is not None, is_sqlite=False)
        connection, number = self._reading or self.connection, rows_at_once(table)
        with connection.transaction(), connection.cursor("rows of a move") as cursor:
            cursor.execute(query.encode(), after)
            while rows := cursor.fetchmany(number):
                yield rows

    def close(self) -> None:
        for connection in filter(None, (self._reading, self.connection)):
            connection.close()

    # As a source.

    def lock(self) -> bool:
        return bool(self._row("SELECT pg_try_advisory_lock(hashtextextended('gatehouse move', 0))")[0])

    def pause_writes(self) -> None:
        """Make the role's transactions read-only, end the sessions that still write, and open a snapshot."""
        self._set_read_only("SET default_transaction_read_only = on")
        self._reading = self._connect()
        if not self._end_sessions(_END_SECONDS):
            raise NotMoved(f"{self.place}: sessions of the service did not end")
        self._reading.autocommit = False
        self._reading.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        self._reading.execute("SELECT 1 FROM pg_class LIMIT 1")

    def _end_sessions(self, seconds: float) -> bool:
        """End the sessions that began before now, because each keeps its setting; those at work come last."""
        (since,) = self._row("SELECT clock_timestamp()")
        ours = [one.info.backend_pid for one in (self.connection, self._reading) if one is not None]
        asked = {"ours": ours, "since": since}
        begun = time.monotonic()
        while self._row(f"SELECT count(*) {_OLD}", asked)[0]:
            waited = time.monotonic() - begun
            if waited > seconds:
                return False
            only = "AND state IN ('idle', 'disabled')" if waited < _IDLE_SECONDS else ""
            self.connection.execute(f"SELECT pg_terminate_backend(pid) {_OLD} {only}".encode(), asked)
            time.sleep(0.05)
        return True

    def resume_writes(self) -> None:
        self._set_read_only("RESET default_transaction_read_only")
        self._end_sessions(_IDLE_SECONDS)

    def is_paused(self) -> bool:
        query = """
            SELECT 1 FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole
            JOIN pg_database d ON d.oid = s.setdatabase
            WHERE d.datname = current_database() AND r.rolname = current_user
            AND 'default_transaction_read_only=on' = ANY (s.setconfig)
        """
        return self._row(query) is not None

    def _set_read_only(self, change: str) -> None:
        database = sql.Identifier(str(self._row("SELECT current_database()")[0]))
        role = sql.SQL("ALTER ROLE CURRENT_USER IN DATABASE {} ").format(database)
        self.connection.execute(role + sql.SQL(change))

    # As a target.

    def begin(self, owner: str) -> None:
        with self.connection.transaction():
            self.connection.execute(CREATE_STATE)
            self._note("", owner)

    def state(self) -> Mapping[str, Copied] | None:
        if STATE_TABLE not in self.tables():
            return None
        rows = self.connection.execute(READ_STATE).fetchall()
        return {name: copied_from(place, number, hashes) for name, place, number, hashes in rows if name}

    def owner(self) -> str:
        return str(self._row(f"SELECT place FROM {STATE_TABLE} WHERE name = ''")[0])  # noqa: S608 - ours

    def clear(self, tables: Sequence[Table]) -> None:
        with self.connection.transaction():
            for table in reversed(tables):
                name = sql.Identifier(table.name)
                if self.count(table) == 0:
                    continue
                self.connection.execute(sql.SQL("ALTER TABLE {} DISABLE TRIGGER USER").format(name))
                self.connection.execute(sql.SQL("DELETE FROM {}").format(name))
                self.connection.execute(sql.SQL("SET CONSTRAINTS ALL IMMEDIATE"))
                self.connection.execute(sql.SQL("ALTER TABLE {} ENABLE TRIGGER USER").format(name))
            for table in tables:
                self._note(table.name, "null")

    def write(self, table: Table, rows: list[Row], copied: Copied) -> None:
        columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns)
        query = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.name), columns)
        with self.connection.transaction():
            with self.connection.cursor() as cursor, cursor.copy(query) as copy:
                for row in rows:
                    copy.write_row(row)
            self._note(table.name, json.dumps(copied.after), copied.sum)

    def finish(self, tables: Sequence[Table]) -> None:
        with self.connection.transaction():
            for table in tables:
                for column in table.primary_key.columns:
                    self._set_sequence(table.name, column.name)
            self.connection.execute(f"DROP TABLE {STATE_TABLE}")
        self._set_read_only("RESET default_transaction_read_only")  # another move may have left it
        self.connection.execute("ANALYZE")

    def _set_sequence(self, table: str, column: str) -> None:
        found = self._row("SELECT pg_get_serial_sequence(quote_ident(%s), %s)", [table, column])
        if found[0] is not None:
            query = sql.SQL("SELECT setval(%s, coalesce(max({0}), 1), max({0}) IS NOT NULL) FROM {1}")
            named = query.format(sql.Identifier(column), sql.Identifier(table))
            self.connection.execute(named, [found[0]])

    def wipe(self) -> None:
        with self.connection.transaction():
            self.connection.execute(EMPTY)

    def _note(self, name: str, place: str, total: Sum | None = None) -> None:
        total = total or Sum()
        query = f"""
            INSERT INTO {STATE_TABLE} VALUES (%s, %s, %s, %s) ON CONFLICT (name) DO UPDATE
            SET place = excluded.place, rows = excluded.rows, hashes = excluded.hashes
        """  # noqa: S608 - ours
        self.connection.execute(query.encode(), [name, place, total.rows, total.hexadecimal])
