"""Test databases, migrated once and then copied or cleared, because Alembic is slower than most tests."""

import fcntl
import hashlib
import pickle
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import psycopg
from psycopg.sql import SQL, Identifier
from sqlalchemy import create_engine
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import make_url
from sqlalchemy.util import LRUCache

from shared.data import database, postgresql
from shared.data.migrate import upgrade
from shared.ids import new_id
from tests import connections
from tests.support import need, new_database

T = TypeVar("T")
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
# Most tests write to few tables. One that has partitions is empty itself.
_CLEAR = b"""
DO $$ DECLARE name text; BEGIN
  SET LOCAL session_replication_role = replica;
  FOR name IN SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
    AND (relkind = 'p' OR relkind = 'r' AND pg_relation_size(oid) > 0) LOOP
    EXECUTE format('DELETE FROM public.%I', name);
  END LOOP;
END $$;
"""


class _Dump(NamedTuple):
    everything: bytes
    rows: bytes  # only the rows that migrations insert, and the values of sequences


class _Migrated(NamedTuple):
    migrations: Path
    fingerprint: str


_dumps: dict[Path, _Dump] = {}
_migrated: dict[str, _Migrated] = {}  # by URL
_made: set[str] = set()  # URLs of databases at the newest migration
_kept: dict[str, psycopg.Connection[Any]] = {}  # by URL
_exchange: list[Path] = []  # the folder where the workers of a run share what one of them has migrated


def exchange_in(folder: Path) -> None:
    """Share migrated databases with the other workers of this run."""
    folder.mkdir(exist_ok=True)
    _exchange[:] = [folder]


def share_compiled_statements() -> None:
    """Compile a statement once for the engines of all tests: compiling takes longer than running it."""
    options: dict[str, Any] = {"compiled_cache": LRUCache(STATEMENTS_MAX)}
    for module in (database, postgresql):
        vars(module)["create_engine"] = partial(create_engine, execution_options=options)
    for dialect in (SQLiteDialect_pysqlite, PGDialect_psycopg):  # instances are part of the keys
        setattr(dialect, "__eq__", lambda one, other: type(one) is type(other))  # noqa: B010
        setattr(dialect, "__hash__", lambda one: hash(type(one)))  # noqa: B010


@contextmanager
def kept_connection(url: str) -> Iterator[None]:
    """Keep one connection for the work between tests, and those that tests have closed."""
    with connections.kept(url), psycopg.connect(url, autocommit=True) as _kept[url]:
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
        _end_others(connection, connections.free_ones(url))
        _drop_all(connection)
        _migrated.pop(url, None)
        _made.discard(url)


def clear_database(url: str) -> None:
    """Prepare a database for `migrate`: empty the last test's tables, or drop them if they were changed."""
    with _connection(url) as connection:
        _made.discard(url)
        _end_others(connection, connections.free_ones(url))
        known = _migrated.get(url)
        if known is None or known.fingerprint != _fingerprint(connection):
            _drop_all(connection)
            _migrated.pop(url, None)
            return
        connection.execute(_CLEAR + _migrated_dump(url, known.migrations).rows)


def _fingerprint(connection: psycopg.Connection[Any]) -> str:
    found = connection.execute(f"SELECT {_FINGERPRINT}".encode()).fetchone()
    assert found is not None
    return str(found[0])


def _end_others(connection: psycopg.Connection[Any], kept: list[int]) -> None:
    connection.execute(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND pid <> ALL(%s::int[])",
        [kept],
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
    def make() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "new.db")
            upgrade(f"sqlite:///{file}", migrations)
            return file.read_bytes()

    return _made_once(f"sqlite {migrations}", make)


def _migrated_dump(url: str, migrations: Path) -> _Dump:
    """Dump a migrated database: all statements, and those for its rows only."""

    def make() -> _Dump:
        with new_database(url, f"dump_{new_id()}") as new:
            upgrade(new, migrations)
            return _Dump(_dump(new), _dump(new, "--data-only"))

    if migrations not in _dumps:
        _dumps[migrations] = _made_once(f"postgresql {migrations}", make)
    return _dumps[migrations]


def _made_once(what: str, make: Callable[[], T]) -> T:
    """Make this, or read what another worker has made."""
    if not _exchange:
        return make()
    file = _exchange[0] / hashlib.sha256(what.encode()).hexdigest()
    with file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            unfinished = file.with_suffix(".unfinished")  # in case this worker is killed
            unfinished.write_bytes(pickle.dumps(make()))
            unfinished.rename(file)
        made: T = pickle.loads(file.read_bytes())
    return made


def _dump(url: str, *options: str) -> bytes:
    (pg_dump,) = need("pg_dump")
    command = [pg_dump, "--inserts", "--no-owner", *options, url]
    done = subprocess.run(command, capture_output=True, check=True)
    lines = done.stdout.splitlines()
    # Leave out psql commands and the schema that exists already.
    return b"\n".join(line for line in lines if not line.startswith((b"\\", b"CREATE SCHEMA public")))
