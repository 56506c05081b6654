"""What the gateway answers itself: health, metrics, documents, and the page for what is not there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway import errors
from gateway.core import Gateway
from gateway.docs import Docs
from gateway.edge import Edge
from gateway.errors import Refusal
from gateway.health import Health
from gateway.protocol import ALIAS
from gateway.reload import Reload
from gateway.settings import Settings
from gateway.table import RouteTable
from shared import __version__
from shared.client import HttpClient
from shared.errors import PROBLEM_JSON
from shared.observe import REQUEST_ID, ROUTE, Observe, metrics

log = structlog.get_logger(__name__)


def create_app(settings: Settings, table: RouteTable) -> Starlette:
    """The application behind GatewayProtocol."""
    client = HttpClient()
    gateway = Gateway(settings, table, client)
    reload = Reload(gateway)
    health = Health(gateway)
    docs = Docs(gateway)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, Any]]:
        gateway.start()
        reload.start()
        # uvicorn hands this state to every connection, which is how the protocol comes by it.
        async with gateway.follower:
            yield {"gateway": gateway, "reload": reload}
        reload.stop()
        await gateway.stop()

    app = Starlette(
        routes=[
            Route("/", index),
            Route("/health", health.aggregate),
            Route("/health/live", health.live),
            Route("/health/ready", health.ready),
            Route("/metrics", show_metrics),
            *docs.routes,
        ],
        middleware=[Middleware(Observe), Middleware(Edge, gateway=gateway)],
        exception_handlers={HTTPException: _http_exception, Exception: _unexpected},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # it would believe the Host of the request
    return app


async def index(request: Request) -> Response:
    request.scope[ROUTE] = "/"
    return JSONResponse({"name": "Gatehouse", "version": __version__, "docs": "/docs"})


async def show_metrics(request: Request) -> Response:
    """Under no other spelling: whoever keeps /metrics from outsiders need not know the aliases."""
    if request.scope.get(ALIAS) is not None:
        raise HTTPException(404)
    return await metrics(request)


def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = {404: errors.NOT_FOUND, 405: errors.METHOD_NOT_ALLOWED}
    return _problem(request, Refusal(known.get(error.status_code, errors.MALFORMED), headers=error.headers))


def _unexpected(request: Request, error: Exception) -> Response:
    log.error("unhandled_error", path=request.url.path, exc_info=error)
    return _problem(request, Refusal(errors.INTERNAL))


def _problem(request: Request, refusal: Refusal) -> Response:
    body = refusal.body(request.scope[REQUEST_ID])
    headers = {"cache-control": "no-store", **refusal.headers}
    return Response(body, refusal.kind.status, headers=headers, media_type=PROBLEM_JSON)
