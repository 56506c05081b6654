"""Source of loads: the CloudWatch metrics CPUUsage and MemoryUsage of the last 30 days, by hour.

CloudWatch charges per metric requested, and these are two for each WorkSpace, so syncs of everything read
them once a week.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlmodel import Session

from services.inventory.aws import AwsFailed, Kind
from services.inventory.models import LOADS, PRESENT, WORKSPACES
from services.inventory.sizing import percentile
from services.inventory.sync.cloudwatch import ACTION, POINTS_MAX, Metric, read_metrics
from services.inventory.sync.source import Fetched, Place, Reading, Values

DAYS = 30
PERIOD = timedelta(hours=1)
# Averages by hour, because a sign-in alone uses all of the CPU for a moment.
CPU, MEMORY = Metric("CPUUsage", "Average", PERIOD), Metric("MemoryUsage", "Maximum", PERIOD)
PAGE_ROWS = POINTS_MAX // (2 * DAYS * 24 + 2)
PERCENT = 95


class Loads:
    """Reads `GetMetricData` for the WorkSpaces that are listed; the cursor is the last row read."""

    async def fetch(self, reading: Reading, cursor: str | None) -> Fetched:
        rows = await reading.database.read(_workspaces, reading.place, cursor)
        if not rows:
            return Fetched([], None)
        begin = _begin(reading.place)
        wanted = [(row["workspace_id"], metric) for row in rows for metric in (CPU, MEMORY)]
        try:
            samples = await read_metrics(reading, wanted, begin)
        except AwsFailed as error:
            if error.kind is not Kind.DENIED:
                raise
            return Fetched([], None, frozenset((ACTION,)))
        found = [_load(reading.place, row["workspace_id"], samples) for row in rows]
        return Fetched(found, rows[-1]["id"] if len(rows) == PAGE_ROWS else None)

    def keep(self, session: Session, place: Place, rows: Sequence[Values]) -> int:
        execute, changed = session.connection().execute, 0
        listed = LOADS.c.workspace_id.in_([row["workspace_id"] for row in rows])
        known = {row["workspace_id"]: dict(row) for row in execute(select(LOADS).where(listed)).mappings()}
        new = [{**row, "seen": place.seen()} for row in rows if row["workspace_id"] not in known]
        if new:
            execute(insert(LOADS), new)
        for row in rows:
            before = known.get(row["workspace_id"])
            if before is not None and any(before[name] != value for name, value in row.items()):
                execute(update(LOADS).where(LOADS.c.workspace_id == row["workspace_id"]).values(dict(row)))
                changed += 1
        execute(update(LOADS).where(listed).values(seen=place.seen()))
        return changed + len(new)

    def forget(self, session: Session, place: Place, most: int) -> int:
        """Delete the loads of WorkSpaces that are gone."""
        here = LOADS.c.account == place.account, LOADS.c.region == place.region
        old = select(LOADS.c.workspace_id).where(*here, LOADS.c.seen < place.started).limit(most)
        ids = session.connection().execute(old).scalars().all()
        session.connection().execute(delete(LOADS).where(LOADS.c.workspace_id.in_(ids)))
        return len(ids)


def _begin(place: Place) -> datetime:
    return place.started.replace(minute=0, second=0, microsecond=0) - timedelta(days=DAYS)


def _workspaces(session: Session, place: Place, after: str | None) -> list[dict[str, Any]]:
    columns = WORKSPACES.c
    here = columns.account == place.account, columns.region == place.region, columns.presence == PRESENT
    found = select(columns.id, columns.workspace_id).where(*here)
    if after is not None:
        found = found.where(columns.id > after)
    rows = session.connection().execute(found.order_by(columns.id).limit(PAGE_ROWS)).mappings()
    return [dict(row) for row in rows]


def _load(
    place: Place,
    workspace_id: str,
    samples: Mapping[tuple[str, Metric], Sequence[tuple[datetime, float]]],
) -> dict[str, Any]:
    cpu = [value for _, value in samples[workspace_id, CPU]]
    memory = [value for _, value in samples[workspace_id, MEMORY]]
    return {
        "workspace_id": workspace_id,
        "account": place.account,
        "region": place.region,
        "first_day": _begin(place).date().isoformat(),
        "hours": min(len(cpu), len(memory)),
        "cpu": percentile(cpu, PERCENT),
        "memory": percentile(memory, PERCENT),
    }
