"""The state of all workers of this gateway, as one of them can learn it."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import httpx

from gateway.runtime.process_status import Inside
from gateway.runtime.workers import ASK_SECONDS, CONTROL

CACHE_SECONDS = 1.0


class Siblings:
    """Asks the other workers on the sockets on which they respond to their parent.

    The result is kept for a second, so that many people who watch the gateway cost no more than one.
    """

    def __init__(self, inside: Inside) -> None:
        self._inside = inside
        self._asking = asyncio.Lock()
        self._asked = float("-inf")
        self._states: list[dict[str, Any]] = []

    async def states(self) -> list[dict[str, Any]]:
        """Return the state of every worker that responds, without the routing table."""
        async with self._asking:
            if time.monotonic() - self._asked > CACHE_SECONDS:
                found = await asyncio.gather(*(_state_of(path) for path in _others()))
                states = [self._inside.brief(), *(state for state in found if state is not None)]
                self._states = sorted(states, key=lambda state: int(state["worker"]))
                self._asked = time.monotonic()
        return self._states


def _others() -> list[Path]:
    """Return the sockets of the other workers; there are none if this process is the only one."""
    own = os.environ.get(CONTROL)
    if own is None:
        return []
    return [path for path in sorted(Path(own).parent.glob("*.sock")) if path != Path(own)]


async def _state_of(path: Path) -> dict[str, Any] | None:
    transport = httpx.AsyncHTTPTransport(uds=str(path), verify=False)  # only the worker listens there
    async with httpx.AsyncClient(transport=transport, base_url="http://worker", trust_env=False) as client:
        try:
            answer = await client.get("/brief", timeout=ASK_SECONDS)
            answer.raise_for_status()
        except httpx.HTTPError:
            return None
    found: dict[str, Any] = answer.json()
    return found
