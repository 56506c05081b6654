"""A service's health endpoint on a path that the gateway forwards rather than handles itself."""

from typing import ClassVar

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.clock import timestamp
from shared.process.observe import ROUTE, Observe, configure_logging
from shared.process.server import serve
from shared.process.settings import ProcessSettings
from tests.bench.processes import PROBE


class Settings(ProcessSettings):
    service: ClassVar[str] = "backend"

    log_level: str = "error"  # type: ignore[assignment]  # health endpoints are not logged either


async def alive(request: Request) -> Response:
    request.scope[ROUTE] = PROBE
    return JSONResponse({"status": "healthy", "timestamp": timestamp()})


if __name__ == "__main__":
    settings = Settings.load()
    configure_logging(settings)
    serve(Starlette(routes=[Route(PROBE, alive)], middleware=[Middleware(Observe)]), settings)
