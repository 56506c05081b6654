"""Migrations, run at startup under a lock so that several replicas may start together."""

import fcntl
import os
import re
import select
import subprocess
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import format_exception
from typing import Any
from zlib import crc32

import structlog
from sqlalchemy import Connection, MetaData, inspect, text
from sqlalchemy.exc import OperationalError

from shared.data import reach
from shared.data.database import Database
from shared.data.reach import VERSION_TABLE, Reach
from shared.process.supervision import report_phase

UNFINISHED_MOVE = "unfinished_move"  # a table with the state of `gatehouse move`
STILL_AT_WORK_SECONDS = 5.0
# On PostgreSQL. While a migration waits for a lock, later statements on that table wait behind it. Therefore
# it waits only briefly, lets them pass, and tries again.
LOCK_TIMEOUT_MS = 3_000
LOCK_RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0, 8.0)
_LOCK_NOT_AVAILABLE = "55P03"
_CONTRACTS = re.compile(r'^CONTRACTS = "(\d{4})"$', re.MULTILINE)
_HOLDERS = """
    SELECT pid, state, extract(epoch FROM clock_timestamp() - xact_start)::int FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
    ORDER BY xact_start LIMIT 3
"""

log = structlog.get_logger(__name__)


class MigrationFailed(Exception):
    """The migration has failed; the message says why, or is the output of the migrating process."""


class DatabaseTooNew(Exception):
    """A newer program has migrated the database; this one cannot read it."""

    def __init__(self, database: str, program: str | None) -> None:
        known = program or "none"
        super().__init__(f"the database is at version {database}, but this program only knows {known}")
        self.database, self.program = database, program


class MoveUnfinished(Exception):
    """`gatehouse move` has not finished with this database, so rows are missing."""

    def __init__(self) -> None:
        super().__init__("gatehouse move has not finished with this database, so rows are missing")


def upgrade(database_url: str, migrations: Path) -> None:
    """Migrate the database to the newest version."""
    with _connection(database_url, writes=True) as connection, _lock(connection, migrations.parent.name):
        if not _is_behind(_reach(connection), newest(migrations)):
            return
        reach.step_forward(connection)
        connection.commit()
        if _is_behind(_reach(connection), newest(migrations)):
            _upgrade_when_unlocked(connection, migrations)


def _upgrade_when_unlocked(connection: Connection, migrations: Path) -> None:
    from alembic import command

    for seconds in (*LOCK_RETRY_SECONDS, None):
        try:
            command.upgrade(_config(connection, migrations), "head")
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
                raise
            connection.rollback()
            if seconds is None:
                raise MigrationFailed(_blocked(connection)) from error
            report_phase("migrating: waiting for a lock that another transaction holds")
            time.sleep(seconds)
        else:
            return


def _blocked(connection: Connection) -> str:
    attempts = len(LOCK_RETRY_SECONDS) + 1
    holders = [
        f"process {pid} ({state}) for {seconds} s"
        for pid, state, seconds in connection.execute(text(_HOLDERS)).all()
    ]
    return (
        f"a migration waited {LOCK_TIMEOUT_MS / 1000:g} s for a lock, {attempts} times. "
        f"Open transactions: {', '.join(holders) or 'none now'}. "
        "End the transaction that holds the lock (pg_terminate_backend), then start again."
    )


def upgrade_apart(database_url: str, migrations: Path) -> None:
    """Migrate in a separate process, so that the memory for migrating is freed afterwards.

    The process is forked if Alembic is already loaded and there is no other thread.
    """
    with _connection(database_url) as connection:
        before, after = _reach(connection), newest(migrations)
        if inspect(connection).has_table(UNFINISHED_MOVE):
            raise MoveUnfinished
    if _is_behind(before, after):
        report_phase(f"migrating from {before.version or 'an empty database'} to {after}")
        forks = "alembic.command" in sys.modules and threading.active_count() == 1
        (_run_forked if forks else _run_apart)(database_url, migrations)
        log.info("migrated", from_version=before.version, to_version=after)
    elif before.version != after:
        log.info("database_is_newer", database_version=before.version, program_version=after)


def _is_behind(database: Reach, program: str | None) -> bool:
    """Whether to migrate. A newer database is used as it is, if its newer migrations only expand."""
    version = database.version
    if version is None or (program is not None and version <= program):
        return version != program
    if not database.is_readable_by(program):
        raise DatabaseTooNew(version, program)
    return False


def _run_forked(database_url: str, migrations: Path) -> None:
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os._exit(_report_failure(writing, database_url, migrations))
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        while not select.select([pipe], [], [], STILL_AT_WORK_SECONDS)[0]:
            report_phase("")
        failure = pipe.read().decode()
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if code != 0:
        raise MigrationFailed(failure.strip() or f"the migrating process ended with {code}")


