"""Builds a service from its endpoints: routes, errors, health, metrics, OpenAPI, start and stop."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import cache, partial
from typing import Any, TypeVar

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Lifespan

from shared import __version__
from shared.clock import timestamp
from shared.data.database import Database
from shared.data.measures import Measures
from shared.data.opening import open_database
from shared.errors import (
    PROBLEM_JSON,
    BadRequest,
    MethodNotAllowed,
    NotFound,
    Problem,
    no_such_address,
    problem_body,
)
from shared.events import Events
from shared.events.spine import Spine
from shared.http.endpoints import Chassis, Endpoint
from shared.http.idempotency import IdempotencyStore
from shared.http.openapi import document
from shared.http.operations import Operation
from shared.http.resources import FixedPaths, resources
from shared.http.sockets import Socket, socket_routes
from shared.http.streams import Streams
from shared.identity.revocations import Follower, Revocations
from shared.identity.tokens import TokenVerifier
from shared.peers.client import HttpClient, InternalTokens
from shared.process.disk import Disk
from shared.process.observe import REQUEST_ID, ROUTE, Observe, configure_logging, log_start, metrics
from shared.process.server import WebSockets, serve
from shared.process.settings import ServiceSettings, SettingsError, exit_on_bad_settings
from shared.process.vitals import Vitals
from shared.tracing.setup import tracing

S = TypeVar("S", bound=ServiceSettings)
Check = Callable[[], None]
# Wraps the router, and may serve requests before their path is looked up, such as those for other host names.
InFront = Callable[[ASGIApp, Revocations], ASGIApp]

log = structlog.get_logger(__name__)


class Service(Starlette):
    """Starlette without its two error middlewares: Observe handles what endpoints raise."""

    def __init__(
        self,
        routes: Sequence[BaseRoute],
        lifespan: Lifespan[Starlette],
        in_front: Callable[[ASGIApp], ASGIApp] | None = None,
    ) -> None:
        self._in_front = in_front
        refusals = {Problem: problem_response, HTTPException: _http_exception, Exception: _unexpected}
        super().__init__(routes=routes, exception_handlers=refusals, lifespan=lifespan)
        self.router.redirect_slashes = False  # a redirect would bypass the gateway

    def build_middleware_stack(self) -> ASGIApp:
        app: ASGIApp = FixedPaths(self.router)
        return Observe(self._in_front(app) if self._in_front else app)


def create_service(
    settings: ServiceSettings,
    operations: Sequence[Operation],
    *,
    client: HttpClient,
    database: Database,
    idempotency: IdempotencyStore | None = None,
    provide: Mapping[type, Any] | None = None,
    on_start: Sequence[Callable[[], Any]] = (),
    on_stop: Sequence[Callable[[], Any]] = (),
    verifier: TokenVerifier | None = None,
    follower: AbstractAsyncContextManager[object] | None = None,
    events: Events | None = None,
    disks: Sequence[Disk] = (),
    beside: Sequence[AbstractAsyncContextManager[object]] = (),
    sockets: Sequence[Socket] = (),
    in_front: InFront | None = None,
) -> Starlette:
    """Connect a service's operations with everything they may request by type.

    The context managers in `beside` (jobs, duties) stay open while the service runs. While `follower` is
    open it keeps the verifier's revocations current, by default from auth.
    """
    verifier = verifier or TokenVerifier(settings, client)
    revocations = verifier.revocations
    follower = follower or Follower(revocations, client, settings)
    spine = events.attach(settings, database, client) if events else None
    disk = Disk.of_database(settings)
    disks = [*disks, *([disk] if disk else [])]
    chassis = Chassis(
        verifier=verifier,
        internal_tokens=InternalTokens(settings),
        database=database,
        idempotency=idempotency,
        provided={
            Database: database,
            Streams: Streams(revocations),
            type(settings): settings,
            **(spine.provided if spine else {}),
            **(provide or {}),
        },
        recorder=spine.recorder if spine else None,
        disk=disk,
    )
    operations = [*operations, *(events.operations(settings.service) if events else [])]
    endpoints = _endpoints(operations, chassis)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        try:
            for start in on_start:
                await database.in_thread(start)
            async with _all_of([follower, *_in_background(settings, database, spine, beside)]):
                yield
        finally:
            await _close(database, client, on_stop)

    own = _operational_routes(settings, endpoints, database.ping, revocations, disks)
    routes = [*own, *socket_routes(sockets, chassis, settings), *resources(endpoints)]
    return Service(routes, lifespan, (lambda app: in_front(app, revocations)) if in_front else None)


def _in_background(
    settings: ServiceSettings,
    database: Database,
    spine: Spine | None,
    beside: Sequence[AbstractAsyncContextManager[object]],
) -> list[AbstractAsyncContextManager[object]]:
    watched: list[AbstractAsyncContextManager[object]] = [
        tracing(settings.service, settings.internal_secrets[0]),
        Vitals([Measures(database).look]),
    ]
    if settings.background == "off":
        return watched
    return [*watched, *([spine.running()] if spine else []), *beside]


@asynccontextmanager
async def _all_of(parts: Iterable[AbstractAsyncContextManager[object]]) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for part in parts:
            await stack.enter_async_context(part)
        yield


async def _close(database: Database, client: HttpClient, on_stop: Sequence[Callable[[], Any]]) -> None:
    for stop in on_stop:
        await database.in_thread(stop)
    await client.close()
    database.close()


def run(
    settings_class: type[S], create_app: Callable[[S], ASGIApp], *, websockets: WebSockets = "none"
) -> None:
    """Run a service's process from start to exit; `websockets` names the protocol implementation."""
    try:
        settings = settings_class.load()
        configure_logging(settings)
        log_start(settings)
        prepare = partial(open_database, settings)
        serve(create_app(settings), settings, prepare=prepare, websockets=websockets)
    except SettingsError as error:
        exit_on_bad_settings(error)


