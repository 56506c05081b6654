"""The inventory service under test, with a fake AWS that each test fills."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest

from contracts.events import SUBSCRIBERS, SyncFinished, WorkspaceChanged, WorkspaceFound, WorkspaceGone
from services.inventory import app
from services.inventory.settings import Settings
from shared.events import Subscriber
from shared.testing import running
from tests.inventory import aws
from tests.inventory.aws import Double, World

# A subscriber to all events, on the discard port, where nothing listens.
LISTENER = Subscriber("http://127.0.0.1:9", SyncFinished, WorkspaceChanged, WorkspaceFound, WorkspaceGone)


@pytest.fixture(scope="session")
def double_server() -> Iterator[Double]:
    with aws.serving(aws.new_world()) as double:
        yield double


@pytest.fixture
def double(double_server: Double) -> Double:
    double_server.world = aws.new_world()
    return double_server


@pytest.fixture
def world(double: Double) -> World:
    return double.world


@pytest.fixture
def make_inventory_settings(make_settings: Callable[..., Any]) -> Callable[..., Settings]:
    """A factory of settings with keys that the fake AWS knows, no schedule, and minimal pauses."""

    def make(**values: Any) -> Settings:
        usual = {
            "aws_access_key_id": aws.KEY_ID,
            "aws_secret_access_key": aws.SECRET,
            "sync_every_minutes": 0,
            "workspaces_rate": 1000,
            "tagging_rate": 1000,
            "cloudtrail_rate": 1000,
            "cloudwatch_rate": 1000,
            "aws_retry_seconds": 0.001,
        }
        made: Settings = make_settings(Settings, **{**usual, **values})
        return made

    return make


@pytest.fixture
def settings(make_inventory_settings: Callable[..., Settings], database_url: str) -> Settings:
    return make_inventory_settings(database_url=database_url)


@pytest.fixture
async def inventory(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setattr(app, "SUBSCRIBERS", {**SUBSCRIBERS, "listener": LISTENER})
    async with running(app.create_app, settings) as client:
        yield client
