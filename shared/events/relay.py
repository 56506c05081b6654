"""Carries what is in the outbox to those who want it: at least once, in order per key."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Protocol

import structlog
from sqlmodel import Session

from shared.client import Peer
from shared.database import Database
from shared.errors import Problem
from shared.events.outbox import EMITTED, Batch, Outbox

# Lets a burst of events travel together; it is the most that an event is late when nothing is wrong.
GATHER_SECONDS = 0.05
LOOK_SECONDS = 1.0  # for what another process has written, and for what has become due again
PAUSE_SECONDS_MIN = 0.25
PAUSE_SECONDS_MAX = 15.0
RECEIVE = "/internal/events"

log = structlog.get_logger(__name__)


class Transport(Protocol):
    """A way to subscribers. `settle` notes in the outbox what `deliver` has achieved."""

    async def deliver(self, batch: Batch) -> None: ...

    def settle(self, session: Session, outbox: Outbox, batch: Batch) -> None: ...


class Direct:
    """Straight to the subscriber, whose answer says that it has committed."""

    def __init__(self, subscriber: Peer) -> None:
        self._subscriber = subscriber

    async def deliver(self, batch: Batch) -> None:
        body = f'{{"attempt":{batch.attempt},"events":[{",".join(batch.bodies)}]}}'
        await self._subscriber.call("POST", RECEIVE, body.encode())

    def settle(self, session: Session, outbox: Outbox, batch: Batch) -> None:
        outbox.arrived(session, batch)


class Relay:
    """One task per subscriber, woken by every commit that has something to tell."""

    def __init__(self, database: Database, outbox: Outbox, transports: Mapping[str, Transport]) -> None:
        self._database = database
        self._outbox = outbox
        self._transports = transports
        self._woken = {subscriber: asyncio.Event() for subscriber in transports}
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._database.on_commit.append(self._after_commit)
        async with asyncio.TaskGroup() as tasks:
            for subscriber, transport in self._transports.items():
                tasks.create_task(self._serve(subscriber, transport), name=f"events to {subscriber}")

    def _after_commit(self, session: Session) -> None:
        if session.info.pop(EMITTED, False) and self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended; the next process will find the events
                self._loop.call_soon_threadsafe(self.wake)

    def wake(self) -> None:
        for woken in self._woken.values():
            woken.set()

    async def _serve(self, subscriber: str, transport: Transport) -> None:
        pause = PAUSE_SECONDS_MIN
        while True:
            await self._something_to_do(subscriber)
            try:
                pause = await self._deliver_all(subscriber, transport, pause)
            except Problem as error:  # our own database is away
                log.warning("events_not_read", subscriber=subscriber, error=repr(error))
                await asyncio.sleep(PAUSE_SECONDS_MAX)

    async def _something_to_do(self, subscriber: str) -> None:
        woken = self._woken[subscriber]
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await woken.wait()
                await asyncio.sleep(GATHER_SECONDS)
        woken.clear()

    async def _deliver_all(self, subscriber: str, transport: Transport, pause: float) -> float:
        """Deliver until nothing is due or it fails; return how long to pause after the next failure."""
        outbox, run = self._outbox, self._database.run
        while await self._database.read(outbox.has_due, subscriber):
            batch = await run(outbox.claim, subscriber)
            if batch is None:
                return pause
            try:
                await transport.deliver(batch)
            except Problem as error:
                await run(outbox.give_back, batch, repr(error), timedelta())
                if pause > PAUSE_SECONDS_MIN:  # the first failure is often a restart, and not worth a line
                    log.warning("events_not_delivered", subscriber=subscriber, error=repr(error))
                await asyncio.sleep(pause)
                return min(pause * 2, PAUSE_SECONDS_MAX)
            await run(transport.settle, outbox, batch)
            pause = PAUSE_SECONDS_MIN
        return pause
