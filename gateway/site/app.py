"""The gateway's own application: health, metrics, documentation, and 404 for everything else."""

import hmac
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

import structlog
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway import errors
from gateway.errors import Refusal
from gateway.forwarding.client_protocol import ALIAS
from gateway.policies.api_keys import NO_KEYS, ApiKeys
from gateway.routing.table import RouteTable
from gateway.runtime.admin_listener import Alone, listening
from gateway.runtime.gateway import Gateway
from gateway.runtime.process_status import WORKER, Inside
from gateway.runtime.reload import Reload
from gateway.runtime.siblings import Siblings
from gateway.runtime.workers import answering_parent
from gateway.settings import Settings
from gateway.site.admin.api import AdminApi
from gateway.site.admin.records import Records
from gateway.site.browser_pages import BrowserPages, wants_page
from gateway.site.console import Console
from gateway.site.docs import Docs
from gateway.site.health import Health
from gateway.site.middleware import Edge
from gateway.telemetry.backups import NewestBackup
from gateway.telemetry.metrics import exposition
from shared import __version__
from shared.errors import PROBLEM_JSON, no_such_address
from shared.peers.client import HttpClient
from shared.process.observe import REQUEST_ID, ROUTE, Observe
from shared.process.vitals import Vitals
from shared.tracing.setup import tracing

log = structlog.get_logger(__name__)


def create_app(settings: Settings, table: RouteTable, api_keys: ApiKeys = NO_KEYS) -> Starlette:
    """Return the application behind GatewayProtocol."""
    client = HttpClient()
    gateway = Gateway(settings, table, client, api_keys)
    reload = Reload(gateway)
    health = Health(gateway)
    docs = Docs(gateway)
    console = Console()
    pages = BrowserPages(console)
    inside, records = Inside(gateway, reload), Records(gateway)
    admin = AdminApi(gateway, Siblings(inside), records)
    shown_metrics = Metrics(settings, gateway)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, Any]]:
        gateway.start()
        reload.start()
        # uvicorn passes this state to every connection, so that the protocol can access it.
        store = gateway.limit_store or nullcontext()
        vitals = Vitals([NewestBackup(settings.backup_dir).look])
        async with tracing(settings.service, settings.internal_secrets[0]):
            async with gateway.follower, store, vitals, _asked(settings, inside), records.running():
                yield {"gateway": gateway, "reload": reload}
            reload.stop()
            await gateway.stop()

    app = Starlette(
        routes=[
            Route("/", Index(pages).show),
            Route("/health", health.aggregate),
            Route("/health/live", health.live),
            Route("/health/ready", health.ready),
            *admin.routes,
            Route("/metrics", shown_metrics.show),
            Route("/metrics/targets", shown_metrics.targets),
            *docs.routes,
            *console.routes,
        ],
        middleware=[Middleware(Observe), Middleware(Edge, gateway=gateway)],
        exception_handlers={
            HTTPException: Refusals(pages).http_exception,
            Refusal: _refused,
            Exception: _unexpected,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # it would trust the Host header
    return app


def _asked(settings: Settings, inside: Inside) -> AbstractAsyncContextManager[None]:
    """Serve the state of this process: to its parent if there is one, otherwise on the admin listener."""
    if WORKER in os.environ:
        return answering_parent(inside)
    return listening(Alone(inside), settings)


class Index:
    """The root path: a page for browsers, a few facts as JSON for programs."""

    def __init__(self, pages: BrowserPages) -> None:
        self._pages = pages

    async def show(self, request: Request) -> Response:
        request.scope[ROUTE] = "/"
        if wants_page(request):
            return self._pages.start()
        facts = {"name": "Gatehouse", "version": __version__, "docs": "/docs"}
        return JSONResponse(facts, headers={"Vary": "Accept"})


class Metrics:
    """The metrics on the public port; in production only with METRICS_TOKEN.

    The admin listener serves them without it.
    """

    def __init__(self, settings: Settings, gateway: Gateway) -> None:
        token = settings.metrics_token
        self._gateway = gateway
        self._credentials = None if token is None else f"Bearer {token.get_secret_value()}".encode()
        self._is_open = token is None and settings.environment == "development"

    async def show(self, request: Request) -> Response:
        return self._refusal(request, "/metrics") or Response(exposition(), media_type=CONTENT_TYPE_LATEST)

    async def targets(self, request: Request) -> Response:
        """Show where the services behind this gateway listen, so that Prometheus finds each new one."""
        found = [
            {"targets": [f"{one.host}:{one.port}" for one in origins], "labels": {"service": name}}
            for name, origins in self._gateway.table.services.items()
        ]
        return self._refusal(request, "/metrics/targets") or JSONResponse(found)

    def _refusal(self, request: Request, route: str) -> Response | None:
        """Return the refusal of a caller who may not see this page; None if the caller may.

        No alias leads here, so a proxy that hides /metrics hides all of it.
        """
        if request.scope.get(ALIAS) is not None or not (self._is_open or self._credentials):
            raise HTTPException(404)
        request.scope[ROUTE] = route
        shown = request.headers.get("authorization", "").encode()
        if self._credentials is not None and not hmac.compare_digest(shown, self._credentials):
            return _problem(request, Refusal(errors.METRICS_DENIED, headers={"WWW-Authenticate": "Bearer"}))
        return None


class Refusals:
    """Refusals of this application: pages for browsers, problems for programs."""

    def __init__(self, pages: BrowserPages) -> None:
        self._pages = pages

    def http_exception(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 404:
            refusal = Refusal(errors.NOT_FOUND, no_such_address(request.url.path))
        else:
            kind = {405: errors.METHOD_NOT_ALLOWED}.get(error.status_code, errors.MALFORMED)
            refusal = Refusal(kind, headers=error.headers)
        return self._pages.error(request, refusal) if wants_page(request) else _problem(request, refusal)


def _refused(request: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    return _problem(request, refusal)


def _unexpected(request: Request, error: Exception) -> Response:
    log.error("unhandled_error", path=request.url.path, exc_info=error)
    return _problem(request, Refusal(errors.INTERNAL))


def _problem(request: Request, refusal: Refusal) -> Response:
    body = refusal.body(request.scope[REQUEST_ID])
    headers = {"cache-control": "no-store", **refusal.headers}
    return Response(body, refusal.kind.status, headers=headers, media_type=PROBLEM_JSON)
