"""Tokens that auth has revoked: new requests are refused before forwarding, and open ones end."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from gateway.forwarding import exchange
from shared.ids import new_id
from shared.testing import bearer, token
from tests.gateway.backends import Backend, Conversation
from tests.gateway.conftest import Start, StartBackend
from tests.gateway.support import RunningGateway, eventually
from tests.users.support import serving_auth

SECONDS_MAX = 10


@pytest.fixture(scope="module")
def auth_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The real auth service."""
    with serving_auth(tmp_path_factory.mktemp("auth")) as url:
        yield url


@pytest.fixture
async def auth(auth_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=auth_url) as client:
        yield client


@pytest.fixture
async def echo_server() -> AsyncIterator[Server]:
    async def echo(socket: ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)

    async with serve(echo, "127.0.0.1", 0) as server:
        yield server


async def sign_in(auth: httpx.AsyncClient) -> dict[str, str]:
    body = {"email": f"{new_id()}@example.com", "password": "correct horse battery"}
    response = await auth.post("/auth/register", json=body)
    assert response.status_code == 201, response.text
    return bearer(response.json()["token"])


async def log_out(auth: httpx.AsyncClient, headers: dict[str, str]) -> None:
    assert (await auth.post("/auth/logout", headers=headers)).status_code == 204


async def heard_of(gateway: RunningGateway, number: int = 1) -> None:
    await eventually(lambda: len(gateway.state.verifier.revocations) >= number)


def known(gateway: RunningGateway) -> int:
    return len(gateway.state.verifier.revocations)


async def is_closed(socket: ClientConnection) -> bool:
    try:
        await asyncio.wait_for(socket.recv(), SECONDS_MAX)
    except ConnectionClosed:
        return True
    return False


async def test_revoked_token_is_refused_before_forwarding(
    start_gateway: Start, backend: Backend, auth: httpx.AsyncClient, auth_url: str
) -> None:
    routes = f"routes: [{{path: /orders, backend: '{backend.url}'}}]"
    gateway = await start_gateway(routes, auth_url=auth_url)
    headers, others = await sign_in(auth), await sign_in(auth)
    assert (await gateway.request("GET", "/orders", headers)).status == 200
    before = known(gateway)
    await log_out(auth, headers)
    await heard_of(gateway, before + 1)
    forwarded = len(backend.received)
    answer = await gateway.request("GET", "/orders", headers)

    assert (answer.status, answer.code) == (401, "invalid_token")
    assert answer.value("www-authenticate") == 'Bearer error="invalid_token"'
    assert len(backend.received) == forwarded
    assert (await gateway.request("GET", "/orders", others)).status == 200
    assert (await gateway.request("GET", "/health/ready")).json()["checks"]["revocations"] == "current"


async def test_gateway_that_starts_later_knows_earlier_revocations(
    start_gateway: Start, backend: Backend, auth: httpx.AsyncClient, auth_url: str
) -> None:
    headers = await sign_in(auth)
    await log_out(auth, headers)
    routes = f"routes: [{{path: /orders, backend: '{backend.url}'}}]"
    gateway = await start_gateway(routes, auth_url=auth_url)

    assert (await gateway.request("GET", "/orders", headers)).status == 401


async def test_open_websockets_are_closed_with_1008(
    start_gateway: Start, echo_server: Server, auth: httpx.AsyncClient, auth_url: str
) -> None:
    port = next(iter(echo_server.sockets)).getsockname()[1]
    routes = f"routes: [{{path: /socket, backend: 'http://127.0.0.1:{port}'}}]"
    gateway = await start_gateway(routes, auth_url=auth_url)
    headers, others = await sign_in(auth), await sign_in(auth)
    url = f"ws://127.0.0.1:{gateway.port}/socket"
    async with (
        connect(url, additional_headers=headers) as one,
        connect(url, additional_headers=headers) as two,
        connect(url, additional_headers=others) as other,
    ):
        await log_out(auth, headers)

        assert await is_closed(one)
        assert await is_closed(two)
        assert (one.close_code, two.close_code) == (1008, 1008)
        await other.send("still here")
        assert await other.recv() == "still here"
        assert len(echo_server.connections) == 1


