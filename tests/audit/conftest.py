from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.audit.app import create_app
from services.audit.settings import Settings
from shared.testing import running
from tests.audit.support import TEST_KEY_SECRET, Log


@pytest.fixture
def settings(make_settings: Callable[..., Any], database_url: str, tmp_path: Path) -> Settings:
    made: Settings = make_settings(
        Settings, database_url=database_url, key_secret=TEST_KEY_SECRET, anchor_file=tmp_path / "anchor"
    )
    return made


@pytest.fixture(autouse=True)
def unopened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the statement that opens a log, so that tests count their records from 0; see test_opening.py."""
    monkeypatch.setattr("services.audit.caretaker.open_new_log", lambda _session, _keys: None)
    monkeypatch.setattr("services.audit.caretaker.open_older_log", lambda _checkpoints: None)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the deletion of records that no cut deletes."""
    monkeypatch.setattr("services.audit.leftovers.PROGRESS_SECONDS", 0)


@pytest.fixture
async def audit(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app, settings) as client:
        yield client


@pytest.fixture
def log(settings: Settings) -> Iterator[Log]:
    """A log without a service: only the test signs, erases or cuts."""
    with Log(settings) as made:
        yield made


@pytest.fixture
def sqlite_log(make_settings: Callable[..., Any], tmp_path: Path) -> Iterator[Log]:
    """The same on SQLite only, for tests that do not depend on the database."""
    made = make_settings(Settings, database_url=f"sqlite:///{tmp_path}/audit.db", key_secret=TEST_KEY_SECRET)
    with Log(made) as log:
        yield log
