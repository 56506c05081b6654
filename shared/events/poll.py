"""One poll for everything that another process, or a crash, may have left to do."""

import asyncio
from collections.abc import Callable

import structlog
from sqlmodel import Session

from shared.data.database import Database
from shared.errors import Problem

LOOK_SECONDS = 1.0

HasWork = Callable[[Session], bool]
Wake = Callable[[], None]

log = structlog.get_logger(__name__)


class Poll:
    """Polls once a second, in one transaction, and wakes the tasks that have work.

    Events emitted here do not wait for it: their commit wakes the relay.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._askers: list[tuple[HasWork, Wake]] = []

    def add(self, has_work: HasWork, wake: Wake) -> None:
        self._askers.append((has_work, wake))

    async def run(self) -> None:
        while True:
            try:
                for wake in await self._database.read(self._with_work):
                    wake()
            except Problem as error:  # the database is busy or away
                log.warning("events_not_polled", error=repr(error))
            await asyncio.sleep(LOOK_SECONDS)

    def _with_work(self, session: Session) -> list[Wake]:
        return [wake for has_work, wake in self._askers if has_work(session)]
