"""Audit records: one event for every change, every refusal, and everything that an admin reads.

The record of a change commits with the change. Requests that change nothing have no transaction to share;
their records are written in batches. Each response waits until its record is written, so that none is lost.
"""

import asyncio
import math
import time
from contextvars import Context, copy_context
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Literal

import structlog
from sqlmodel import Session
from starlette.requests import HTTPConnection

from shared.caller import Caller
from shared.clock import now
from shared.data.database import Database
from shared.errors import Problem
from shared.events.outbox import emit
from shared.events.recorded import Recorded
from shared.events.refusals import Refusals
from shared.http.operations import Operation
from shared.http.schemas import unchecked
from shared.process.observe import current_request_id
from shared.process.proxies import Proxies
from shared.tracing.context import TRACE_ID, TRACEPARENT

TEXT_MAX = 300
COUNT_SECONDS = 5.0

log = structlog.get_logger(__name__)


class RequestTrail:
    """The trail of one request, whose record becomes an event."""

    def __init__(self, recorder: "Recorder", operation: Operation, request: HTTPConnection) -> None:
        self._recorder = recorder
        self._action = operation.action or operation.name.upper()
        self._status = operation.status
        self._request = request
        self.caller: Caller | str | None = None  # an account, or the name of another service
        self.start_again()

    def start_again(self) -> None:
        """Forget all but the caller, before the handler's first or next attempt."""
        self._details: dict[str, Any] = {}
        self.resource: str | None = None
        self.user_id: str | None = None
        self.is_written = False

    def add(self, **details: Any) -> None:
        self._details |= details

    @property
    def is_of_admin(self) -> bool:
        """Whether the caller is an admin or impersonated by one; then reads are recorded too."""
        caller = self.caller
        return isinstance(caller, Caller) and (caller.is_admin or caller.impersonator_id is not None)

    def answered(self, result: Any) -> None:
        """Use the result as the resource, unless the handler has set one."""
        if self.resource is None:
            self.resource = getattr(result, "id", None)

    def write(self, session: Session) -> None:
        """Record the success in the transaction of the change."""
        emit(session, self._record("success", self._status))
        self.is_written = True

    async def keep(self, refused_with: int | None = None) -> None:
        """Record a refusal, or an action without a change, in a transaction of its own."""
        self.is_written = True
        done = refused_with is None
        record = self._record("success" if done else "refused", refused_with or self._status)
        await self._recorder.keep(record)

    def _record(self, outcome: Literal["success", "refused"], status: int) -> Recorded:
        scope, recorder = self._request.scope, self._recorder
        headers: dict[bytes, bytes] = dict(scope["headers"])  # one pass instead of one per look-up
        user_id, actor = self._who(outcome)
        in_path = [*scope["path_params"].values()]
        resource = self.resource or (in_path[-1] if in_path else "") or user_id or ""
        trace = headers.get(b"traceparent", b"")
        return unchecked(
            Recorded,
            {
                "user_id": user_id,
                "actor": actor,
                "action": self._action,
                "resource": str(resource)[:TEXT_MAX],
                "ip": recorder.address_of(self._request),
                "user_agent": _printable(headers.get(b"user-agent")),
                "metadata": self._metadata(),
                "timestamp": now(),
                "outcome": outcome,
                "status": status,
                "service": recorder.service,
                "request_id": current_request_id.get(),
                "trace_id": trace[TRACE_ID].decode() if TRACEPARENT.fullmatch(trace) else None,
            },
        )

    def _metadata(self) -> dict[str, Any]:
        caller = self.caller
        admin_id = caller.impersonator_id if isinstance(caller, Caller) else None
        return self._details if admin_id is None else {**self._details, "impersonated_by": admin_id}

    def _who(self, outcome: str) -> tuple[str | None, str]:
        """Return account and actor of the record; a failed sign-in is not attributed to the account."""
        caller = self.caller
        is_stranger = caller is None and outcome == "refused"
        if isinstance(caller, str):
            return self.user_id, f"service:{caller}"
        user_id = self.user_id or (caller.id if caller else None)
        if caller is not None and caller.client_id is not None and caller.session_id is None:
            return user_id, f"client:{caller.client_id}"
        return user_id, "anonymous" if user_id is None or is_stranger else f"user:{user_id}"


class Recorder:
    """Writes the records of requests without a change; those that arrive during a write form a batch."""

    def __init__(self, service: str, database: Database, proxies: Proxies) -> None:
        self.service = service
        self._database = database
        self._proxies = proxies
        self._waiting: list[tuple[Recorded, Context, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._refusals = Refusals()

    def trail(self, operation: Operation, request: HTTPConnection) -> RequestTrail:
        return RequestTrail(self, operation, request)

    async def keep(self, record: Recorded) -> None:
        if not self._refusals.counts(record, time.monotonic()):
            await self._write(record)

    async def count_refusals(self) -> None:
        """Record at intervals how often anonymous callers were refused."""
        while True:
            await asyncio.sleep(COUNT_SECONDS)
            await self.write_counted(time.monotonic())

    async def write_counted(self, moment: float = math.inf) -> None:
        """Record the counts so far; at shutdown all of them."""
        await asyncio.gather(*map(self._write, self._refusals.due(moment)))

    async def _write(self, record: Recorded) -> None:
        written = asyncio.get_running_loop().create_future()
        self._waiting.append((record, copy_context(), written))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all(), name="records", context=Context())
        await written

    async def _write_all(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            records = [record for record, _, _ in waiting]
            try:
                await self._database.run(_emit_all, [(record, context) for record, context, _ in waiting])
            except Problem as error:
                # The outcome of the request stands, so its response does not change.
                for record in records:
                    log.error("record_lost", error=repr(error), record=record.model_dump(mode="json"))  # noqa: TRY400
            finally:
                for _, _, written in waiting:
                    if not written.done():
                        written.set_result(None)

    def address_of(self, connection: HTTPConnection) -> str | None:
        return _written(self._proxies.address_of(connection))


def _emit_all(session: Session, records: list[tuple[Recorded, Context]]) -> None:
    """Emit each record in the context of its own request, whose id and trace the event carries."""
    for record, context in records:
        context.run(emit, session, record)


@lru_cache(maxsize=4096)
def _written(address: str) -> str | None:
    """Return the address in canonical form."""
    try:
        return str(ip_address(address))
    except ValueError:  # a socket without an address, as in some tests
        return None


def _printable(value: bytes | None) -> str | None:
    if value is None:
        return None
    text = value[:TEXT_MAX].decode("latin-1")
    return text if text.isprintable() else "".join(one if one.isprintable() else "?" for one in text)
