from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest

from contracts.events import OF_SUPPORT, SUBSCRIBERS
from services.support import app
from services.support.settings import Settings
from shared.events import Subscriber
from shared.testing import running
from tests.support.peers import suite
from tests.support.people import People

NOWHERE = "http://127.0.0.1:9"  # the discard port, on which nothing listens


@pytest.fixture(scope="package")
def peers_url() -> Iterator[str]:
    with suite() as url:
        yield url


@pytest.fixture(autouse=True)
def listener(monkeypatch: pytest.MonkeyPatch) -> None:
    """A subscriber to all events of this service. It cannot be reached, so they stay in the outbox."""
    subscribers = {**SUBSCRIBERS, "listener": Subscriber(NOWHERE, *OF_SUPPORT)}
    monkeypatch.setattr(app, "SUBSCRIBERS", subscribers)


@pytest.fixture
def settings(make_settings: Callable[..., Any], database_url: str, peers_url: str) -> Settings:
    peers = {"auth_url": peers_url, "files_url": peers_url, "orders_url": peers_url}
    made: Settings = make_settings(Settings, database_url=database_url, **peers)
    return made


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with running(app.create_app, settings) as client:
        yield client


@pytest.fixture
async def people(client: httpx.AsyncClient) -> People:
    """An owner, a stranger, two agents and an admin."""
    people = People(client)
    await people.hire()
    return people
