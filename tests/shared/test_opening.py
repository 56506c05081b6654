"""A service does not start with a lost database, or with one that a newer program has migrated."""

import sqlite3
from collections.abc import Callable, MutableMapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from shared.data.migrate import UNFINISHED_MOVE, newest
from shared.data.opening import open_database
from tests.shared.notes.app import MIGRATIONS, Settings


@pytest.fixture
def opened(make_settings: Callable[..., Any], tmp_path: Path) -> Settings:
    settings: Settings = make_settings(Settings, database_url=f"sqlite:///{tmp_path}/notes.db")
    open_database(settings)
    return settings


def refusal(settings: Settings) -> MutableMapping[str, Any]:
    with capture_logs() as lines, pytest.raises(SystemExit) as end:
        open_database(settings)
    assert end.value.code == 5
    return lines[-1]


@pytest.mark.parametrize("how", ["missing", "empty"])
def test_lost_sqlite_file_is_not_replaced_by_an_empty_database(
    opened: Settings, tmp_path: Path, how: str
) -> None:
    file = tmp_path / "notes.db"
    for part in tmp_path.glob("notes.db*"):
        part.unlink()
    if how == "empty":
        file.touch()

    line = refusal(opened)
    assert line["event"] == "database_lost"
    assert str(file) in line["reason"]
    marker = tmp_path / "databases" / opened.service
    assert str(marker) in line["remedy"]
    assert not file.exists() or file.stat().st_size == 0

    marker.unlink()
    open_database(opened)
    open_database(opened)
    assert file.stat().st_size > 0


def test_new_sqlite_file_at_another_path_is_created(opened: Settings, tmp_path: Path) -> None:
    open_database(opened.model_copy(update={"database_url": f"sqlite:///{tmp_path}/other.db"}))


def test_database_of_a_newer_program_is_refused_with_both_versions(opened: Settings, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "notes.db")) as database:
        database.execute("UPDATE schema_migrations SET version_num = '9999'")
        database.commit()

    line = refusal(opened)
    assert line["event"] == "database_too_new"
    assert (line["database_version"], line["program_version"]) == ("9999", newest(MIGRATIONS))
    assert "exc_info" not in line


def test_database_whose_move_is_unfinished_is_refused(opened: Settings, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "notes.db")) as database:
        database.execute(f"CREATE TABLE {UNFINISHED_MOVE} (name TEXT)")
    line = refusal(opened)
    assert line["event"] == "database_incomplete"
    assert "Continue that move" in line["remedy"]
