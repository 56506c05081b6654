"""Expand and contract: which older programs may use a database that a newer one has migrated."""

from pathlib import Path

import pytest
from sqlalchemy import text

from shared.data.database import Database
from shared.data.migrate import (
    DatabaseTooNew,
    contracting,
    current,
    reach_of,
    step_back,
    upgrade,
    upgrade_apart,
)
from shared.data.reach import NotReadable, Reach
from tests.shared.notes.app import MIGRATIONS
from tests.shared.test_migrate import add_migration, database, migrations, tables, version

__all__ = ["database", "migrations"]  # fixtures

EXPANDS = "op.create_table('more', sa.Column('id', sa.Integer))"


@pytest.fixture
def of_release(tmp_path: Path) -> Path:
    """The migrations of the last release: only the first one."""
    folder = tmp_path / "release" / "migrations"
    folder.mkdir(parents=True)
    for file in MIGRATIONS.glob("*.py"):
        (folder / file.name).write_text(file.read_text())
    return folder


def contract(folder: Path, number: int, unused_since: str) -> None:
    add_migration(folder, number, "op.drop_table('more')")
    file = folder / f"{number:04}_more.py"
    file.write_text(f'{file.read_text()}CONTRACTS = "{unused_since}"\n')


def test_program_before_an_expanding_migration_uses_the_database_as_it_is(
    database_url: str, database: Database, migrations: Path, of_release: Path
) -> None:
    upgrade(database_url, of_release)
    add_migration(migrations, 2, EXPANDS)
    upgrade(database_url, migrations)
    assert contracting(migrations, "0001") == []

    for start in (upgrade, upgrade_apart):
        start(database_url, of_release)

    assert reach_of(database_url) == Reach("0002", "0002", "0001")
    assert "more" in tables(database)


def test_program_before_a_contracting_migration_is_refused(
    database_url: str, migrations: Path, of_release: Path
) -> None:
    add_migration(migrations, 2, EXPANDS)
    contract(migrations, 3, unused_since="0002")
    add_migration(migrations, 4, EXPANDS)
    upgrade(database_url, migrations)
    assert contracting(migrations, "0001") == ["0003_more"]
    assert contracting(migrations, "0002") == contracting(migrations, None) == []

    for refused in (upgrade, upgrade_apart):
        with pytest.raises(DatabaseTooNew, match="0004"):
            refused(database_url, of_release)
    with pytest.raises(NotReadable, match="before 0002"):
        step_back(database_url, of_release, "0001")
    assert reach_of(database_url) == Reach("0004", "0004", "0002")

    add_migration(of_release, 2, EXPANDS)
    upgrade(database_url, of_release)  # a program that knows 0002 no longer uses what 0003 removes


def test_stepping_back_lets_0_2_0_start_and_no_migration_runs_twice_afterwards(
    database_url: str, database: Database, migrations: Path, of_release: Path
) -> None:
    upgrade(database_url, of_release)
    add_migration(migrations, 2, EXPANDS)
    upgrade(database_url, migrations)

    step_back(database_url, of_release, "0001")
    assert version(database) == "0001", "0.2.0 looks only at this"
    assert "more" in tables(database), "no data is changed"

    add_migration(migrations, 3, "op.create_table('later', sa.Column('id', sa.Integer))")
    upgrade(database_url, migrations)  # the table of 0002 would exist already
    assert reach_of(database_url) == Reach("0003", "0003", "0001")
    step_back(database_url, of_release, "0002")
    upgrade(database_url, migrations)
    assert version(database) == "0003"


def test_nobody_steps_back_beyond_what_was_applied(database_url: str, migrations: Path) -> None:
    upgrade(database_url, migrations)

    with pytest.raises(NotReadable):
        step_back(database_url, migrations, "0002")
    step_back(database_url, migrations, "0001")
    with pytest.raises(NotReadable):
        step_back(database_url, migrations, "0000")


def test_database_that_0_2_0_migrated_last_is_for_no_older_program(
    database_url: str, database: Database, migrations: Path, of_release: Path
) -> None:
    add_migration(migrations, 2, EXPANDS)
    upgrade(database_url, migrations)
    with database.engine.begin() as connection:
        for column in ("reached", "readable_from"):
            connection.execute(text(f"ALTER TABLE schema_migrations DROP COLUMN {column}"))

    assert reach_of(database_url) == Reach("0002", "0002", "0002")
    with pytest.raises(DatabaseTooNew):
        upgrade(database_url, of_release)
    add_migration(migrations, 3, "op.create_table('later', sa.Column('id', sa.Integer))")
    upgrade(database_url, migrations)
    assert reach_of(database_url) == Reach("0003", "0003", "0002")


def test_failed_migration_is_not_noted(database_url: str, database: Database, migrations: Path) -> None:
    upgrade(database_url, migrations)
    contract(migrations, 2, unused_since="0002")  # there is no such table

    with pytest.raises(Exception, match="more"):
        upgrade(database_url, migrations)
    assert reach_of(database_url) == Reach("0001", "0001", "0001")
    with database.engine.connect() as connection:
        assert current(connection) == "0001"
