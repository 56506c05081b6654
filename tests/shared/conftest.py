from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.testing import bearer, running, token
from tests.shared.notes.app import Settings, create_app


@pytest.fixture
def settings(make_settings: Callable[..., Any], tmp_path: Path) -> Settings:
    made: Settings = make_settings(Settings, gate=tmp_path / "gate")
    return made


@pytest.fixture
async def notes(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the made-up service on SQLite."""
    async with running(create_app, settings, raise_app_exceptions=False) as client:
        yield client


@pytest.fixture
def signed_in() -> dict[str, str]:
    return bearer(token())
