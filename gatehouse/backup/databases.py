"""Copies of one database: taken from a snapshot, checked, and put back."""

import gzip
import os
import shutil
import sqlite3
import subprocess
import zlib
from pathlib import Path
from typing import IO, Any

import psycopg
from psycopg import sql
from sqlalchemy.engine import URL, make_url

from gatehouse.backup import NotDone
from gatehouse.backup.cut import PostgresqlSnapshot, Snapshot, SqliteSnapshot
from shared.data.reach import VERSION_TABLE

MEMBERS = {"sqlite": "databases/{}.sqlite.gz", "postgresql": "databases/{}.pgdump"}
_COMPRESSION = 1  # the lowest: the copy must not keep a core busy for minutes
_PIECE_BYTES = 1 << 20
_RESET_OUTBOX = "UPDATE outbox SET sent_as = NULL, sent_in = NULL, lease = NULL, leased_until = NULL"
# Also removes what a newer version has added, which would be in the way of that version's migrations.
EMPTY = """
    SET LOCAL client_min_messages = warning;
    DO $$ DECLARE one record; BEGIN
        FOR one IN SELECT nspname FROM pg_namespace
            WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', current_schema())
            AND pg_has_role(nspowner, 'USAGE')
        LOOP EXECUTE format('DROP SCHEMA %I CASCADE', one.nspname); END LOOP;
        FOR one IN SELECT c.oid::regclass::text AS name, c.relkind FROM pg_class c
            WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
            ORDER BY c.relkind = 'S'  -- most go with their tables
        LOOP EXECUTE format('DROP %s IF EXISTS %s CASCADE', CASE one.relkind WHEN 'v' THEN 'VIEW'
            WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, one.name);
        END LOOP;
        FOR one IN SELECT p.oid::regprocedure::text AS name FROM pg_proc p
            WHERE p.pronamespace = current_schema()::regnamespace
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
        LOOP EXECUTE format('DROP ROUTINE IF EXISTS %s CASCADE', one.name); END LOOP;
    END $$;
"""
_TABLES_OF_POSTGRESQL = """
    SELECT table_name FROM information_schema.tables
    WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' ORDER BY 1
"""


def copy(snapshot: Snapshot, file: Path) -> dict[str, Any]:
    """Write what the snapshot holds to a file; return its kind, its version and the rows of each table."""
    if isinstance(snapshot, SqliteSnapshot):
        return _copy_sqlite(snapshot, file)
    return _copy_postgresql(snapshot, file)


def _copy_sqlite(snapshot: SqliteSnapshot, file: Path) -> dict[str, Any]:
    plain = file.with_suffix(".plain")
    try:
        with sqlite3.connect(plain) as target:
            snapshot.connection.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")  # the copy is one file
        target.close()
        about = inspect_sqlite(plain)
        with plain.open("rb") as content, gzip.open(file, "wb", _COMPRESSION) as packed:
            shutil.copyfileobj(content, packed, _PIECE_BYTES)
    finally:
        plain.unlink(missing_ok=True)
    return about


def inspect_sqlite(file: Path) -> dict[str, Any]:
    """Check a SQLite file and count its rows."""
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        for check in ("quick_check", "foreign_key_check"):
            found = connection.execute(f"PRAGMA {check}").fetchone()
            if found is not None and found != ("ok",):
                raise NotDone(f"{file.stem}: the database is damaged ({check}: {found[0]})")
        query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY 1"
        names = [name for (name,) in connection.execute(query)]
        counts = {name: connection.execute(_count(name)).fetchone()[0] for name in names}
        (version,) = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()  # noqa: S608 - ours
    except sqlite3.DatabaseError as error:
        raise NotDone(f"{file.stem}: the database is damaged ({error})") from None
    finally:
        connection.close()
    return {"kind": "sqlite", "version": version, "rows": counts}


def _copy_postgresql(snapshot: PostgresqlSnapshot, file: Path) -> dict[str, Any]:
    about = _inspect_postgresql(snapshot.connection)
    options = ["--format=custom", f"--compress={_COMPRESSION}", "--no-owner", "--no-privileges"]
    _run("pg_dump", snapshot.url, [*options, f"--snapshot={snapshot.snapshot_id}", f"--file={file}"])
    return about


