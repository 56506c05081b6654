"""The host names of leased ports: who is let in, and what is forwarded into the box.

Every lease has an origin of its own, so a page from a box can read neither cookies nor storage of the suite
or of other ports. All names of the domain still belong to one site for SameSite, so a cookie counts only for
requests of the port's own pages and for navigation to it.
"""

import asyncio
import html
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import h11
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from services.terminal.access import Door
from services.terminal.backends.base import Place
from services.terminal.errors import BadPortResponse, BoxStopped
from services.terminal.models import Visibility
from services.terminal.places import Places
from services.terminal.ports import leases, messages
from services.terminal.ports.exchange import Exchange
from services.terminal.ports.headers import cookies_of, for_browser, for_program
from services.terminal.ports.leases import Leased
from services.terminal.ports.tunnels import Tunnels, shut
from services.terminal.settings import Settings
from shared.caller import Caller
from shared.clock import now
from shared.data.database import Database
from shared.errors import MethodNotAllowed, Problem, Unauthenticated
from shared.http.sockets import own_authority
from shared.identity.revocations import Revocations
from shared.identity.same_origin import is_same_origin
from shared.process.observe import CALLER, ROUTE
from shared.process.proxies import Proxies

ENTER = "/.gatehouse/enter"
SAFE = ("GET", "HEAD", "OPTIONS")
CACHE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


