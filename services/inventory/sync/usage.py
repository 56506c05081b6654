"""Source of usage: the CloudWatch metric UserConnected, in samples of five minutes."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import delete, insert, or_, select, update
from sqlmodel import Session

from services.inventory import usage_months
from services.inventory.dated import midnight, month_of
from services.inventory.models import USAGE_DAYS, WORKSPACES
from services.inventory.sessions import days_of
from services.inventory.settings import Settings
from services.inventory.sync.cloudwatch import POINTS_MAX, Metric, query, read_metrics
from services.inventory.sync.source import Fetched, Place, Reading, Values

PERIOD = timedelta(minutes=5)
CONNECTED = Metric("UserConnected", "Maximum", PERIOD)
WORKSPACES_MAX = 100  # per page; AWS allows 500
AGAIN_DAYS = 1  # samples may arrive late
# A session that began before the first day may still run on it: an AutoStop timeout is at most 36 hours.
LEAD = timedelta(days=2)
NO_WORKSPACE = "ws-000000000"
TIMEOUT_MINUTES = 60  # AWS's default, and the assumption for WorkSpaces that are always on
_FIGURES = ("connected_minutes", "sessions", "session_hours", "clock_hours")


class Usage:
    """Reads `GetMetricData` for the WorkSpaces that are known; the cursor is the last row read."""

    def __init__(self, settings: Settings) -> None:
        self._days = settings.usage_days

    async def fetch(self, reading: Reading, cursor: str | None) -> Fetched:
        first = self._first(reading.place)
        begin = midnight(first) - LEAD
        points = (reading.place.started - begin) // PERIOD + 1
        size = max(1, min(WORKSPACES_MAX, POINTS_MAX // points))
        rows = await reading.database.read(_workspaces, reading.place, first, cursor, size)
        if not rows:
            return Fetched([], None)
        samples = await _samples(reading, [row["workspace_id"] for row in rows], begin)
        days = [self._used(reading.place, row, samples[row["workspace_id"]]) for row in rows]
        return Fetched(days, rows[-1]["id"] if len(rows) == size else None)

    def _used(self, place: Place, row: Mapping[str, Any], samples: Sequence[datetime]) -> Values:
        timeout = timedelta(minutes=row["auto_stop_minutes"] or TIMEOUT_MINUTES)
        used, first = days_of(samples, timeout, place.started), self._first(place)
        today = _today(place)
        return {
            "workspace_id": row["workspace_id"],
            "since": month_of(row["first_seen"].date()),
            "days": {
                day.isoformat(): {
                    **{name: getattr(one, name) for name in _FIGURES},
                    "complete": day < today,
                }
                for day, one in used.items()
                if first <= day <= today
            },
        }

    def _first(self, place: Place) -> date:
        """Return the first day to read."""
        oldest = _today(place) - timedelta(days=self._days)
        if place.last_scan is None:
            return oldest
        return max(oldest, place.last_scan.astimezone(UTC).date() - timedelta(days=AGAIN_DAYS))

    def keep(self, session: Session, place: Place, rows: Sequence[Values]) -> int:
        execute, columns = session.connection().execute, USAGE_DAYS.c
        first, ids = self._first(place), [row["workspace_id"] for row in rows]
        listed = columns.workspace_id.in_(ids), columns.day >= first.isoformat()
        known = {
            (row["workspace_id"], row["day"]): dict(row)
            for row in execute(select(USAGE_DAYS).where(*listed)).mappings()
        }
        reported = {(row["workspace_id"], day): used for row in rows for day, used in row["days"].items()}
        new = [
            {"workspace_id": key[0], "day": key[1], **reported[key]} for key in reported if key not in known
        ]
        if new:
            execute(insert(USAGE_DAYS), new)
        other = {key for key in known.keys() & reported.keys() if _differs(known[key], reported[key])}
        for workspace_id, day in other:
            one = columns.workspace_id == workspace_id, columns.day == day
            execute(update(USAGE_DAYS).where(*one).values(reported[workspace_id, day]))
        lost = known.keys() - reported.keys()
        for workspace_id, day in lost:
            execute(delete(USAGE_DAYS).where(columns.workspace_id == workspace_id, columns.day == day))
        read = (first, _today(place))
        months = [
            (row["workspace_id"], month)
            for row in rows
            for month in usage_months.months_of(read)
            # The WorkSpace may not have existed before it was first seen, unless it was used.
            if month >= row["since"] or any(day.startswith(month) for day in row["days"])
        ]
        usage_months.refresh(session, place.account, months, read)
        changed = {(row["workspace_id"]) for row in new} | {one for one, _ in other | lost}
        return len(changed)

    def forget(self, _session: Session, _place: Place, _most: int) -> int:
        return 0


def _differs(known: Values, reported: Values) -> bool:
    return any(known[name] != value for name, value in reported.items())


def _today(place: Place) -> date:
    return place.started.astimezone(UTC).date()


def _workspaces(
    session: Session, place: Place, first: date, after: str | None, most: int
) -> list[dict[str, Any]]:
    """List the WorkSpaces that existed since the first day, in the order of their rows."""
    columns = WORKSPACES.c
    here = columns.account == place.account, columns.region == place.region
    existed = or_(columns.gone.is_(None), columns.gone >= midnight(first))
    wanted = columns.id, columns.workspace_id, columns.auto_stop_minutes, columns.first_seen
    found = select(*wanted).where(*here, existed)
    if after is not None:
        found = found.where(columns.id > after)
    rows = session.connection().execute(found.order_by(columns.id).limit(most)).mappings()
    return [dict(row) for row in rows]


async def _samples(reading: Reading, ids: Sequence[str], begin: datetime) -> dict[str, list[datetime]]:
    """Read the times at which each WorkSpace had a connected user."""
    found = await read_metrics(reading, [(one, CONNECTED) for one in ids], begin)
    return {one: [at for at, value in found[one, CONNECTED] if value > 0] for one in ids}


def smallest_query() -> dict[str, Any]:
    """Return a query that matches nothing, which is enough to check the permission."""
    end = datetime(2026, 1, 1, 1, tzinfo=UTC)
    asked = [query(0, NO_WORKSPACE, CONNECTED)]
    return {"MetricDataQueries": asked, "StartTime": end - PERIOD, "EndTime": end}
