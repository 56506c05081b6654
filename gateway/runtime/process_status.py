"""The state of one gateway process, and the operations on it."""

import asyncio
import os
import signal
from typing import Any

from gateway.config.description import table_shown
from gateway.runtime.gateway import Gateway
from gateway.runtime.reload import Reload
from gateway.telemetry import metrics
from gateway.upstream.pool import Backend
from shared.clock import timestamp
from shared.identity.revocations import LAG

WORKER = "GATEHOUSE_WORKER"  # the number of this worker, in its environment


class Inside:
    """One process as the admin listener sees it."""

    def __init__(self, gateway: Gateway, reload: Reload) -> None:
        self._gateway = gateway
        self._reload = reload
        self._started = timestamp()

    def state(self) -> dict[str, Any]:
        return {**self.brief(), "table": table_shown(self._gateway.table)}

    def brief(self) -> dict[str, Any]:
        """Return the state without the table, which is the same in all workers."""
        gateway = self._gateway
        return {
            "worker": int(os.environ.get(WORKER, "1")),
            "pid": os.getpid(),
            "started": self._started,
            "ready": gateway.is_ready,
            "leaving": gateway.is_leaving,
            "open": len(gateway.open),
            "reload": {"count": self._reload.count, **self._reload.outcome.shown()},
            "targets": [_target(backend) for backend in gateway.routing.backends.values()],
            "limits": self._limits(),
            "errors": list(metrics.RECENT),
        }

    def _limits(self) -> dict[str, Any]:
        routing, store = self._gateway.routing, self._gateway.limit_store
        return {
            "counted": "by each process" if store is None else store.state,
            "gateways": 1 if store is None else store.gateways,
            "routes": {
                name: {
                    "rate_limits": {limiter.policy: limiter.keys for limiter in limits.limiters},
                    "under_way": sum(routing.slots[name].taken.values()) if name in routing.slots else None,
                }
                for name, limits in routing.limits.items()
            },
        }

    def note_gauges(self) -> None:
        """Set gauges that are otherwise computed on demand: workers share metrics as numbers in files."""
        LAG.set(self._gateway.verifier.revocations.lag_seconds)

    async def reload(self) -> dict[str, Any]:
        outcome = await self._reload.now()
        return {"worker": int(os.environ.get(WORKER, "1")), **outcome.shown()}

    def leave(self) -> None:
        """Make load balancers stop routing to this gateway."""
        self._gateway.is_leaving = True

    def stop_in(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, os.kill, os.getpid(), signal.SIGTERM)


def _target(backend: Backend) -> dict[str, Any]:
    standing = backend.standing
    return {
        "url": backend.origin.url,
        "routes": backend.routes,
        "healthy": standing.is_healthy,
        "ejected": standing.is_ejected,
        "down": standing.is_down,
        "connections": len(backend.open),
        "load": backend.load,
        "relays": backend.relays,
    }