def inspect_postgresql(url: str) -> dict[str, Any]:
    with psycopg.connect(_plain(make_url(url)), connect_timeout=10) as connection:
        return _inspect_postgresql(connection)


def _inspect_postgresql(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    names = [name for (name,) in connection.execute(_TABLES_OF_POSTGRESQL)]
    counts = {}
    for name in names:
        row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name))).fetchone()
        counts[name] = row[0] if row else 0
    version = connection.execute(
        sql.SQL("SELECT version_num FROM {}").format(sql.Identifier(VERSION_TABLE))
    ).fetchone()
    return {"kind": "postgresql", "version": version[0] if version else None, "rows": counts}


def unpack_sqlite(content: IO[bytes], file: Path) -> None:
    """Write the packed copy of a SQLite database to a new file that only its owner can read."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
        try:
            with gzip.open(content, "rb") as plain:
                shutil.copyfileobj(plain, target, _PIECE_BYTES)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise NotDone(f"{file.stem}: its copy in the backup is damaged ({error})") from None
        target.flush()
        os.fsync(target.fileno())


def load_postgresql(url: str, dump: Path) -> None:
    """Replace everything in the database by the dump, in one transaction."""
    script, emptying = dump.with_suffix(".sql"), dump.with_suffix(".empty.sql")
    try:
        options = ["--no-owner", "--no-privileges", "--no-comments", f"--file={script}", str(dump)]
        _run("pg_restore", url, options, connects=False)
        emptying.write_text(EMPTY)
        options = [
            "--quiet",
            "--no-psqlrc",
            "--set=ON_ERROR_STOP=1",
            "--single-transaction",
            "--output=/dev/null",
        ]
        _run("psql", url, [*options, f"--file={emptying}", f"--file={script}"])
    finally:
        for file in (script, emptying):
            file.unlink(missing_ok=True)


def dump_postgresql(url: str, file: Path) -> None:
    """Write everything in the database to a file."""
    _run("pg_dump", url, ["--format=custom", "--no-owner", "--no-privileges", f"--file={file}"])


def reset_outbox(place: Path | str) -> None:
    """Let every event that was not acknowledged be sent again: a broker's entries are of another time."""
    if isinstance(place, Path):
        connection = sqlite3.connect(place)
        with connection:
            connection.execute(_RESET_OUTBOX)
        connection.close()
    else:
        with psycopg.connect(_plain(make_url(place))) as server:
            server.execute(_RESET_OUTBOX)


def is_empty(url: str) -> bool:
    """Whether a PostgreSQL database has no tables."""
    with psycopg.connect(_plain(make_url(url)), connect_timeout=10) as connection:
        return connection.execute(_TABLES_OF_POSTGRESQL).fetchone() is None


def users_of(url: str) -> int:
    """Return how many other connections a PostgreSQL database has."""
    query = """
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
    """
    with psycopg.connect(_plain(make_url(url)), connect_timeout=10) as connection:
        row = connection.execute(query).fetchone()
        return int(row[0]) if row else 0


def _run(program: str, url: str, options: list[str], *, connects: bool = True) -> None:
    """Run a program of PostgreSQL; the password reaches it by its environment, which others cannot read."""
    parsed = make_url(url)
    environment = dict(os.environ)
    if parsed.password:
        environment["PGPASSWORD"] = str(parsed.password)
    place = [f"--dbname={_plain(parsed.set(password=None))}"] if connects else []
    command = [program, *options, *place]
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            command, env=environment, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise NotDone(
            f"{program} is missing; install PostgreSQL's client programs (Debian: postgresql-client)"
        ) from None
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        reason = next((line for line in lines if "error:" in line.lower()), lines[0])
        raise NotDone(f"{parsed.database}: {reason}")


def _plain(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def _count(table: str) -> str:
    quoted = table.replace('"', '""')
    return f'SELECT count(*) FROM "{quoted}"'  # noqa: S608 - quoted above
