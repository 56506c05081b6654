"""Watches the disk space that shells use, because their programs write without a reservation.

Over the limit, viewers are notified and uploads are refused. At 120 % the box is stopped, and does not
start until files are deleted through the API.
"""

import asyncio
from typing import Self

import structlog
from sqlalchemy import select
from sqlmodel import Session

from services.terminal.boxes import DISK_FULL, Boxes
from services.terminal.models import BOXES, BoxState
from services.terminal.terminals import Terminals
from services.terminal.workspace.quota import STOP_SHARE, Quota
from shared.data.database import Database
from shared.errors import Problem

MESSAGE = "Your workspace is full. Delete files; at 120 % of the limit your box is stopped."

log = structlog.get_logger(__name__)


class DiskWatch:
    def __init__(self, database: Database, boxes: Boxes, terminals: Terminals, quota: Quota) -> None:
        self._database, self._boxes, self._terminals, self._quota = database, boxes, terminals, quota
        self._full: set[str] = set()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Leave boxes running without the service."""

    def check(self) -> None:
        """Measure the home of every running box; called by a duty in its own thread."""
        asyncio.run_coroutine_threadsafe(self._check_all(), self._loop).result()

    async def _check_all(self) -> None:
        owners = await self._database.read(_running)
        self._full &= set(owners)
        for owner in owners:
            try:
                await self._check(owner)
            except Problem as problem:  # one unreadable home must not hide the others
                log.warning("workspace_not_measured", user_id=owner, error=problem.code)

    async def _check(self, owner: str) -> None:
        self._quota.note_unlinked(owner, await self._boxes.unlinked_bytes(owner))
        used = await self._quota.usage(owner, fresh=True)
        if self._quota.is_over(used, STOP_SHARE):
            log.warning("workspace_over_limit", user_id=owner, bytes=used.bytes, entries=used.entries)
            await self._boxes.stop(owner, DISK_FULL)
        elif not self._quota.is_over(used):
            self._full.discard(owner)
        elif owner not in self._full:
            self._full.add(owner)
            for session in self._terminals.of(owner):
                for viewer in session.viewers:
                    viewer.tell("notice", code="home_full", message=MESSAGE)


def _running(session: Session) -> list[str]:
    running = select(BOXES.c.owner).where(BOXES.c.state == BoxState.RUNNING)
    return [row.owner for row in session.connection().execute(running)]
