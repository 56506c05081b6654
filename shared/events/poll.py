"""One poll for everything that another process, or a crash, may have left to do."""

import asyncio
from collections.abc import Callable

from sqlmodel import Session

from shared.data.database import Database

LOOK_SECONDS = 1.0

HasWork = Callable[[Session], bool]
Wake = Callable[[], None]


class Poll:
    """Asks the database every second who has work, in one transaction, and wakes those.

    What this process leaves to itself need not wait for it: a commit wakes the relay at once.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._askers: list[tuple[HasWork, Wake]] = []

    def add(self, has_work: HasWork, wake: Wake) -> None:
        self._askers.append((has_work, wake))

    async def run(self) -> None:
        while True:
            for wake in await self._database.read(self._with_work):
                wake()
            await asyncio.sleep(LOOK_SECONDS)

    def _with_work(self, session: Session) -> list[Wake]:
        return [wake for has_work, wake in self._askers if has_work(session)]
