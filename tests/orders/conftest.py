from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
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
from contracts.invoices import InvoiceIssued
from services.orders import app
from services.orders.app import create_app
from services.orders.settings import Settings
from shared.events import Subscriber
from shared.testing import running
from tests import databases
from tests.orders.replicas import Shop

# A subscriber to these events, on the discard port, where nothing listens.
LISTENER = Subscriber(
    "http://127.0.0.1:9", InvoiceIssued, OrderChanged, ProductChanged, ProductDeleted, StockChanged, StockLow
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


@pytest.fixture
def shop(database_url: str, tmp_path: Path) -> Iterator[Shop]:
    databases.migrate(database_url, Settings.migrations())
    made = Shop(tmp_path, database_url)
    try:
        yield made
    finally:
        for replica in made.replicas:
            replica.close()
