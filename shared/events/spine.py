"""The event spine of one service: outbox, inbox, and their background tasks."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Gauge
from pydantic import Field
from sqlalchemy import delete, select
from sqlmodel import Session
from starlette.requests import Request

from shared.clock import now
from shared.data.database import Database
from shared.errors import Problem
from shared.events.dead import DeadLetters
from shared.events.event import EVENT_BYTES_MAX, Envelope, Event
from shared.events.inbox import Consumers, Inbox
from shared.events.operations import event_operations
from shared.events.outbox import OUTBOX, Outbox
from shared.events.pace import FORGOTTEN_MAX, make_room
from shared.events.poll import Poll
from shared.events.recording import Recorder
from shared.events.relay import RECEIVE, Direct, Relay
from shared.events.signing import Signatures
from shared.events.tables import EventTables
from shared.events.undelivered import Undelivered
from shared.http.operations import Operation
from shared.http.schemas import Input
from shared.identity.tokens import internal
from shared.peers.client import HttpClient, Peer
from shared.process.observe import SERVICE
from shared.process.proxies import Proxies
from shared.process.redis import close, connect
from shared.process.settings import ServiceSettings
from shared.process.tasks import end

if TYPE_CHECKING:
    from redis.asyncio import Redis

Work = Callable[[], Awaitable[None]]

CENSUS_SECONDS = 5.0
CENSUS_SHARE = 50
TIDY_SECONDS = 600.0
SEEN_KEPT = timedelta(days=14)  # far longer than any event is resent
DEAD_KEPT = timedelta(days=30)
REDIS_SECONDS = 5.0
RECEIVED_MAX = 200  # per request; senders of this version send fewer
AFTER_FAULT_SECONDS = 5.0

WAITING = Gauge(
    *("events_waiting", "Events not yet delivered to a subscriber", ["subscriber"]),
    multiprocess_mode="livemax",
)
AGE = Gauge(
    *("events_oldest_seconds", "Age of the oldest undelivered event", ["subscriber"]),
    multiprocess_mode="livemax",
)
PARKED = Gauge("events_parked", "Received events that will be retried", multiprocess_mode="livemax")
DEAD = Gauge("events_dead", "Received events that were given up", multiprocess_mode="livemax")

log = structlog.get_logger(__name__)


class Delivery(Input):
    """Events for this service, oldest first, and the number of the sender's attempt."""

    attempt: int = Field(default=1, ge=1)
    events: list[Envelope] = Field(max_length=RECEIVED_MAX)


async def receive_events(body: Delivery, database: Database, inbox: Inbox, request: Request) -> None:
    """Receive events from other services; the response confirms that they are durable here."""
    await database.in_background(inbox.receive, body.events, body.attempt, request.scope[SERVICE])


class Subscriber:
    """A service that receives events: which ones, and its URL unless NAME_URL overrides it."""

    def __init__(self, url: str, *events: type[Event]) -> None:
        self.url = url
        self.topics = frozenset(event.topic for event in events)


class Events:
    """What a service passes to create_service in order to send and receive events."""

    def __init__(
        self, tables: EventTables, consumes: Consumers, subscribers: Mapping[str, Subscriber]
    ) -> None:
        self._tables = tables
        self._consumes = consumes
        self._subscribers = subscribers

    def operations(self, service: str) -> list[Operation]:
        """Return the operations for admins, and the one that receives events if the service consumes any."""
        if not self._consumes:
            return event_operations(service)
        size = RECEIVED_MAX * (EVENT_BYTES_MAX + 1) + 1024
        return [
            Operation(
                *("POST", RECEIVE, receive_events),
                access=internal,
                status=204,
                recorded=False,
                body_bytes_max=size,
            ),
            *event_operations(service),
        ]

    def attach(self, settings: ServiceSettings, database: Database, client: HttpClient) -> "Spine":
        return Spine(self._tables, self._consumes, self._subscribers, settings, database, client)


