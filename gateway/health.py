"""Health of the gateway and of what stands behind it."""

import asyncio
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.core import Gateway
from gateway.table import Origin
from shared.clock import timestamp
from shared.errors import Problem
from shared.observe import ROUTE

ASK_SECONDS = 2.0
CACHE_SECONDS = 1.0


class Health:
    """Asks all services at once, and remembers the answer for a second."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._asking = asyncio.Lock()
        self._asked = float("-inf")
        self._answer: dict[str, Any] = {}

    async def aggregate(self, request: Request) -> Response:
        """200 for as long as the gateway itself lives; `status` and `services` tell the rest."""
        request.scope[ROUTE] = "/health"
        async with self._asking:
            if time.monotonic() - self._asked > CACHE_SECONDS:
                self._answer = await self._ask()
                self._asked = time.monotonic()
        return JSONResponse(self._answer)

    async def live(self, request: Request) -> Response:
        request.scope[ROUTE] = "/health/live"
        return JSONResponse({"status": "healthy", "timestamp": timestamp()})

    async def ready(self, request: Request) -> Response:
        """Ready means that the table is loaded, and without a table there is no process."""
        request.scope[ROUTE] = "/health/ready"
        checks = {"routes": len(self._gateway.table.routes)}
        return JSONResponse({"status": "healthy", "timestamp": timestamp(), "checks": checks})

    async def _ask(self) -> dict[str, Any]:
        origins = self._gateway.table.origins
        found = await asyncio.gather(*(self._service(origin) for origin in origins.values()))
        all_up = all(service["status"] == "healthy" for service in found)
        return {
            "status": "healthy" if all_up else "degraded",
            "timestamp": timestamp(),
            "services": dict(zip(origins, found, strict=True)),
        }

    async def _service(self, origin: Origin) -> dict[str, Any]:
        started = time.perf_counter()
        try:
            async with asyncio.timeout(ASK_SECONDS):
                await self._gateway.client.get_json(f"{origin.url}/health")
            status = "healthy"
        except (Problem, TimeoutError):
            status = "unreachable"
        return {"status": status, "ms": round((time.perf_counter() - started) * 1000, 1)}