def _endpoints(operations: Sequence[Operation], chassis: Chassis) -> list[Endpoint]:
    """Refuse two operations with the same method and path, or with the same name (the operationId)."""
    found = Counter(name for one in operations for name in (f"{one.method} {one.path}", one.name))
    for name, number in found.items():
        if number > 1:
            raise TypeError(f"{name}: declared {number} times in the routing table")
    return [Endpoint(operation, chassis) for operation in operations]


def problem_response(request: Request, error: Exception) -> Response:
    """Return the response for a refusal."""
    assert isinstance(error, Problem)
    request_id = request.scope.get(REQUEST_ID)
    body = problem_body(error.status, error.code, error.detail, request_id, error.errors, error.extensions)
    headers = {"cache-control": "no-store", **error.headers}
    return Response(body, error.status, headers=headers, media_type=PROBLEM_JSON)


def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:  # no endpoint has this path, so ownership cannot be the reason
        return problem_response(request, NotFound(no_such_address(request.url.path)))
    known: dict[int, type[Problem]] = {405: MethodNotAllowed}
    return problem_response(request, known.get(error.status_code, BadRequest)(headers=error.headers))


def _unexpected(request: Request, error: Exception) -> Response:
    # Log everything; tell the caller only the request id.
    log.error("unhandled_error", path=request.url.path, exc_info=error)
    return problem_response(
        request, Problem("Something went wrong on the server. Look it up in the log by request id.")
    )


def _operational_routes(
    settings: ServiceSettings,
    endpoints: Sequence[Endpoint],
    check: Check,
    revocations: Revocations,
    disks: Sequence[Disk],
) -> list[BaseRoute]:
    openapi = cache(partial(document, settings.service, __version__, endpoints))  # made on first request

    async def show_openapi(request: Request) -> Response:
        request.scope[ROUTE] = "/openapi.json"
        return JSONResponse(openapi())

    return [
        *health_routes(check, revocations, disks),
        Route("/metrics", metrics),
        Route("/openapi.json", show_openapi),
    ]


def health_routes(
    check: Check, revocations: Revocations | None = None, disks: Sequence[Disk] = ()
) -> list[BaseRoute]:
    """Return the health routes: `/health` and `/health/live` for liveness, `/health/ready` for readiness.

    With a nearly full disk the service is `degraded` but still ready: otherwise a gateway would eject it,
    and reads would fail too.
    """

    async def alive(request: Request) -> Response:
        request.scope[ROUTE] = request.url.path
        return JSONResponse({"status": "healthy", "timestamp": timestamp()})

    def ready(request: Request) -> Response:
        request.scope[ROUTE] = "/health/ready"
        checks = {"database": "up"}
        if revocations is not None:
            checks["revocations"] = revocations.state
        is_ready = revocations is None or revocations.is_ready
        try:
            check()
        except Exception as error:  # noqa: BLE001 - any error means not ready
            log.warning("not_ready", error=repr(error))
            checks["database"], is_ready = "down", False
        checks.update({f"{disk.holds}_disk": disk.state for disk in disks})
        is_degraded = any(disk.state != "up" for disk in disks)
        status = "unhealthy" if not is_ready else "degraded" if is_degraded else "healthy"
        answer = {"status": status, "timestamp": timestamp(), "checks": checks}
        return JSONResponse(answer, 200 if is_ready else 503)

    return [Route("/health", alive), Route("/health/live", alive), Route("/health/ready", ready)]
