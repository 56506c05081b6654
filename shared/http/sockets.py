"""WebSockets of a service: each is one line of routes.py and one annotated coroutine.

A handler takes a WebSocket and, like an operation's handler, anything else by type. It accepts the socket
itself. A Problem raised before that is the response to the handshake; raised afterwards, it becomes a close
code: 4401, 4403, 4404, … A socket whose account or session is revoked is closed with 4401 within a second.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from typing import Any, get_type_hints

import structlog
from prometheus_client import Gauge
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState
from uvicorn.protocols.utils import ClientDisconnected

from shared.caller import Caller
from shared.errors import (
    PROBLEM_JSON,
    BadRequest,
    Forbidden,
    InvalidToken,
    Overloaded,
    Problem,
    TooManyRequests,
    problem_body,
)
from shared.http.endpoints import Chassis
from shared.http.operations import Operation
from shared.http.trail import Trail
from shared.identity.scopes import limited, require_scope_name
from shared.identity.tokens import Access, bearer_token, signed_in
from shared.process.access_log import access_log
from shared.process.observe import CALLER, REQUEST_ID, current_request_id, request_id_of
from shared.process.proxies import Proxies
from shared.process.settings import ServiceSettings

SOCKETS_MAX = 1000
SOCKETS_PER_ACCOUNT = 64
CLOSE_BASE = 4000
SIGN_IN = 4401
CLIENT_LEFT = 499  # in the log only, as with nginx: the client left before the socket was accepted or closed
BEARER_PREFIX = "bearer."  # the subprotocol is the only header that browser scripts can set
REFUSALS = frozenset((401, 403, 404))
_MAYBE_CALLER = Caller | None  # of a socket with public access

OPEN = Gauge("sockets_open", "Open WebSockets", multiprocess_mode="livesum")

log = structlog.get_logger(__name__)


class ForeignOrigin(Forbidden):
    """The page that opened this WebSocket belongs to another site."""

    code = "foreign_origin"


class NoSubprotocol(BadRequest):
    """Sec-WebSocket-Protocol does not offer the subprotocol of this path."""

    code = "no_subprotocol"


def _none() -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Socket:
    """One WebSocket of a routing table.

    An empty `subprotocol` means that clients need not offer one. `scope` is what a limited token must hold,
    as for an Operation; without one it is closed to such tokens.
    `redeem` finds the caller of a request without a bearer token, for example by a single-use ticket. Pages
    from `origins` may open the socket, and pages from the host that the request was sent to.
    """

    path: str
    handler: Callable[..., Awaitable[None]]
    subprotocol: str
    _: KW_ONLY
    access: Access = signed_in
    scope: str | None = None
    redeem: Callable[..., Awaitable[Caller | None]] | None = None
    origins: Callable[..., tuple[str, ...]] = _none
    action: str = ""

    def __post_init__(self) -> None:
        require_scope_name(self.scope, self.path)


class OpenSockets:
    """The open sockets of a process, whatever their path; ends those of revoked callers."""

    def __init__(self, is_revoked: Callable[[Caller], bool]) -> None:
        self._is_revoked = is_revoked
        self._callers: dict[asyncio.Task[Any], Caller | None] = {}  # by the task that serves the socket

    def require_room(self, caller: Caller | None) -> None:
        if len(self._callers) >= SOCKETS_MAX:
            raise Overloaded
        if caller is None:
            return
        of_account = sum(one is not None and one.id == caller.id for one in self._callers.values())
        if of_account >= SOCKETS_PER_ACCOUNT:
            raise TooManyRequests(f"Your account has {SOCKETS_PER_ACCOUNT} open sockets; close one of them.")

    @contextmanager
    def counted(self, task: asyncio.Task[Any], caller: Caller | None) -> Iterator[None]:
        self._callers[task] = caller
        OPEN.inc()
        try:
            yield
        finally:
            del self._callers[task]
            OPEN.dec()

    def end_revoked(self) -> None:
        for task, caller in [*self._callers.items()]:
            if caller is not None and self._is_revoked(caller):
                task.cancel()


class SocketEndpoint:
    """Serves one Socket: identifies, counts and records callers."""

    def __init__(
        self, socket: Socket, chassis: Chassis, sockets: OpenSockets, trusts: Callable[[str], bool]
    ) -> None:
        self._socket, self._chassis, self._open, self._trusts = socket, chassis, sockets, trusts
        self._injected = _injected(socket.handler, chassis)
        self._redeem_injected = _injected(socket.redeem, chassis) if socket.redeem else {}
        self._origins = socket.origins(**self._arguments(_injected(socket.origins, chassis), {}))
        action = socket.action or socket.handler.__name__.upper()
        self._opening = Operation("GET", socket.path, socket.handler, status=101, action=action)
        self._closing = Operation("GET", socket.path, socket.handler, status=200, action=f"{action}_END")

    def route(self) -> BaseRoute:
        return WebSocketRoute(self._socket.path, endpoint=self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        websocket = WebSocket(scope, receive, send)
        scope[REQUEST_ID] = request_id_of(scope["headers"])
        current_request_id.set(scope[REQUEST_ID])
        started, status = time.perf_counter(), 101
        try:
            await self._serve(websocket)
        except Problem as problem:
            status = problem.status
            await _refuse(websocket, problem)
        except (WebSocketDisconnect, ClientDisconnected):
            status = CLIENT_LEFT
        except Exception as error:  # logged in full, hidden from the client
            status = 500
            log.error("unhandled_error", path=scope["path"], exc_info=error)  # noqa: TRY400 - as for requests
            await _refuse(websocket, Problem())
        finally:
            access_log.add(  # without the query, which may hold a ticket
                method="GET",
                path=scope["path"],
                status=status,
                ms=round((time.perf_counter() - started) * 1000, 2),
                user_id=scope.get(CALLER),
                request_id=scope[REQUEST_ID],
            )

    async def _serve(self, websocket: WebSocket) -> None:
        trail = self._trail(self._opening, websocket)
        try:
            await self._watched(websocket, trail)
        except Problem as problem:
            if trail is not None and not trail.is_written and problem.status in REFUSALS:
                await trail.keep(refused_with=problem.status)
            raise

    async def _watched(self, websocket: WebSocket, trail: Trail | None) -> None:
        caller = await self._admit(websocket, trail)
        task = asyncio.current_task()
        assert task is not None
        with self._open.counted(task, caller):
            try:
                await self._handle(websocket, caller, trail)
            except asyncio.CancelledError:
                if task.uncancel() or caller is None or not self._is_revoked(caller):
                    raise
                raise InvalidToken from None

    async def _handle(self, websocket: WebSocket, caller: Caller | None, trail: Trail | None) -> None:
        arguments = self._arguments(
            self._injected, {WebSocket: websocket, Trail: trail, Caller: caller, _MAYBE_CALLER: caller}
        )
        opened = time.monotonic()
        try:
            await self._socket.handler(**arguments)
        finally:
            if trail is not None and trail.is_written:
                ending = self._trail(self._closing, websocket)
                assert ending is not None
                ending.caller, ending.resource, ending.user_id = trail.caller, trail.resource, trail.user_id
                ending.add(seconds=round(time.monotonic() - opened, 1))
                await asyncio.shield(ending.keep())

    async def _admit(self, websocket: WebSocket, trail: Trail | None) -> Caller | None:
        self._require_own_origin(websocket)
        offered = [one.strip() for one in websocket.scope["subprotocols"]]
        if self._socket.subprotocol and self._socket.subprotocol not in offered:
            raise NoSubprotocol(
                f"Offer the subprotocol {self._socket.subprotocol} in Sec-WebSocket-Protocol."
            )
        caller = await self._identify(websocket, offered)
        if caller is not None:
            websocket.scope[CALLER] = caller.id
        if trail is not None:
            trail.caller = caller
        if caller is not None and caller.is_limited:
            caller = limited(caller, self._socket.scope)
        self._socket.access(caller)
        self._open.require_room(caller)
        return caller

    async def _identify(self, websocket: WebSocket, offered: list[str]) -> Caller | None:
        in_protocol = [one.removeprefix(BEARER_PREFIX) for one in offered if one.startswith(BEARER_PREFIX)]
        token = bearer_token(websocket.headers.get("authorization")) or next(iter(in_protocol), None)
        if token is not None:
            return await self._chassis.verifier.verify(token)
        if self._socket.redeem is None:
            return None
        caller = await self._socket.redeem(**self._arguments(self._redeem_injected, {WebSocket: websocket}))
        if caller is not None and self._is_revoked(caller):
            raise InvalidToken
        return caller

    def _arguments(self, injected: Mapping[str, Any], given: Mapping[Any, Any]) -> dict[str, Any]:
        provided = {**self._chassis.provided, **given}
        return {name: provided[kind] for name, kind in injected.items()}

    def _require_own_origin(self, websocket: WebSocket) -> None:
        """Refuse other sites: browsers let any page open a WebSocket to any host, and send its Origin."""
        origin = websocket.headers.get("origin")
        if origin is None:
            return
        own = own_authority(websocket, self._trusts)
        if origin in (f"http://{own}", f"https://{own}") or origin in self._origins:
            return
        raise ForeignOrigin

    def _trail(self, operation: Operation, websocket: HTTPConnection) -> Trail | None:
        recorder = self._chassis.recorder
        return recorder.trail(operation, websocket) if recorder else None

    def _is_revoked(self, caller: Caller) -> bool:
        return self._chassis.verifier.revocations.cover(caller)


def socket_routes(sockets: Sequence[Socket], chassis: Chassis, settings: ServiceSettings) -> list[BaseRoute]:
    trusts = Proxies(settings.trusted_proxies).trusts
    revocations = chassis.verifier.revocations
    of_process = OpenSockets(revocations.cover)
    revocations.on_change.append(of_process.end_revoked)
    return [SocketEndpoint(socket, chassis, of_process, trusts).route() for socket in sockets]


def own_authority(connection: HTTPConnection, trusts: Callable[[str], bool]) -> str:
    """Return the host and port that the client used, even if a trusted proxy forwarded the request."""
    peer = connection.client.host if connection.client else ""
    authority = connection.headers.get("host", "")
    return connection.headers.get("x-forwarded-host", authority) if trusts(peer) else authority


def _injected(handler: Callable[..., Any], chassis: Chassis) -> dict[str, Any]:
    hints = get_type_hints(handler)
    hints.pop("return")
    for name, kind in hints.items():
        if kind not in (WebSocket, Caller, _MAYBE_CALLER, Trail) and kind not in chassis.provided:
            raise TypeError(f"{handler.__name__}: nothing provides {name}: {kind}")
    return hints


async def _refuse(websocket: WebSocket, problem: Problem) -> None:
    if websocket.client_state == WebSocketState.DISCONNECTED:
        return
    if websocket.application_state == WebSocketState.CONNECTING:
        body = problem_body(
            problem.status,
            problem.code,
            problem.detail,
            websocket.scope[REQUEST_ID],
            problem.errors,
            problem.extensions,
        )
        headers = {
            "cache-control": "no-store",
            "x-request-id": websocket.scope[REQUEST_ID],
            **problem.headers,
        }
        answer = Response(body, problem.status, headers=headers, media_type=PROBLEM_JSON)
        await websocket.send_denial_response(answer)
    elif websocket.application_state == WebSocketState.CONNECTED:
        is_refusal = 400 <= problem.status < 500
        await websocket.close(CLOSE_BASE + problem.status if is_refusal else 1011, problem.code)