async def test_socket_revoked_during_its_handshake_is_closed(
    start_gateway: Start, start_backend: StartBackend, auth: httpx.AsyncClient, auth_url: str
) -> None:
    asked, revoked = asyncio.Event(), asyncio.Event()

    async def switches_late(conversation: Conversation) -> None:
        await conversation.head()
        asked.set()
        await revoked.wait()
        await conversation.send("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n")
        await conversation.reader.read()

    backend = await start_backend(switches_late)
    routes = f"routes: [{{path: /socket, backend: '{backend.url}'}}]"
    gateway = await start_gateway(routes, auth_url=auth_url)
    headers = await sign_in(auth)
    wire = await gateway.connect()
    lines = ["GET /socket HTTP/1.1", "Host: a", "Connection: upgrade", "Upgrade: raw"]
    lines += [f"Authorization: {headers['Authorization']}", "", ""]
    await wire.send("\r\n".join(lines))
    await asked.wait()
    before = known(gateway)
    await log_out(auth, headers)
    await heard_of(gateway, before + 1)
    revoked.set()

    assert (await wire.head()).status == 101
    assert await wire.is_closed()


class TestUnderWay:
    @pytest.fixture
    async def steps(self) -> dict[str, asyncio.Event]:
        return {name: asyncio.Event() for name in ("asked", "go on")}

    @pytest.fixture
    async def gateway(
        self,
        start_gateway: Start,
        start_backend: StartBackend,
        auth_url: str,
        steps: dict[str, asyncio.Event],
    ) -> RunningGateway:
        async def answers_late(conversation: Conversation) -> None:
            while await conversation.request():
                await conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf, ")
                steps["asked"].set()
                await steps["go on"].wait()
                await conversation.send("done")

        backend = await start_backend(answers_late)
        routes = f"routes: [{{path: /orders, backend: '{backend.url}'}}]"
        return await start_gateway(routes, auth_url=auth_url)

    async def _ask_and_log_out(
        self, gateway: RunningGateway, auth: httpx.AsyncClient, steps: dict[str, asyncio.Event]
    ) -> Any:
        headers, wire = await sign_in(auth), await gateway.connect()
        await wire.send(
            f"GET /orders HTTP/1.1\r\nHost: a\r\nAuthorization: {headers['Authorization']}\r\n\r\n"
        )
        await steps["asked"].wait()
        before = known(gateway)
        await log_out(auth, headers)
        await heard_of(gateway, before + 1)
        return wire

    async def test_response_that_ends_soon_is_completed(
        self, gateway: RunningGateway, auth: httpx.AsyncClient, steps: dict[str, asyncio.Event]
    ) -> None:
        wire = await self._ask_and_log_out(gateway, auth, steps)
        steps["go on"].set()

        assert (await wire.answer()).body == b"half, done"

    async def test_response_that_takes_longer_is_cut_off(
        self,
        gateway: RunningGateway,
        auth: httpx.AsyncClient,
        steps: dict[str, asyncio.Event],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        assert exchange.REVOKED_SECONDS == 5
        monkeypatch.setattr(exchange, "REVOKED_SECONDS", 0.05)
        wire = await self._ask_and_log_out(gateway, auth, steps)

        with pytest.raises(asyncio.IncompleteReadError):
            await wire.answer()


async def test_without_auth_tokens_are_accepted_except_in_strict_mode(
    start_gateway: Start, backend: Backend
) -> None:
    routes = f"""
routes:
  - {{path: /orders, backend: '{backend.url}'}}
  - {{path: /open, backend: '{backend.url}', auth: none}}
"""
    nowhere = "http://127.0.0.1:9"
    available = await start_gateway(routes, auth_url=nowhere)
    strict = await start_gateway(routes, auth_url=nowhere, revocation_mode="strict")
    headers = bearer(token())

    assert (await available.request("GET", "/orders", headers)).status == 200
    assert (await available.request("GET", "/health/ready")).status == 200
    refused = await strict.request("GET", "/orders", headers)
    assert (refused.status, refused.code, refused.value("retry-after")) == (503, "unavailable", "1")
    assert (await strict.request("GET", "/open", headers)).status == 200
    assert (await strict.request("GET", "/health/ready")).status == 503