class Spine:
    """The events of a running service."""

    def __init__(
        self,
        tables: EventTables,
        consumes: Consumers,
        subscribers: Mapping[str, Subscriber],
        settings: ServiceSettings,
        database: Database,
        client: HttpClient,
    ) -> None:
        self._tables, self._settings, self._database, self._client = tables, settings, database, client
        self._subscribers = subscribers
        self.inbox = Inbox(tables, database, consumes)
        recipients = self._recipients()
        self.outbox = Outbox(tables, settings.service, recipients)
        self.provided: dict[type, object] = {
            Inbox: self.inbox,
            DeadLetters: DeadLetters(tables),
            Undelivered: Undelivered(tables, {name for names in recipients.values() for name in names}),
        }
        self._poll, self._is_due = Poll(database), asyncio.Event()
        self.recorder = Recorder(settings.service, database, Proxies(settings.trusted_proxies))
        database.session_info[OUTBOX] = self.outbox

    def _recipients(self) -> dict[str, list[str]]:
        """Return, by topic, the subscribers for whom an event is written to the outbox."""
        if self._settings.redis_url is not None:
            from shared.events.streams import BROKER

            return {topic: [BROKER] for one in self._subscribers.values() for topic in one.topics}
        recipients: dict[str, list[str]] = {}
        for name, subscriber in self._subscribers.items():
            for topic in subscriber.topics:
                recipients.setdefault(topic, []).append(name)
        return recipients

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.recorder.write_counted)
            parts: dict[str, Work] = {
                "count": self._keep_counting,
                "tidy": self._keep_tidy,
                "refusals": self.recorder.count_refusals,
                "poll": self._poll.run,
            }
            if self.inbox.topics:
                parts["retry"] = self._retry
                self._poll.add(self.inbox.parked.is_anything_due, self._is_due.set)
            if self._settings.redis_url is None:
                parts |= self._direct()
            else:
                redis = connect(self._settings.redis_url.get_secret_value(), timeout_seconds=REDIS_SECONDS)
                stack.push_async_callback(close, redis)
                parts |= self._through(redis)
            tasks = [
                asyncio.create_task(_always(name, work), name=f"events: {name}")
                for name, work in parts.items()
            ]
            stack.push_async_callback(end, tasks)
            yield

    def _direct(self) -> dict[str, Work]:
        parts: dict[str, Work] = {}
        for name, subscriber in self._subscribers.items():
            url = os.environ.get(f"{name.upper()}_URL", subscriber.url)
            transport = Direct(Peer.of(self._settings, self._client, name=name, url=url))
            parts[f"to {name}"] = Relay(self._database, self._poll, self.outbox, name, transport).run
        return parts

    def _through(self, redis: "Redis") -> dict[str, Work]:
        from shared.events.streams import BROKER, Broker, Reader

        signatures = Signatures.of(self._settings)
        broker = Broker(redis, [*self._subscribers], signatures)
        parts: dict[str, Work] = {
            "to Redis": Relay(self._database, self._poll, self.outbox, BROKER, broker).run,
            "acknowledged": partial(broker.run, self._database, self.outbox),
        }
        if self.inbox.topics:
            parts["from Redis"] = Reader(redis, signatures, self.inbox, self._database).run
        return parts

    async def _retry(self) -> None:
        """Retry parked events when they are due."""
        while True:
            self._is_due.clear()
            if not await self._database.in_background(self.inbox.retry_next):
                await self._is_due.wait()

    async def _keep_counting(self) -> None:
        """Count waiting events for /metrics."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await self._database.read(self._count)
            # Counting a million rows is slow, so it may take only a small share of the time.
            await asyncio.sleep(max(CENSUS_SECONDS, CENSUS_SHARE * (loop.time() - began)))

    async def _keep_tidy(self) -> None:
        """Delete old rows, a few at a time."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TIDY_SECONDS)
            began = loop.time()
            while not await self._database.run(self._tidy):
                await make_room(began)
                began = loop.time()

    def _count(self, session: Session) -> None:
        backlog = self.outbox.backlog(session)
        for name in {*self._subscribers, *backlog}:
            here = backlog.get(name)
            WAITING.labels(name).set(here.number if here else 0)
            AGE.labels(name).set((now() - here.oldest).total_seconds() if here else 0)
        parked, dead = self.inbox.parked.census(session)
        PARKED.set(parked)
        DEAD.set(dead)

    def _tidy(self, session: Session) -> bool:
        """Delete some old rows; return whether none remain."""
        seen = self._tables.inbox
        old = select(seen.c.id).where(seen.c.received < now() - SEEN_KEPT).order_by(seen.c.received)
        some = delete(seen).where(seen.c.id.in_(old.limit(FORGOTTEN_MAX)))
        forgotten = session.connection().execute(some).rowcount
        return self.inbox.parked.forget_dead(session, now() - DEAD_KEPT) and forgotten < FORGOTTEN_MAX


async def _always(name: str, work: Work) -> None:
    """Restart a task that fails, so that neither the others nor the service end."""
    while True:
        try:
            await work()
        except Problem as error:
            log.warning("events_paused", part=name, error=repr(error))
        except Exception:
            log.exception("events_interrupted", part=name)
        await asyncio.sleep(AFTER_FAULT_SECONDS)
