"""The status for clients of an older system: what it checks, and how often."""

from contextlib import closing

import httpx
import pytest

from services.users.status import board
from services.users.status.board import StatusBoard
from shared.data.database import Database
from tests.support import free_port, redis_server

ADDRESS = "/classic/status"


@pytest.fixture
def pings(users: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The pings of the running service's database; only the first succeeds."""
    made: list[int] = []

    def ping(_database: Database) -> None:
        made.append(1)
        if len(made) > 1:
            raise ConnectionError("gone")

    monkeypatch.setattr(Database, "ping", ping)
    return made


async def test_status_names_every_dependency(users: httpx.AsyncClient) -> None:
    response = await users.get(ADDRESS)
    assert response.status_code == 200, response.text
    found = response.json()

    assert found.keys() == {"status", "timestamp", "services", "app"}
    assert found["status"] == "healthy"
    database = found["services"]["database"]
    assert database["healthy"] is True
    assert database["stats"].keys() == {"open_connections", "in_use", "idle"}
    assert found["services"]["redis"] == found["services"]["nats"] == {"healthy": None, "note": "not used"}
    assert found["app"]["env"] == "development"


async def test_checks_are_kept_for_those_who_ask_often(users: httpx.AsyncClient, pings: list[int]) -> None:
    for _ in range(3):
        assert (await users.get(ADDRESS)).status_code == 200

    assert len(pings) == 1
    assert board.KEPT_SECONDS == 5


async def test_degraded_status_is_503(
    users: httpx.AsyncClient, pings: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board, "KEPT_SECONDS", 0.0)
    assert (await users.get(ADDRESS)).status_code == 200
    response = await users.get(ADDRESS)

    assert response.status_code == 503
    assert response.json()["status"] == "degraded"
    assert response.json()["services"]["database"]["healthy"] is False
    assert len(pings) == 2


async def test_redis_that_cannot_be_reached_is_degraded(database_url: str) -> None:
    with closing(Database(database_url)) as database:
        url = f"redis://127.0.0.1:{free_port()}/0"
        found = await StatusBoard(database, url, "production").status()

    assert (found.status, found.services.redis.healthy) == ("degraded", False)
    assert found.services.database.healthy is True


async def test_redis_that_responds_is_healthy(database_url: str) -> None:
    with closing(Database(database_url)) as database, redis_server() as server:
        found = await StatusBoard(database, server.url, "production").status()

    assert (found.status, found.services.redis.healthy, found.services.redis.note) == ("healthy", True, None)