def _report_failure(writing: int, database_url: str, migrations: Path) -> int:
    try:
        upgrade(database_url, migrations)
    except BaseException as error:  # noqa: BLE001 - this process must not return to the parent's code
        with os.fdopen(writing, "w") as pipe:
            pipe.write(str(error) if isinstance(error, MigrationFailed) else "".join(format_exception(error)))
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _run_apart(database_url: str, migrations: Path) -> None:
    """Migrate in a new process; report every few seconds that it is still running."""
    command = [sys.executable, "-m", "shared.data.migrate", str(migrations)]
    environment = {**os.environ, "DATABASE_URL": database_url}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own
        while True:
            try:
                faults = process.communicate(timeout=STILL_AT_WORK_SECONDS)[1]
                break
            except subprocess.TimeoutExpired:
                report_phase("")
    if process.returncode != 0:
        raise MigrationFailed(faults.strip())
    sys.stderr.write(faults)


def differences(database_url: str, migrations: Path, metadata: MetaData) -> list[Any]:
    """Return the differences between models and migrations."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    upgrade(database_url, migrations)
    with _connection(database_url) as connection:
        context = MigrationContext.configure(
            connection,
            opts={"version_table": VERSION_TABLE, "compare_type": True, "include_name": is_of_the_models},
        )
        return list(compare_metadata(context, metadata))


def is_of_the_models(name: str | None, _kind: str, _parents: object) -> bool:
    """Exclude search indexes, which exist only in migrations, not in the models."""
    return name is None or re.search(r"_search(_|$)", name) is None


def write(database_url: str, migrations: Path, metadata: MetaData, message: str) -> Path:
    """Generate the next migration from the difference between models and database; review it before use."""
    from alembic import command

    upgrade(database_url, migrations)
    number = f"{int(newest(migrations) or 0) + 1:04}"
    with _connection(database_url) as connection:
        config = _config(connection, migrations)
        config.attributes["metadata"] = metadata
        config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
        script = command.revision(config, message=message, rev_id=number, autogenerate=True)
    assert script is not None
    assert not isinstance(script, list)
    file = Path(script.path)
    # Remove Alembic's "please adjust" comments.
    file.write_text(re.sub(r"^ *# ###.*\n", "", file.read_text(), flags=re.MULTILINE))
    return file


def newest(migrations: Path) -> str | None:
    """Return the number in the last file's name; this is cheaper than loading Alembic at every start."""
    numbers = [name.group() for file in migrations.glob("*.py") if (name := re.match(r"\d{4}", file.name))]
    return max(numbers, default=None)


def current(connection: Connection) -> str | None:
    return _reach(connection).version


def _reach(connection: Connection) -> Reach:
    try:
        return reach.read(connection)
    finally:
        connection.rollback()  # so that the caller can begin its own transaction


def reach_of(database_url: str) -> Reach:
    """Return how far a database is migrated, without changing it."""
    with _connection(database_url) as connection:
        return _reach(connection)


def step_back(database_url: str, migrations: Path, version: str) -> None:
    """Let an older program that knows only this version use the database; NotReadable if it cannot."""
    with _connection(database_url, writes=True) as connection, _lock(connection, migrations.parent.name):
        reach.step_back(connection, version)
        connection.commit()


def contracting(migrations: Path, program: str | None) -> list[str]:
    """Return the later migrations that remove what a program which knows only this version still uses."""
    found = []
    for file in sorted(migrations.glob("[0-9][0-9][0-9][0-9]_*.py")):
        contracts = _CONTRACTS.search(file.read_text()) if program and file.name[:4] > program else None
        if contracts is not None and contracts.group(1) > (program or ""):
            found.append(file.stem)
    return found


@contextmanager
def _connection(database_url: str, *, writes: bool = False) -> Iterator[Connection]:
    database = Database(database_url, pool_size=1)
    try:
        # On SQLite, a transaction that reads before it writes fails if a running service writes in between.
        with (database.writing_engine if writes else database.engine).connect() as connection:
            if database.is_sqlite:
                # Changing a table on SQLite recreates it, which must not delete rows that refer to it.
                connection.connection.cursor().execute("PRAGMA foreign_keys = OFF")
            yield connection
    finally:
        database.close()


@contextmanager
def _lock(connection: Connection, name: str) -> Iterator[None]:
    if connection.dialect.name == "sqlite":
        with Path(f"{connection.engine.url.database}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        return
    # A migration, and waiting for one, may take longer than requests are allowed to.
    connection.execute(text("SET statement_timeout = 0"))
    number = crc32(name.encode())
    connection.execute(text("SELECT pg_advisory_lock(:number)"), {"number": number})
    connection.execute(text(f"SET lock_timeout = {LOCK_TIMEOUT_MS}"))
    connection.commit()
    try:
        yield
    finally:
        connection.rollback()
        connection.execute(text("SELECT pg_advisory_unlock(:number)"), {"number": number})
        connection.commit()


def _config(connection: Connection, migrations: Path) -> Any:
    from alembic.config import Config

    config = Config(cmd_opts=Namespace(quiet=True))
    config.set_main_option("script_location", str(Path(__file__).parent / "alembic"))
    config.set_main_option("version_locations", str(migrations))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


if __name__ == "__main__":
    try:
        upgrade(os.environ["DATABASE_URL"], Path(sys.argv[1]))
    except MigrationFailed as failure:
        sys.exit(str(failure))
