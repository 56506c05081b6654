from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from services.files.app import create_app
from services.files.settings import Settings
from shared.testing import running

MIB = 1 << 20
FILE_BYTES_MAX, QUOTA_BYTES, QUOTA_FILES = 2 * MIB, 4 * MIB, 50


@pytest.fixture
def settings(make_settings: Callable[..., Any], database_url: str) -> Settings:
    made: Settings = make_settings(
        Settings,
        database_url=database_url,
        max_file_size=FILE_BYTES_MAX,
        quota_bytes=QUOTA_BYTES,
        quota_files=QUOTA_FILES,
    )
    return made


@pytest.fixture
async def files(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app, settings) as client:
        yield client
