"""Streams new notifications of a person as they are stored, and the number of unread ones."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import structlog
from pydantic import TypeAdapter
from sqlalchemy import select
from sqlmodel import Session

from services.notifications import notices
from services.notifications.models import NOTIFICATIONS
from services.notifications.schemas import NotificationOut, UnreadOut
from shared.clock import now
from shared.data.database import Database
from shared.errors import Problem
from shared.http.schemas import Id
from shared.http.streams import ServerSentEvent
from shared.ids import first_id
from shared.lists.pagination import rows_of
from shared.process.tasks import end
from shared.work.changes import Changes

NEWS_MAX = 100  # per read
OVERLAP = timedelta(seconds=10)
AFTER_FAULT_SECONDS = 5.0
_ID = TypeAdapter[str](Id)

log = structlog.get_logger(__name__)


@asynccontextmanager
async def listening(changes: Changes, database: Database) -> AsyncIterator[None]:
    """Wake the streams of this process: after its own commits, and on PostgreSQL after those of replicas."""
    database.on_commit.append(changes.committed)
    # Replicas on SQLite, if there are any, share a machine; their streams poll every few seconds.
    changes.are_heard = database.is_sqlite
    tasks = (
        [] if database.is_sqlite else [asyncio.create_task(_listen(changes, database), name="feed: listen")]
    )
    try:
        yield
    finally:
        await end(tasks)
        database.on_commit.remove(changes.committed)


async def _listen(changes: Changes, database: Database) -> None:
    while True:
        try:
            await changes.listen(database)
        except Problem as error:
            log.warning("feed_paused", error=repr(error))
        await asyncio.sleep(AFTER_FAULT_SECONDS)


async def follow(
    database: Database, changes: Changes, user_id: str, last: str | None
) -> AsyncIterator[ServerSentEvent]:
    """Yield notifications newer than `last`, and the number of unread ones at first and when it changes.

    Ids are made before their transaction commits, so a notification may appear after a newer one. That is
    why each read begins a little before the last one, and skips what was sent.
    """
    floor, sent, counted = _valid(last) or first_id(now()), set[str](), -1
    with changes.following(user_id) as follower:
        while True:
            rows, count = await database.read(_news, user_id, floor)
            for row in rows:
                if row["id"] not in sent:
                    sent.add(row["id"])
                    shown = NotificationOut.of(row).model_dump_json()
                    yield ServerSentEvent(shown, id=row["id"], name="notification")
            if count != counted:
                counted = count
                yield ServerSentEvent(json.dumps(UnreadOut.of(count).model_dump()), name="unread")
            if len(rows) == NEWS_MAX:
                floor = rows[-1]["id"]
                continue
            floor = max(floor, first_id(now(), -OVERLAP))
            sent = {one for one in sent if one > floor}
            await follower.changed()


def _news(session: Session, user_id: str, floor: str) -> tuple[list[dict[str, Any]], int]:
    mine = NOTIFICATIONS.c.user_id == user_id, NOTIFICATIONS.c.id > floor
    newer = (
        select(NOTIFICATIONS).where(*mine, notices.is_current()).order_by(NOTIFICATIONS.c.id).limit(NEWS_MAX)
    )
    return rows_of(session, newer), notices.unread(session, user_id)


def _valid(last: str | None) -> str | None:
    try:
        return None if last is None else _ID.validate_python(last)
    except ValueError:
        return None
