"""Migrations: safe with several processes, all or nothing, and cheap when there is nothing to do."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Column, Connection, MetaData, String, Table, inspect, text
from sqlmodel import AutoString

from shared.data import migrate
from shared.data.database import Database, UtcDateTime
from shared.data.migrate import (
    MigrationFailed,
    current,
    differences,
    newest,
    upgrade,
    write,
)
from shared.data.reach import VERSION_TABLE
from shared.ids import new_id
from tests.shared.notes import models
from tests.shared.notes.app import MIGRATIONS
from tests.shared.processes import ROOT
from tests.support import new_database

UPGRADE = """
import sys
from pathlib import Path
from shared.ids import new_id
from shared.data.migrate import upgrade
print("loaded", flush=True)
sys.stdin.readline()  # wait for all processes, so that they begin together
upgrade(sys.argv[1], Path(sys.argv[2]))
print("alembic" in sys.modules)
"""

# Like a process of the fork server: Alembic is loaded, and there is one thread.
FORKED = """
import os, sys
import alembic.command
from pathlib import Path
from shared.data.migrate import MigrationFailed, upgrade_apart
try:
    upgrade_apart(sys.argv[1], Path(sys.argv[2]))
except MigrationFailed as failure:
    print("failed:", str(failure).splitlines()[-1])
print("of", os.getpid())
"""


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    """A migrations folder with a copy of the made-up service's migrations."""
    folder = tmp_path / "made_up" / "migrations"
    folder.mkdir(parents=True)
    for file in MIGRATIONS.glob("*.py"):
        (folder / file.name).write_text(file.read_text())
    return folder


def add_migration(folder: Path, number: int, body: str) -> None:
    (folder / f"{number:04}_more.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n"
        f"revision, down_revision = '{number:04}', '{number - 1:04}'\n"
        f"def upgrade():\n    {body}\n"
    )


def tables(database: Database) -> set[str]:
    return set(inspect(database.engine).get_table_names())


def version(database: Database) -> str | None:
    with database.engine.connect() as connection:
        return current(connection)


def upgrade_in_processes(number: int, url: str, migrations: Path) -> list[str]:
    command = [sys.executable, "-c", UPGRADE, url, str(migrations)]
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        for _ in range(number)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "loaded\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = []
    for process in processes:
        output, faults = process.communicate(timeout=60)
        assert process.returncode == 0, faults
        outputs.append(output.splitlines()[-1])
    return outputs


def test_only_one_of_several_processes_migrates(database_url: str, database: Database) -> None:
    loaded = upgrade_in_processes(4, database_url, MIGRATIONS)

    assert loaded.count("True") == 1, "only the first has work to do"
    assert tables(database) == {"notes", "idempotency_keys", "outbox", "inbox", "parked", VERSION_TABLE}
    assert version(database) == "0001"


def test_alembic_is_not_loaded_if_the_database_is_up_to_date(database_url: str) -> None:
    upgrade(database_url, MIGRATIONS)

    assert upgrade_in_processes(1, database_url, MIGRATIONS) == ["False"]


