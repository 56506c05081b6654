"""Audit records of who looked at the gateway.

A console asks every few seconds, so one record says that an admin looked at the gateway within this hour. The
gateway has no database: records wait in memory until audit has confirmed them, and the log has them as well.
"""

import asyncio
import os
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from starlette.requests import Request

from gateway.runtime.gateway import Gateway
from shared.caller import Caller
from shared.clock import now
from shared.errors import Problem
from shared.events.event import Sealed
from shared.events.recorded import Recorded
from shared.events.relay import RECEIVE
from shared.peers.client import Peer, PeerRefusal
from shared.process.observe import REQUEST_ID
from shared.process.tasks import end

ACTION = "WATCH_GATEWAY"
AUDIT, AUDIT_URL = "audit", "http://127.0.0.1:8085"
HOUR_SECONDS = 3600.0
PEOPLE_MAX = 1000
WAITING_MAX = 1000
SENT_MAX = 50
PAUSE_SECONDS = 5.0
TEXT_MAX = 300

log = structlog.get_logger(__name__)


class Records:
    """Sends at most one record for each admin and hour."""

    def __init__(self, gateway: Gateway) -> None:
        url = os.environ.get("AUDIT_URL", AUDIT_URL)
        self._audit = Peer.of(gateway.settings, gateway.client, name=AUDIT, url=url)
        self._service = gateway.settings.service
        self._noted: OrderedDict[str, float] = OrderedDict()
        self._waiting: deque[str] = deque(maxlen=WAITING_MAX)
        self._is_due = asyncio.Event()

    def note(self, caller: Caller, request: Request, address: str) -> None:
        """Record that this admin looks at the gateway, unless a record of this hour says so."""
        at = time.monotonic()
        if self._noted.get(caller.id, float("-inf")) > at - HOUR_SECONDS:
            return
        self._noted[caller.id] = at
        self._noted.move_to_end(caller.id)
        if len(self._noted) > PEOPLE_MAX:
            self._noted.popitem(last=False)
        log.info("gateway_watched", user_id=caller.id, ip=address)
        self._waiting.append(Sealed(self._service, self._record(caller, request, address)).body)
        self._is_due.set()

    def _record(self, caller: Caller, request: Request, address: str) -> Recorded:
        agent = request.headers.get("user-agent", "")[:TEXT_MAX]
        return Recorded(
            user_id=caller.id,
            actor=f"user:{caller.id}",
            action=ACTION,
            resource=self._service,
            ip=address or None,
            user_agent="".join(one if one.isprintable() else "?" for one in agent) or None,
            metadata={"path": request.url.path, "window": "hour"},
            timestamp=now(),
            outcome="success",
            status=200,
            service=self._service,
            request_id=request.scope[REQUEST_ID],
            trace_id=None,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send records while the gateway runs."""
        sending = asyncio.create_task(self._send_all(), name="records of admins")
        try:
            yield
        finally:
            await end([sending])

    async def _send_all(self) -> None:
        while True:
            await self._is_due.wait()
            self._is_due.clear()
            while self._waiting:
                bodies = [self._waiting[number] for number in range(min(SENT_MAX, len(self._waiting)))]
                if not await self._was_sent(bodies):
                    await asyncio.sleep(PAUSE_SECONDS)
                    continue
                for body in bodies:
                    if self._waiting and self._waiting[0] == body:
                        self._waiting.popleft()

    async def _was_sent(self, bodies: list[str]) -> bool:
        try:
            await self._audit.call("POST", RECEIVE, f'{{"events":[{",".join(bodies)}]}}'.encode())
        except PeerRefusal as error:
            log.error("records_refused", number=len(bodies), error=repr(error))  # noqa: TRY400 - sending again would not help
        except Problem:
            return False  # the client has logged it; audit deduplicates what arrived twice
        return True
