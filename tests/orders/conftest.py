from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from contracts.events import (
    SUBSCRIBERS,
    OrderChanged,
    ProductChanged,
    ProductDeleted,
    StockChanged,
    StockLow,
)
from services.orders import app
from services.orders.app import create_app
from services.orders.settings import Settings
from shared.events import Subscriber
from shared.testing import running

# A subscriber to these events, on the discard port, where nothing listens.
LISTENER = Subscriber(
    "http://127.0.0.1:9", OrderChanged, ProductChanged, ProductDeleted, StockChanged, StockLow
)


@pytest.fixture
async def orders(make_settings: Callable[..., Any], database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app, make_settings(Settings, database_url=database_url)) as client:
        yield client


@pytest.fixture
async def orders_with_listener(
    make_settings: Callable[..., Any], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setattr(app, "SUBSCRIBERS", {**SUBSCRIBERS, "listener": LISTENER})
    async with running(create_app, make_settings(Settings, database_url=database_url)) as client:
        yield client


@pytest.fixture
async def catalogue(make_settings: Callable[..., Any]) -> AsyncIterator[httpx.AsyncClient]:
    """The service on SQLite only, for tests of what does not depend on the database."""
    async with running(create_app, make_settings(Settings)) as client:
        yield client
