"""Deletes old daily figures, CloudTrail events, changes and syncs; costs and monthly figures stay."""

from collections.abc import Callable
from datetime import date, timedelta

from sqlalchemy import Select, Table, delete, select, tuple_
from sqlmodel import Session

from services.inventory.dated import first_day, midnight, month_of
from services.inventory.models import CHANGES, PARTS, SYNCS, TRAIL, TRAIL_WORKSPACES, USAGE_DAYS
from shared.clock import now
from shared.data.database import Database
from shared.ids import first_id
from shared.work.duties import IsStopping

EVERY_SECONDS = 24 * 3600.0
BATCH = 1000  # rows per transaction, so that a sync waits for milliseconds

Forget = Callable[[Session, date], int]


def forget_old(database: Database, months: int, is_stopping: IsStopping) -> None:
    """Delete what is older than this many whole months; 0 keeps everything."""
    if not months:
        return
    limit = _months_ago(now().date(), months)
    for forget in (_usage_days, _events, _changes, _syncs):
        number = BATCH
        while number == BATCH and not is_stopping():
            with database.transaction() as session:
                number = forget(session, limit)


def _months_ago(day: date, months: int) -> date:
    """Return the first day of the month this many months ago."""
    found = first_day(month_of(day))
    for _ in range(months):
        found = first_day(month_of(found - timedelta(days=1)))
    return found


def _usage_days(session: Session, limit: date) -> int:
    columns = USAGE_DAYS.c
    key = columns.workspace_id, columns.day
    old = select(*key).where(columns.day < limit.isoformat()).order_by(columns.day).limit(BATCH)
    keys = [tuple(row) for row in session.connection().execute(old)]
    if keys:
        session.connection().execute(delete(USAGE_DAYS).where(tuple_(*key).in_(keys)))
    return len(keys)


def _events(session: Session, limit: date) -> int:
    ids = _ids(session, _old(TRAIL, limit))
    for table in (TRAIL_WORKSPACES, TRAIL):
        session.connection().execute(delete(table).where(table.c.id.in_(ids)))
    return len(ids)


def _changes(session: Session, limit: date) -> int:
    ids = _ids(session, _old(CHANGES, limit))
    session.connection().execute(delete(CHANGES).where(CHANGES.c.id.in_(ids)))
    return len(ids)


def _syncs(session: Session, limit: date) -> int:
    ids = _ids(session, _old(SYNCS, limit))
    session.connection().execute(delete(PARTS).where(PARTS.c.sync.in_(ids)))
    session.connection().execute(delete(SYNCS).where(SYNCS.c.id.in_(ids)))
    return len(ids)


def _old(table: Table, limit: date) -> Select[tuple[str]]:
    """Select ids, which sort by time."""
    return select(table.c.id).where(table.c.id < first_id(midnight(limit))).order_by(table.c.id).limit(BATCH)


def _ids(session: Session, found: Select[tuple[str]]) -> list[str]:
    return [*session.connection().execute(found).scalars()]