class PortGate:
    """Serves the host names of leased ports, and passes all other requests on."""

    def __init__(
        self,
        app: ASGIApp,
        revocations: Revocations,
        *,
        database: Database,
        tunnels: Tunnels,
        places: Places,
        door: Door,
        settings: Settings,
    ) -> None:
        self._app, self._revocations, self._database = app, revocations, database
        self._tunnels, self._places, self._door = tunnels, places, door
        self._suffix = f".{settings.ports_host}" if settings.ports_host else ""
        self._trusts = Proxies(settings.trusted_proxies).trusts
        self._cookie = settings.port_cookie
        self._visitors: dict[Any, Caller] = {}  # by open connection
        self._tasks: set[asyncio.Task[None]] = set()
        revocations.on_change.append(self._end_revoked)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = self._host_of(scope) if self._suffix and scope["type"] != "lifespan" else None
        if host is None:
            await self._app(scope, receive, send)
            return
        scope[ROUTE] = "ports"
        if scope["type"] == "http":
            await self._serve(host, Request(scope, receive), send)
        else:
            await self._serve_socket(host, WebSocket(scope, receive, send))

    def _host_of(self, scope: Scope) -> str | None:
        """Return what precedes the domain of ports in this request's host name."""
        authority = own_authority(HTTPConnection(scope), self._trusts)
        name = authority.rpartition(":")[0] if ":" in authority else authority
        name = name.lower().removesuffix(".")
        return name.removesuffix(self._suffix) if name.endswith(self._suffix) else None

    async def _serve(self, host: str, request: Request, send: Send) -> None:
        self._door.require_here(request)
        if request.url.path == ENTER:
            await (await self._enter(host, request))(request.scope, request.receive, send)
            return
        try:
            await self._forward(host, request, send)
        except Unauthenticated:
            if "text/html" not in request.headers.get("accept", ""):
                raise
            await _sign_in_page()(request.scope, request.receive, send)

    async def _enter(self, host: str, request: Request) -> Response:
        """Exchange a ticket for the cookie of this host name."""
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(headers={"Allow": "GET, HEAD"})
        ticket = request.query_params.get("ticket", "")
        entered = await self._database.run(leases.enter, host, ticket) if request.method == "GET" else None
        if entered is None:
            return HTMLResponse(_PAGE.format(text="This link was used already or has expired."), 403, CACHE)
        token, expires = entered
        seconds = int((expires - now()).total_seconds())
        secure = "; Secure" if self._cookie.startswith("__Host-") else ""
        cookie = f"{self._cookie}={token}; Max-Age={seconds}; Path=/{secure}; HttpOnly; SameSite=Lax"
        response = RedirectResponse("/", 303, CACHE)
        response.headers.append("set-cookie", cookie)
        return response

    async def _forward(self, host: str, request: Request, send: Send) -> None:
        headers = request.scope["headers"]
        leased = await self._admit(host, request, is_safe=request.method in SAFE)
        local = f"localhost:{leased.row['port']}"
        inward = for_program(headers, cookie=self._cookie, local=local, **self._address(request))
        async with self._tunnels.opened(self._place(leased), leased.row["port"]) as connection:
            exchange = Exchange(connection, request.receive, send)
            with self._known(connection, leased.visitor):
                try:
                    framing = [(b"transfer-encoding", b"chunked")] if _is_chunked(request) else []
                    status, outward = await exchange.ask(
                        request.method, _target(request.scope), [*inward, *framing]
                    )
                    await exchange.answer(
                        status, for_browser(outward, status, cookie=self._cookie, local=local)
                    )
                except (h11.ProtocolError, OSError, TimeoutError, BadPortResponse) as error:
                    if exchange.is_abandoned:  # no response is expected, and nothing went wrong
                        return
                    if isinstance(error, BadPortResponse):
                        raise
                    raise ConnectionResetError("the response of a port ended early") from error
                finally:
                    await exchange.close()

    async def _serve_socket(self, host: str, websocket: WebSocket) -> None:
        try:
            self._door.require_here(websocket)
            await self._forward_socket(host, websocket)
        except (Problem, messages.Refused) as problem:
            with suppress(RuntimeError):  # the client has left
                await websocket.send_denial_response(Response(status_code=problem.status, headers=CACHE))

    async def _forward_socket(self, host: str, websocket: WebSocket) -> None:
        scope = websocket.scope
        leased = await self._admit(host, websocket, is_safe=False)
        local = f"localhost:{leased.row['port']}"
        inward = for_program(scope["headers"], cookie=self._cookie, local=local, **self._address(websocket))
        async with self._tunnels.opened(self._place(leased), leased.row["port"]) as connection:
            target = _target(scope).decode("latin-1")
            inside = await messages.connect(connection, local, target, inward, scope["subprotocols"])
            try:
                with self._known(connection, leased.visitor):
                    await messages.converse(websocket, inside)
            finally:
                inside.transport.abort()
                await asyncio.shield(inside.wait_closed())

    async def _admit(self, host: str, connection: HTTPConnection, *, is_safe: bool) -> Leased:
        """Find the lease of a host name and check that this browser may use it."""
        headers = connection.scope["headers"]
        leased = await self._database.read(leases.resolve, host, cookies_of(headers, self._cookie))
        if leased.row["visibility"] != Visibility.PUBLIC:
            visitor = leased.visitor
            if visitor is None or self._revocations.cover(visitor) or not self._is_own(connection, is_safe):
                raise Unauthenticated
            connection.scope[CALLER] = visitor.id
        if leased.box_id is None:
            raise BoxStopped
        return leased

    def _is_own(self, connection: HTTPConnection, is_safe: bool) -> bool:
        """Whether a page of this port sent the request, or the user navigated to it."""
        headers = connection.headers
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if is_safe and site in (None, "none"):
            return True
        if is_safe and (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == (
            "navigate",
            "document",
        ):
            return True
        address = self._address(connection)
        scheme = "https" if address["is_https"] else "http"
        return is_same_origin(site, origin, f"{scheme}://{address['own']}")

    def _address(self, connection: HTTPConnection) -> dict[str, Any]:
        """Return the host and port that the browser used, and whether over https."""
        peer = connection.client.host if connection.client else ""
        scheme = connection.url.scheme.replace("ws", "http")
        if self._trusts(peer):
            scheme = connection.headers.get("x-forwarded-proto", scheme)
        return {"own": own_authority(connection, self._trusts), "is_https": scheme == "https"}

    def _place(self, leased: Leased) -> Place:
        assert leased.box_id is not None
        return self._places.of(leased.box_id, leased.row["owner"])

    @contextmanager
    def _known(self, connection: Any, visitor: Caller | None) -> Iterator[None]:
        """Register who uses a connection, so that a revocation ends it."""
        if visitor is not None:
            self._visitors[connection] = visitor
        try:
            if visitor is not None and self._revocations.cover(visitor):  # while the connection was made
                raise Unauthenticated
            yield
        finally:
            self._visitors.pop(connection, None)

    def _end_revoked(self) -> None:
        for connection, visitor in [*self._visitors.items()]:
            if self._revocations.cover(visitor):
                shut(connection)
        forgetting = asyncio.create_task(self._database.run(leases.forget_revoked, self._revocations.cover))
        self._tasks.add(forgetting)
        forgetting.add_done_callback(self._tasks.discard)


def _target(scope: Scope) -> bytes:
    query: bytes = scope["query_string"]
    path: bytes = scope["raw_path"].partition(b"?")[0]
    return path + (b"?" + query if query else b"")


def _is_chunked(request: Request) -> bool:
    return "transfer-encoding" in request.headers


def _sign_in_page() -> Response:
    text = "Open this port from your terminal page: the list of ports there has a link that signs you in."
    return HTMLResponse(_PAGE.format(text=html.escape(text)), 401, CACHE)


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>Port of a workspace</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 34rem; margin: 20vh auto; padding: 0 1rem }}
</style>
<h1>Port of a workspace</h1><p>{text}</p></html>
"""
