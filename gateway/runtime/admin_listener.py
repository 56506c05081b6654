"""The admin listener: the state of the gateway and its controls. Never on the public port."""

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from socket import SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, getaddrinfo, socket
from typing import Any, Protocol

import structlog
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from gateway.runtime.process_status import Inside
from gateway.settings import Settings
from gateway.telemetry.metrics import ERRORS_KEPT_MAX, exposition
from shared.clock import timestamp
from shared.errors import PROBLEM_JSON, problem_body
from shared.ids import new_id

NOTICE_SECONDS_MAX = 300.0
CONNECTIONS_MAX = 64
ABOUT = {
    "GET /routes": "every active route with its policy",
    "GET /targets": "connections and health of every target, as each worker sees it",
    "GET /limits": "rate limits and slots in use, and whether they are shared with other gateways",
    "GET /reload": "the result of the last load of the routes file, with every fault",
    "POST /reload": "reload the routes file now",
    "GET /errors": f"the last {ERRORS_KEPT_MAX} refusals and failures, newest first",
    "POST /drain?notice=SECONDS": "respond with 503 on /health/ready for this time, then shut down",
    "GET /health/live, /health/ready, /metrics": "for probes and Prometheus",
}

log = structlog.get_logger(__name__)


class Fleet(Protocol):
    """All workers of this gateway; there may be one."""

    async def states(self) -> list[dict[str, Any]]: ...

    async def reload(self) -> list[dict[str, Any]]: ...

    async def drain(self, notice_seconds: float) -> None: ...

    def metrics(self) -> bytes: ...


class Alone:
    """A gateway of one process."""

    def __init__(self, inside: Inside) -> None:
        self._inside = inside

    async def states(self) -> list[dict[str, Any]]:
        return [self._inside.state()]

    async def reload(self) -> list[dict[str, Any]]:
        return [await self._inside.reload()]

    async def drain(self, notice_seconds: float) -> None:
        self._inside.leave()
        self._inside.stop_in(notice_seconds)

    def metrics(self) -> bytes:
        return exposition()


class Admin:
    """The pages of the admin listener."""

    def __init__(self, fleet: Fleet, settings: Settings) -> None:
        self._fleet = fleet
        self._settings = settings

    def app(self) -> ASGIApp:
        routes = [
            Route("/", _guarded(self.index)),
            Route("/routes", _guarded(self.routes)),
            Route("/targets", _guarded(self.targets)),
            Route("/limits", _guarded(self.limits)),
            Route("/reload", _guarded(self.show_reload), methods=["GET"]),
            Route("/reload", _guarded(self.reload), methods=["POST"]),
            Route("/errors", _guarded(self.errors)),
            Route("/drain", _guarded(self.drain), methods=["POST"]),
            Route("/health/live", _guarded(self.live)),
            Route("/health/ready", _guarded(self.ready)),
            Route("/metrics", _guarded(self.metrics)),
        ]
        return Starlette(routes=routes)

    async def index(self, _request: Request) -> Response:
        return JSONResponse({"name": "Gatehouse gateway", "pages": ABOUT})

    async def routes(self, _request: Request) -> Response:
        states = await self._fleet.states()
        return JSONResponse(states[0]["table"] if states else {}, 200 if states else 503)

    async def targets(self, _request: Request) -> Response:
        keys = ("worker", "pid", "open", "targets")
        return JSONResponse([_only(state, keys) for state in await self._fleet.states()])

    async def limits(self, _request: Request) -> Response:
        keys = ("worker", "pid", "limits")
        return JSONResponse([_only(state, keys) for state in await self._fleet.states()])

    async def show_reload(self, _request: Request) -> Response:
        states = await self._fleet.states()
        return JSONResponse([{"worker": state["worker"], **state["reload"]} for state in states])

    async def reload(self, _request: Request) -> Response:
        outcomes = await self._fleet.reload()
        return JSONResponse(outcomes, 200 if all(each["success"] for each in outcomes) else 422)

    async def errors(self, _request: Request) -> Response:
        states = await self._fleet.states()
        found = [
            {**error, "worker": state["worker"]} for state in states for error in reversed(state["errors"])
        ]
        found.sort(key=lambda error: str(error["time"]), reverse=True)
        return JSONResponse(found[:ERRORS_KEPT_MAX])

    async def drain(self, request: Request) -> Response:
        notice = request.query_params.get("notice", str(self._settings.drain_notice_seconds))
        try:
            seconds = float(notice)
        except ValueError:
            seconds = math.nan
        if not 0 <= seconds <= NOTICE_SECONDS_MAX:
            return _problem(
                400, "bad_request", f"notice must be a number of seconds from 0 to {NOTICE_SECONDS_MAX:g}."
            )
        log.info("leaving", notice_seconds=seconds)
        await self._fleet.drain(seconds)
        return JSONResponse({"leaving": True, "notice_seconds": seconds}, 202)

    async def live(self, _request: Request) -> Response:
        return JSONResponse({"status": "healthy", "timestamp": timestamp()})

    async def ready(self, _request: Request) -> Response:
        states = await self._fleet.states()
        is_ready = bool(states) and all(state["ready"] for state in states)
        workers = [_only(state, ("worker", "pid", "started", "ready", "leaving")) for state in states]
        answer = {
            "status": "healthy" if is_ready else "unhealthy",
            "timestamp": timestamp(),
            "workers": workers,
        }
        return JSONResponse(answer, 200 if is_ready else 503)

    async def metrics(self, _request: Request) -> Response:
        return Response(self._fleet.metrics(), media_type=CONTENT_TYPE_LATEST)


Page = Callable[[Request], Awaitable[Response]]


def _guarded(page: Page) -> Page:
    """Refuse web pages: a browser on this machine can reach loopback as well."""

    async def guarded(request: Request) -> Response:
        if "origin" in request.headers or not _is_direct(request.headers.get("host", "")):
            return _problem(
                403, "forbidden", "The admin listener does not serve web pages; call it by its IP address."
            )
        return await page(request)

    return guarded


def _is_direct(host: str) -> bool:
    """Whether the host is an IP address or localhost: anyone can make other names resolve to this address."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if name == "localhost":
        return True
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _only(state: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: state[key] for key in keys}


def _problem(status: int, code: str, detail: str) -> Response:
    return Response(problem_body(status, code, detail, new_id()), status, media_type=PROBLEM_JSON)


@asynccontextmanager
async def listening(fleet: Fleet, settings: Settings) -> AsyncIterator[None]:
    """Serve the admin pages. If the port is taken, the gateway runs without them."""
    if not settings.admin_port:
        yield
        return
    place = {"host": settings.admin_host, "port": settings.admin_port}
    try:
        opened = _opened(settings)
    except OSError as error:
        log.warning(
            "admin_port_taken",
            **place,
            error=str(error),
            remedy="set ADMIN_PORT to another port, or to 0 for none",
        )
        yield
        return
    log.info("admin_listening", **place)
    async with served(Admin(fleet, settings).app(), opened):
        yield


@asynccontextmanager
async def served(app: ASGIApp, opened: socket) -> AsyncIterator[None]:
    """Serve an application on a socket other than the public port."""
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_graceful_shutdown=1,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup([opened])
    try:
        yield
    finally:
        await server.shutdown([opened])


def _opened(settings: Settings) -> socket:
    family, kind, protocol, _, address = getaddrinfo(
        settings.admin_host, settings.admin_port, type=SOCK_STREAM
    )[0]
    opened = socket(family, kind, protocol)
    try:
        opened.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen()  # otherwise a process that has bound the port but does not listen yet goes unnoticed
    except OSError:
        opened.close()
        raise
    return opened
