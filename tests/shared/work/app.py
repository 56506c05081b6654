"""A made-up service with jobs and a stream."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar

from pydantic import Field
from sqlmodel import Session
from starlette.applications import Starlette
from starlette.responses import Response

from shared.caller import Caller
from shared.data.database import Database
from shared.http.operations import Operation
from shared.http.schemas import Input
from shared.http.streams import ServerSentEvent, Streams
from shared.peers.client import HttpClient
from shared.process.settings import ServiceSettings
from shared.service import create_service
from shared.work.jobs import Jobs
from shared.work.operations import JobOut, job_operations
from shared.work.runner import Runner
from tests.shared.work.factory import make_jobs


class Settings(ServiceSettings):
    service: ClassVar[str] = "works"

    port: int = Field(default=18090, ge=1, le=65535)

    @classmethod
    def migrations(cls) -> Path:
        return Path(__file__).parent / "migrations"


class Ticks:
    """A stream of events queued by the test; `asked` counts how often the stream asked for the next one."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[ServerSentEvent | None] = asyncio.Queue()
        self.asked, self.is_closed = 0, asyncio.Event()

    async def events(self) -> AsyncIterator[ServerSentEvent]:
        try:
            while True:
                self.asked += 1
                event = await self.queue.get()
                if event is None:
                    return
                yield event
        finally:
            self.is_closed.set()


class NewWork(Input):
    total: int
    pause: float = 0.0


def start_work(subject: str, body: NewWork, caller: Caller, jobs: Jobs, session: Session) -> JobOut:
    """Start counting."""
    job_id = jobs.start(session, "count", subject, caller.id, total=body.total, pause=body.pause)
    return JobOut.of(jobs.read(session, job_id))


async def follow_ticks(caller: Caller, ticks: Ticks, streams: Streams) -> Response:
    """Follow the ticks."""
    return streams.answer(caller, ticks.events())


OPERATIONS = [
    Operation("POST", "/works/{subject}", start_work, status=202, location="/works/jobs/{id}"),
    Operation("GET", "/ticks", follow_ticks, answer_types=("text/event-stream",)),
    *job_operations("/works"),
]


def create_app(settings: Settings, ticks: Ticks | None = None) -> Starlette:
    database = Database(settings.database_url, settings.database_pool)
    jobs = make_jobs()
    return create_service(
        settings,
        OPERATIONS,
        client=HttpClient(),
        database=database,
        provide={Jobs: jobs, Ticks: ticks or Ticks()},
        beside=[Runner(jobs, database)],
    )
