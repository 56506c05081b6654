"""The dashboard: whom it asks, what it shows if services are late or fail, and for how long."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt
import pytest

from services.users.app import create_app
from services.users.dashboard import asking
from services.users.settings import Settings
from shared.ids import new_id
from shared.testing import TEST_INTERNAL_SECRET, bearer, running, token
from tests.users.support import NOWHERE

ADDRESS = "/dashboard/summary"
SECTIONS = ["orders", "files", "tickets", "notifications", "inventory", "terminal", "audit"]


@dataclass
class FakePeer:
    """An HTTP server with one response; without a body it never responds."""

    body: str | None = '{"total": 3}'
    status: int = 200
    requests: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.requests.append(head.decode())
                if self.body is not None:
                    start = f"HTTP/1.1 {self.status} Response\r\nContent-Type: application/json\r\n"
                    text = f"{start}Content-Length: {len(self.body)}\r\n\r\n{self.body}"
                    writer.write(text.encode())
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def tokens(self) -> list[dict[str, Any]]:
        """Return the claims of the internal tokens that it was sent."""
        lines = [line for head in self.requests for line in head.splitlines()]
        sent = [line.partition("Bearer ")[2] for line in lines if line.lower().startswith("authorization:")]
        return [
            jwt.decode(one, TEST_INTERNAL_SECRET, algorithms=["HS256"], audience="internal:orders")
            for one in sent
        ]

    def paths(self) -> list[str]:
        return [head.split(" ")[1] for head in self.requests]


@pytest.fixture
async def peer() -> AsyncIterator[tuple[FakePeer, str]]:
    fake = FakePeer()
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    yield fake, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a machine that stalls for a moment not look like a service that is late."""
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 10.0)


@pytest.fixture
async def users(
    make_settings: Callable[..., Any], database_url: str, peer: tuple[FakePeer, str]
) -> AsyncIterator[httpx.AsyncClient]:
    """The users service; only orders can be reached."""
    names = ("auth", "files", "support", "notifications", "inventory", "terminal", "audit")
    urls = {f"{name}_url": NOWHERE for name in names}
    settings = make_settings(Settings, database_url=database_url, orders_url=peer[1], **urls)
    async with running(create_app, settings) as client:
        yield client


async def shown(users: httpx.AsyncClient, headers: dict[str, str]) -> dict[str, Any]:
    response = await users.get(ADDRESS, headers=headers)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def test_person_gets_own_numbers_and_unreachable_services_are_named(
    users: httpx.AsyncClient, peer: tuple[FakePeer, str]
) -> None:
    person = new_id()
    summary = await shown(users, bearer(token(person)))

    assert summary["role"] == "user"
    assert summary["sections"] == {"orders": {"total": 3}}
    assert summary["unavailable"] == SECTIONS[1:]
    assert peer[0].paths() == [f"/internal/summary?user_id={person}"]
    assert [claims["iss"] for claims in peer[0].tokens()] == ["users"]


async def test_admin_gets_the_numbers_of_everybody(
    users: httpx.AsyncClient, peer: tuple[FakePeer, str]
) -> None:
    admin, scopes = new_id(), {"client_id": "app", "token_use": "access"}
    everything = await shown(users, bearer(token(admin, role="admin")))
    limited = token(admin, role="admin", scope="dashboard:read", **scopes)
    narrowed = await shown(users, bearer(limited))

    assert (everything["role"], narrowed["role"]) == ("admin", "user")
    assert peer[0].paths() == ["/internal/summary?all=true", f"/internal/summary?user_id={admin}"]


@pytest.mark.parametrize(
    ("body", "status"),
    [(None, 200), ("[]", 200), ('{"total": "many"}', 200), ("{}", 500), ("{}", 404), ("no JSON", 200)],
)
async def test_late_or_failing_service_is_named(
    users: httpx.AsyncClient,
    peer: tuple[FakePeer, str],
    monkeypatch: pytest.MonkeyPatch,
    body: str | None,
    status: int,
) -> None:
    if body is None:
        monkeypatch.setattr(asking, "ANSWER_SECONDS", 2.0)
    peer[0].body, peer[0].status = body, status
    summary = await shown(users, bearer(token()))

    assert summary["sections"] == {}
    assert summary["unavailable"] == SECTIONS
    assert len(peer[0].requests) == 1


async def test_summary_is_kept_for_each_caller_until_it_expires(
    users: httpx.AsyncClient, peer: tuple[FakePeer, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, bob = bearer(token()), bearer(token())
    first = await shown(users, ada)
    peer[0].body = '{"total": 4}'

    assert await shown(users, ada) == first
    assert (await shown(users, bob))["sections"]["orders"] == {"total": 4}
    assert len(peer[0].requests) == 2
    assert asking.KEPT_SECONDS == 10
    monkeypatch.setattr(asking, "KEPT_SECONDS", 0.0)
    carl = bearer(token())
    await shown(users, carl)
    peer[0].body = '{"total": 5}'
    assert (await shown(users, carl))["sections"]["orders"] == {"total": 5}


async def test_simultaneous_requests_of_a_caller_ask_each_service_once(
    users: httpx.AsyncClient, peer: tuple[FakePeer, str]
) -> None:
    ada, bob = bearer(token()), bearer(token())
    found = await asyncio.gather(*(shown(users, ada) for _ in range(10)), shown(users, bob))

    assert len(peer[0].requests) == 2
    assert all(one == found[0] for one in found[:10])
    assert found[0]["sections"]["orders"] == {"total": 3}


async def test_request_that_ends_early_does_not_end_the_others(
    users: httpx.AsyncClient, peer: tuple[FakePeer, str]
) -> None:
    ada = bearer(token())
    first = asyncio.create_task(shown(users, ada))
    second = asyncio.create_task(shown(users, ada))
    while not peer[0].requests:  # noqa: ASYNC110 - the fake service only counts
        await asyncio.sleep(0)
    first.cancel()

    assert (await second)["sections"]["orders"] == {"total": 3}
    assert len(peer[0].requests) == 1


async def test_number_of_kept_summaries_is_limited(
    users: httpx.AsyncClient, peer: tuple[FakePeer, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "KEPT_MAX", 1)
    ada, bob = bearer(token()), bearer(token())
    for headers in (ada, bob, bob, ada):
        await shown(users, headers)

    assert len(peer[0].requests) == 3


async def test_request_without_token_is_rejected(users: httpx.AsyncClient) -> None:
    assert (await users.get(ADDRESS)).status_code == 401


async def test_numbers_of_a_section_are_whole(users: httpx.AsyncClient, peer: tuple[FakePeer, str]) -> None:
    peer[0].body = json.dumps({"total": 10_000, "pending": 0})

    assert (await shown(users, bearer(token())))["sections"]["orders"] == {"total": 10_000, "pending": 0}
