"""Delivers the outbox to subscribers: at least once, in order per key."""

import asyncio
from contextlib import suppress
from functools import partial
from typing import Protocol

import structlog
from sqlmodel import Session

from shared.data.database import Database
from shared.errors import Problem
from shared.events.failpoints import reached
from shared.events.outbox import BATCH_MAX, EMITTED, Batch, Outbox
from shared.events.pace import Gathering, make_room
from shared.events.poll import Poll
from shared.peers.client import AnswerLate, AnswerLost, Peer

PAUSE_SECONDS_MIN = 0.25
PAUSE_SECONDS_MAX = 5.0  # probing an unreachable subscriber is cheap
LOG_SECONDS = 60.0  # between two log lines about an unreachable subscriber
RECEIVE = "/internal/events"

log = structlog.get_logger(__name__)


class Transport(Protocol):
    """A transport to subscribers. `settle` updates the outbox after `deliver`."""

    async def life(self) -> str:
        """Return the incarnation of the broker; "" if delivered events cannot get lost.

        Called before events are claimed; raises Unavailable while the broker is unreachable.
        """

    async def deliver(self, batch: Batch) -> None: ...

    async def was_tried(self, error: BaseException, /) -> bool:
        """Whether the events may have caused the failure, rather than the transport."""

    def settle(self, session: Session, outbox: Outbox, batch: Batch) -> None: ...


class Direct:
    """HTTP to the subscriber, whose response confirms its commit."""

    def __init__(self, subscriber: Peer) -> None:
        self._subscriber = subscriber
        self._is_away = False

    async def life(self) -> str:
        """Return ""; if the last call failed, probe the subscriber with an empty batch first."""
        if self._is_away:
            await self._call(b'{"events":[]}')
        return ""

    async def deliver(self, batch: Batch) -> None:
        await self._call(f'{{"attempt":{batch.attempt},"events":[{",".join(batch.bodies)}]}}'.encode())

    async def was_tried(self, error: BaseException, /) -> bool:
        """Return whether to count an attempt: after a timeout, only if an empty batch gets a response."""
        if isinstance(error, AnswerLate):
            with suppress(Problem):
                await self.life()
                return True
        return isinstance(error, AnswerLost)

    async def _call(self, body: bytes) -> None:
        self._is_away = True
        await self._subscriber.call("POST", RECEIVE, body)
        self._is_away = False

    def settle(self, session: Session, outbox: Outbox, batch: Batch) -> None:
        outbox.arrived(session, batch)


class Relay:
    """Delivers events to one subscriber.

    Every commit that emits events wakes it, and a poll wakes it for events of other processes, for expired
    leases, and after a failure.
    """

    def __init__(
        self, database: Database, poll: Poll, outbox: Outbox, subscriber: str, transport: Transport
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._subscriber = subscriber
        self._transport = transport
        self._woken = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pause = PAUSE_SECONDS_MIN
        self._logged = float("-inf")
        self._gathering = Gathering()
        database.on_commit.append(self._after_commit)
        poll.add(partial(outbox.has_waiting, subscriber=subscriber), self._woken.set)

    async def run(self) -> None:
        self._loop = asyncio.get_running_loop()
        while True:
            await self._woken.wait()
            await asyncio.sleep(self._gathering.seconds(self._loop.time()))
            self._woken.clear()
            try:
                await self._deliver_all()
            except Problem as error:
                self._log(error)
                await asyncio.sleep(self._pause)
                self._pause = min(self._pause * 2, PAUSE_SECONDS_MAX)

    def _log(self, error: Problem) -> None:
        """Log repeated failures, but not the first: it is often just a restart."""
        at = self._loop.time() if self._loop is not None else 0.0
        if self._pause > PAUSE_SECONDS_MIN and at > self._logged + LOG_SECONDS:
            self._logged = at
            log.warning("events_not_delivered", subscriber=self._subscriber, error=repr(error))

    def _after_commit(self, session: Session) -> None:
        is_for_us = self._subscriber in session.info.get(EMITTED, ())
        if is_for_us:
            reached("relay: committed")
        if is_for_us and self._loop is not None and not self._woken.is_set():
            with suppress(RuntimeError):  # the loop has ended; the next process finds the events
                self._loop.call_soon_threadsafe(self._woken.set)

    async def _deliver_all(self) -> None:
        """Deliver until a batch is not full. Newer events wake the relay again, and it gathers them first."""
        is_full = True
        while is_full:
            began = asyncio.get_running_loop().time()
            life = await self._transport.life()
            batch = await self._database.run(self._outbox.claim, self._subscriber, life)
            taken = 0 if batch is None else len(batch.numbers)
            if batch is not None:
                reached("relay: claimed")
                await self._deliver(batch)
            is_full = taken == BATCH_MAX
            if is_full:
                await make_room(began)
            self._gathering.note(taken, asyncio.get_running_loop().time())

    async def _deliver(self, batch: Batch) -> None:
        try:
            await self._transport.deliver(batch)
        except (Problem, asyncio.CancelledError) as error:
            # Also at shutdown, so that the next process need not wait for the lease to expire.
            was_tried = isinstance(error, Problem) and await self._transport.was_tried(error)
            await self._database.run(self._outbox.give_back, batch, repr(error), was_tried=was_tried)
            raise
        reached("relay: sent")
        await self._database.run(self._transport.settle, self._outbox, batch)
        reached("relay: settled")
        self._pause = PAUSE_SECONDS_MIN
