"""Open sockets are counted per process, whatever their path and whoever opened them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
import structlog
from prometheus_client import REGISTRY
from starlette.routing import Router
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.protocols.utils import ClientDisconnected

from shared.caller import Caller
from shared.data.database import Database
from shared.errors import TooManyRequests
from shared.http import sockets
from shared.http.endpoints import Chassis
from shared.http.sockets import OpenSockets, Socket, socket_routes
from shared.identity.tokens import TokenVerifier, public
from shared.peers.client import HttpClient, InternalTokens
from shared.process.settings import ServiceSettings
from shared.process.tasks import end

SECONDS = 20


class Settings(ServiceSettings):
    service: ClassVar[str] = "things"


async def hold(websocket: WebSocket) -> None:
    await websocket.accept(subprotocol="v1")
    await websocket.receive()


async def answer(websocket: WebSocket) -> None:
    await websocket.accept(subprotocol="v1")
    await websocket.receive()
    await websocket.send_text("too late")


HANDLERS = {"cats": hold, "dogs": hold, "late": answer}
SOCKETS = [Socket(f"/{name}/ws", handler, "v1", access=public) for name, handler in HANDLERS.items()]


@pytest.fixture
async def app(make_settings: Callable[..., Any], tmp_path: Path) -> AsyncIterator[Router]:
    settings, client = make_settings(Settings), HttpClient()
    database = Database(f"sqlite:///{tmp_path}/things.db")
    chassis = Chassis(TokenVerifier(settings, client), InternalTokens(settings), database, None, {})
    yield Router(socket_routes(SOCKETS, chassis, settings))
    database.close()


async def refusal(app: Router, path: str) -> int | None:
    """Open a socket; return the status with which it is refused."""
    async with opened(app, path) as status:
        return status


@asynccontextmanager
async def opened(app: Router, path: str) -> AsyncIterator[int | None]:
    received: asyncio.Queue[Message] = asyncio.Queue()
    sent: asyncio.Queue[Message] = asyncio.Queue()
    scope: dict[str, Any] = {
        "type": "websocket",
        "path": path,
        "headers": [],
        "subprotocols": ["v1"],
        "client": ("127.0.0.1", 1),
        "query_string": b"",
        "extensions": {"websocket.http.response": {}},
    }
    received.put_nowait({"type": "websocket.connect"})
    task = asyncio.ensure_future(app(scope, received.get, sent.put))
    async with asyncio.timeout(SECONDS):
        first = await sent.get()
        yield None if first["type"] == "websocket.accept" else first["status"]
        received.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await task


@pytest.mark.parametrize("error", [WebSocketDisconnect(1006), ClientDisconnected()])
async def test_client_that_leaves_while_it_is_sent_something_is_not_logged_as_an_error(
    app: Router, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def send(*_: object) -> None:
        raise error

    monkeypatch.setattr(WebSocket, "send_text", send)
    with structlog.testing.capture_logs() as lines:
        assert await refusal(app, "/late/ws") is None
    assert [line["event"] for line in lines if line["log_level"] == "error"] == []
    assert [line["status"] for line in lines if line.get("path") == "/late/ws"] == [499]


def gauge() -> float:
    return REGISTRY.get_sample_value("sockets_open") or 0


async def test_limit_of_a_process_counts_the_sockets_of_all_paths(
    app: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "SOCKETS_MAX", 2)
    async with opened(app, "/cats/ws") as cats, opened(app, "/dogs/ws") as dogs:
        assert (cats, dogs) == (None, None)
        assert [await refusal(app, path) for path in ("/cats/ws", "/dogs/ws")] == [503, 503]
    assert [await refusal(app, path) for path in ("/cats/ws", "/dogs/ws")] == [None, None]


async def test_metric_counts_the_sockets_of_all_paths(app: Router) -> None:
    before = gauge()
    async with opened(app, "/cats/ws"), opened(app, "/cats/ws"):
        async with opened(app, "/dogs/ws"):
            assert gauge() == before + 3
        assert gauge() == before + 2
    assert gauge() == before


@pytest.fixture
async def tasks() -> AsyncIterator[list[asyncio.Task[None]]]:
    made = [asyncio.create_task(asyncio.sleep(SECONDS)) for _ in range(3)]
    yield made
    await end(made)


def caller(name: str) -> Caller:
    return Caller(name, "user", None, None, None, frozenset(), 0.0)


async def test_each_account_has_its_own_limit(
    tasks: list[asyncio.Task[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "SOCKETS_PER_ACCOUNT", 1)
    held = OpenSockets(lambda _: False)
    with held.counted(tasks[0], caller("ann")), held.counted(tasks[1], None):
        held.require_room(caller("ben"))
        held.require_room(None)
        with pytest.raises(TooManyRequests):
            held.require_room(caller("ann"))
    held.require_room(caller("ann"))


async def test_sockets_of_a_revoked_caller_end_on_every_path(tasks: list[asyncio.Task[None]]) -> None:
    held = OpenSockets(lambda one: one.id == "ann")
    names = ("ann", "ben", None)
    with ExitStack() as stack:
        for task, name in zip(tasks, names, strict=True):
            stack.enter_context(held.counted(task, None if name is None else caller(name)))
        held.end_revoked()

    assert [bool(task.cancelling()) for task in tasks] == [True, False, False]
