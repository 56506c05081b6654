from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from services.orders.app import create_app
from services.orders.settings import Settings
from shared.testing import running


@pytest.fixture
async def orders(make_settings: Callable[..., Any], database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app, make_settings(Settings, database_url=database_url)) as client:
        yield client