def test_failed_migration_is_rolled_back(database_url: str, database: Database, migrations: Path) -> None:
    upgrade(database_url, migrations)
    add_migration(
        migrations,
        2,
        "op.create_table('half', sa.Column('id', sa.Integer)); op.execute('INSERT INTO nowhere VALUES (1)')",
    )
    with pytest.raises(Exception, match="nowhere"):
        upgrade(database_url, migrations)

    assert "half" not in tables(database)
    assert version(database) == "0001"
    add_migration(migrations, 2, "op.create_table('whole', sa.Column('id', sa.Integer))")
    upgrade(database_url, migrations)
    assert "whole" in tables(database)
    assert version(database) == "0002"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("import os, sys; print('forked' if '-c' in sys.orig_argv else 'executed', 'by', os.getppid())", []),
        ("raise ValueError('no such unit')", ["failed: ValueError: no such unit"]),
        ("import os; os.kill(os.getpid(), 9)", ["failed: the migrating process ended with -9"]),
    ],
)
def test_process_with_alembic_loaded_migrates_in_a_fork(
    database_url: str, database: Database, migrations: Path, body: str, said: list[str]
) -> None:
    upgrade(database_url, migrations)
    add_migration(migrations, 2, body)
    command = [sys.executable, "-c", FORKED, database_url, str(migrations)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    lines = [line for line in done.stdout.splitlines() if line.startswith(("failed", "forked", "of"))]
    *rest, last = lines
    assert rest == (said or [f"forked by {last.removeprefix('of ')}"])
    assert version(database) == ("0001" if said else "0002")


def test_migrations_before_a_failed_one_are_kept(
    database_url: str, database: Database, migrations: Path
) -> None:
    add_migration(migrations, 2, "op.execute('INSERT INTO nowhere VALUES (1)')")
    with pytest.raises(Exception, match="nowhere"):
        upgrade(database_url, migrations)

    assert version(database) == "0001"
    assert "notes" in tables(database)


def test_changed_table_keeps_the_rows_that_refer_to_it(
    database_url: str, database: Database, migrations: Path
) -> None:
    """On SQLite a column is changed by recreating the table, which must not cascade."""
    add_migration(
        migrations,
        2,
        "op.create_table('pages', sa.Column('id', sa.Integer, primary_key=True), sa.Column('note', "
        "sa.String(36), sa.ForeignKey('notes.id', ondelete='CASCADE'), nullable=False))",
    )
    upgrade(database_url, migrations)
    with database.transaction() as session:
        session.add(models.Note(id="n", owner="o", text="t"))
        session.flush()
        session.connection().execute(text("INSERT INTO pages VALUES (1, 'n')"))
    add_migration(
        migrations,
        3,
        "batch = op.batch_alter_table('notes'); "
        "changing = batch.__enter__(); changing.alter_column('text', type_=sa.String(300)); "
        "batch.__exit__(None, None, None)",
    )
    upgrade(database_url, migrations)
    with database.transaction(write=False) as session:
        assert session.connection().execute(text("SELECT note FROM pages")).scalar_one() == "n"
        assert session.connection().execute(text("SELECT id FROM notes")).scalar_one() == "n"


def test_migration_has_no_statement_timeout(postgresql_server: str, migrations: Path) -> None:

    add_migration(
        migrations,
        2,
        "op.execute(\"CREATE TABLE found AS SELECT current_setting('statement_timeout') AS t\")",
    )
    with new_database(postgresql_server, f"test_{new_id()}") as url:
        upgrade(url, migrations)
        database = Database(url)
        with database.transaction(write=False) as session:
            assert session.connection().execute(text("SELECT t FROM found")).scalar_one() == "0"
            assert session.connection().execute(text("SHOW statement_timeout")).scalar_one() == "30s"
        database.close()


class TestLocks:
    """Another transaction holds a lock that a migration needs, on PostgreSQL."""

    @pytest.fixture
    def url(self, postgresql_server: str, migrations: Path) -> Iterator[str]:
        with new_database(postgresql_server, f"test_{new_id()}") as url:
            upgrade(url, migrations)
            add_migration(migrations, 2, "op.create_table('more', sa.Column('id', sa.Integer))")
            add_migration(migrations, 3, "op.add_column('notes', sa.Column('extra', sa.String(9)))")
            yield url

    @pytest.fixture
    def holder(self, url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
        monkeypatch.setattr(migrate, "LOCK_TIMEOUT_MS", 20)
        monkeypatch.setattr(migrate, "LOCK_RETRY_SECONDS", (0.0, 0.0))
        database = Database(url)
        with database.engine.connect() as connection:
            connection.execute(text("LOCK TABLE notes IN ACCESS SHARE MODE"))
            yield connection
        database.close()

    def test_migration_is_retried_until_the_lock_is_free(
        self, url: str, migrations: Path, holder: Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        phases: list[str] = []

        def release(phase: str) -> None:
            phases.append(phase)
            holder.rollback()

        monkeypatch.setattr(migrate, "report_phase", release)
        upgrade(url, migrations)

        assert phases == ["migrating: waiting for a lock that another transaction holds"]
        assert current(holder) == "0003"

    def test_lock_that_stays_is_reported_with_the_open_transactions(
        self, url: str, migrations: Path, holder: Connection
    ) -> None:
        with pytest.raises(MigrationFailed) as raised:
            upgrade(url, migrations)

        said = str(raised.value)
        pid = holder.execute(text("SELECT pg_backend_pid()")).scalar_one()
        assert said.startswith("a migration waited 0.02 s for a lock, 3 times. Open transactions: process ")
        assert f"process {pid} (idle in transaction) for " in said
        holder.rollback()
        assert current(holder) == "0002"  # the migration before the blocked one is kept


def test_models_and_migrations_of_the_made_up_service_match(database_url: str) -> None:
    assert differences(database_url, MIGRATIONS, models.Table.metadata) == []


@pytest.mark.parametrize(
    "extra",
    [
        Table("more", MetaData(), Column("id", String(36), primary_key=True)),
        Table("notes", MetaData(), Column("id", String(36), primary_key=True), Column("at", UtcDateTime)),
    ],
    ids=["a table", "a column"],
)
def test_model_without_a_migration_is_found(database_url: str, extra: Table) -> None:
    assert differences(database_url, MIGRATIONS, extra.metadata)


def test_next_migration_is_generated_from_the_models(
    database_url: str, database: Database, migrations: Path
) -> None:
    metadata = MetaData()
    for table in models.Table.metadata.tables.values():
        table.to_metadata(metadata)
    metadata.tables["notes"].append_column(Column("read", UtcDateTime))
    metadata.tables["notes"].append_column(Column("colour", AutoString(20)))
    metadata.tables["notes"].append_column(Column("smell", AutoString))
    written = write(database_url, migrations, metadata, "add notes read")

    assert written.name == "0002_add_notes_read.py"
    assert newest(migrations) == "0002"
    assert "sa.Column('read', UtcDateTime, " in written.read_text()
    assert "sa.Column('colour', sa.String(20), " in written.read_text()
    upgrade(database_url, migrations)
    assert {"read", "colour", "smell"} <= {
        column["name"] for column in inspect(database.engine).get_columns("notes")
    }
    assert differences(database_url, migrations, metadata) == []


def test_folder_without_migrations_changes_nothing(
    database_url: str, database: Database, tmp_path: Path
) -> None:
    upgrade(database_url, tmp_path)

    assert newest(tmp_path) is None
    assert tables(database) == set()


def test_sqlite_migration_that_reads_first_is_not_broken_by_a_service_that_writes(
    tmp_path: Path, migrations: Path
) -> None:
    url = f"sqlite:///{tmp_path}/busy.db"
    upgrade(url, migrations)
    other = (
        "import sqlite3; op.get_bind().execute(sa.text('SELECT * FROM notes')).all(); "
        f"service = sqlite3.connect('{tmp_path}/busy.db', timeout=0); "
        "write = 'CREATE TABLE of_the_service (id)'"
    )
    add_migration(
        migrations,
        2,
        f"{other}\n    try:\n        service.execute(write)\n"
        "    except sqlite3.OperationalError:\n        pass  # it waits\n"
        "    service.close()\n    op.create_table('whole', sa.Column('id', sa.Integer))",
    )

    upgrade(url, migrations)
    with closing(sqlite3.connect(tmp_path / "busy.db")) as database:
        assert database.execute("SELECT version_num FROM schema_migrations").fetchone() == ("0002",)
