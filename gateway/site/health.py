"""Health of the gateway and of the services behind it."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.routing.upstreams import Origin
from gateway.runtime.gateway import Gateway
from shared.clock import timestamp
from shared.errors import Problem
from shared.process.observe import ROUTE

ASK_SECONDS = 2.0
CACHE_SECONDS = 1.0


class Health:
    """Checks all services concurrently and caches the result for a second."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._asking = asyncio.Lock()
        self._asked = float("-inf")
        self._answer: dict[str, Any] = {}

    async def aggregate(self, request: Request) -> Response:
        """Respond with 200 while the gateway itself runs; `status` and `services` describe the rest."""
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
        """Report ready if the table is loaded, and if revocations are known where that is required."""
        request.scope[ROUTE] = "/health/ready"
        revocations = self._gateway.verifier.revocations
        checks = {"routes": len(self._gateway.table.routes), "revocations": revocations.state}
        if self._gateway.limit_store is not None:
            checks["limits"] = self._gateway.limit_store.state
        status = "healthy" if self._gateway.is_ready else "unhealthy"
        answer = {"status": status, "timestamp": timestamp(), "checks": checks}
        return JSONResponse(answer, 200 if self._gateway.is_ready else 503)

    async def _ask(self) -> dict[str, Any]:
        services = self._gateway.table.services
        found = await asyncio.gather(*(self._service(origins) for origins in services.values()))
        all_up = all(service["status"] == "healthy" for service in found)
        return {
            "status": "healthy" if all_up else "degraded",
            "timestamp": timestamp(),
            "services": dict(zip(services, found, strict=True)),
        }

    async def _service(self, origins: Sequence[Origin]) -> dict[str, Any]:
        """Return the state of a service, which is healthy while one of its targets is."""
        started = time.perf_counter()
        answers = await asyncio.gather(*(self._answers(origin) for origin in origins))
        status = "healthy" if any(answers) else "unreachable"
        return {"status": status, "ms": round((time.perf_counter() - started) * 1000, 1)}

    async def _answers(self, origin: Origin) -> bool:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                await self._gateway.client.get_json(f"{origin.url}/health")
        except (Problem, TimeoutError):
            return False
        return True
