"""Test databases, migrated once and then copied or cleared, because Alembic is slower than most tests."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from psycopg.sql import SQL, Identifier
from sqlalchemy import create_engine
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import make_url
from sqlalchemy.util import LRUCache

from shared.data import database
from shared.data.migrate import upgrade
from shared.ids import new_id
from tests.support import need, new_database

STATEMENTS_MAX = 10_000
# Detects any change of the schema: each catalog row carries the transaction that wrote it.
_FINGERPRINT = " || ".join(
    f"(SELECT coalesce(md5(string_agg(oid || ':' || xmin, ',' ORDER BY oid)), '') FROM {catalog})"
    for catalog in (
        "pg_class WHERE relnamespace = 'public'::regnamespace",
        "pg_proc WHERE pronamespace = 'public'::regnamespace",
        "pg_trigger",
        "pg_constraint",
        "pg_namespace",
    )
)
_CLEAR = """
DO $$ DECLARE name text; BEGIN
  SET LOCAL session_replication_role = replica;
  FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
    EXECUTE format('DELETE FROM public.%I', name);
  END LOOP;
  FOR name IN SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' LOOP
    EXECUTE format('ALTER SEQUENCE public.%I RESTART', name);
  END LOOP;
END $$
"""


class _Dump(NamedTuple):
    everything: bytes
    rows: bytes  # only the rows that migrations insert


class _Migrated(NamedTuple):
    migrations: Path
    fingerprint: str


_dumps: dict[Path, _Dump] = {}
_migrated: dict[str, _Migrated] = {}  # by URL
_made: set[str] = set()  # URLs of databases at the newest migration
_kept: dict[str, psycopg.Connection[Any]] = {}  # by URL


def share_compiled_statements() -> None:
    """Compile a statement once for the engines of all tests: compiling takes longer than running it."""
    options: dict[str, Any] = {"compiled_cache": LRUCache(STATEMENTS_MAX)}
    vars(database)["create_engine"] = partial(create_engine, execution_options=options)
    for dialect in (SQLiteDialect_pysqlite, PGDialect_psycopg):  # instances are part of the keys
        setattr(dialect, "__eq__", lambda one, other: type(one) is type(other))  # noqa: B010
        setattr(dialect, "__hash__", lambda one: hash(type(one)))  # noqa: B010


@contextmanager
def kept_connection(url: str) -> Iterator[None]:
    """Keep one connection for the work between tests, because a new one would look up all tables again."""
    with psycopg.connect(url, autocommit=True) as _kept[url]:
        yield
    del _kept[url]


def _connection(url: str) -> AbstractContextManager[psycopg.Connection[Any]]:
    return nullcontext(_kept[url]) if url in _kept else psycopg.connect(url, autocommit=True)


def migrate(url: str, migrations: Path) -> None:
    """Bring a new database to the newest migration by copying one that was migrated before.

    A database that is not empty is migrated by Alembic.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database is not None:
        if not (file := Path(parsed.database)).exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch(mode=0o600)
            file.write_bytes(_migrated_file(migrations))
            _made.add(url)
        return
    with _connection(url) as connection:
        known = _migrated.get(url)
        if known and known.migrations == migrations and known.fingerprint == _fingerprint(connection):
            _made.add(url)
            return  # cleared by `clear_database`
        if known:
            _drop_all(connection)
            del _migrated[url]
        if connection.execute(
            "SELECT 1 FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        ).fetchone():
            upgrade(url, migrations)
        else:
            connection.execute(_migrated_dump(url, migrations).everything)
            _migrated[url] = _Migrated(migrations, _fingerprint(connection))
        _made.add(url)


def upgrade_unless_migrated(url: str, migrations: Path) -> None:
    """Replace `upgrade`, whose check of a freshly migrated database costs as much as a short test."""
    if url not in _made:
        upgrade(url, migrations)


def empty_database(url: str) -> None:
    """End all connections and drop everything: forty times faster than creating a new database."""
    with _connection(url) as connection:
        _end_others(connection)
        _drop_all(connection)
        _migrated.pop(url, None)
        _made.discard(url)


def clear_database(url: str) -> None:
    """Prepare a database for `migrate`: empty the last test's tables, or drop them if they were changed."""
    with _connection(url) as connection:
        _made.discard(url)
        _end_others(connection)
        known = _migrated.get(url)
        if known is None or known.fingerprint != _fingerprint(connection):
            _drop_all(connection)
            _migrated.pop(url, None)
            return
        connection.execute(_CLEAR)
        connection.execute(_migrated_dump(url, known.migrations).rows)
        # Restarting a sequence changes the fingerprint as well.
        _migrated[url] = known._replace(fingerprint=_fingerprint(connection))


def _fingerprint(connection: psycopg.Connection[Any]) -> str:
    found = connection.execute(f"SELECT {_FINGERPRINT}".encode()).fetchone()
    assert found is not None
    return str(found[0])


def _end_others(connection: psycopg.Connection[Any]) -> None:
    connection.execute(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


def _drop_all(connection: psycopg.Connection[Any]) -> None:
    schemas = connection.execute(
        "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
    ).fetchall()
    for (schema,) in schemas:
        connection.execute(SQL("DROP SCHEMA {} CASCADE").format(Identifier(schema)))
    connection.execute("CREATE SCHEMA public")


@cache
def _migrated_file(migrations: Path) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "new.db")
        upgrade(f"sqlite:///{file}", migrations)
        return file.read_bytes()


def _migrated_dump(url: str, migrations: Path) -> _Dump:
    """Dump a migrated database: all statements, and those for its rows only."""
    if migrations not in _dumps:
        with new_database(url, f"dump_{new_id()}") as new:
            upgrade(new, migrations)
            _dumps[migrations] = _Dump(_dump(new), _dump(new, "--data-only"))
    return _dumps[migrations]


def _dump(url: str, *options: str) -> bytes:
    (pg_dump,) = need("pg_dump")
    command = [pg_dump, "--inserts", "--no-owner", *options, url]
    done = subprocess.run(command, capture_output=True, check=True)
    lines = done.stdout.splitlines()
    # Leave out psql commands and the schema that exists already.
    return b"\n".join(line for line in lines if not line.startswith((b"\\", b"CREATE SCHEMA public")))
