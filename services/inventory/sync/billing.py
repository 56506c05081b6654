"""Daily costs from Cost Explorer: per WorkSpace where it gives them, otherwise per usage type and region.

Every request costs a cent, so an account has a daily budget, and syncs of everything read it at most once a
day. AWS still revises the last three days, so they are read again. AWS calls the whole month estimated until
some days after it ends; `settling` then makes the older days final.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, timedelta
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlmodel import Session

from services.inventory import cost_days, usage_months
from services.inventory.aws import HOME_REGION, AwsFailed, Call, Kind
from services.inventory.dated import MONTH_CHARACTERS, dated_id, midnight
from services.inventory.exact import split
from services.inventory.models import COSTS
from services.inventory.settings import Settings
from services.inventory.sync import settling
from services.inventory.sync.source import Fetched, Place, Reading, Values, text
from services.inventory.sync.syncs import BY_USAGE

SERVICE = "Amazon WorkSpaces"
BY_RESOURCE = "ce:GetCostAndUsageWithResources"
AGAIN_DAYS = 3
SETTLED_DAYS = 45  # after that, an estimate is kept as it is
NOT_OPTED_IN = frozenset(("DataUnavailableException", "ValidationException"))
IDS_AT_ONCE = 500
_METRICS = ("UnblendedCost", "UsageQuantity")


class Billing:
    """Reads Cost Explorer.

    Cursors start with the phase: r by resource, u the days before, a all days by usage type, s to settle.
    """

    def __init__(self, settings: Settings) -> None:
        self._days, self._resource_days = settings.billing_days, settings.resource_days
        self._asked = 0

    async def fetch(self, reading: Reading, cursor: str | None) -> Fetched:
        phase, _, token = (cursor or "r:").partition(":")
        if phase == "s":
            return await self._settled(reading)
        fetched = await self._costs(reading, phase, token)
        if fetched.next is None and await self._unsettled(reading) is not None:
            return replace(fetched, next="s:")
        return fetched

    def _spend(self, place: Place) -> None:
        """Count a request; raises AwsFailed once the budget is used up."""
        if place.budget is not None and self._asked >= place.budget:
            message = "Today's request budget (CE_REQUESTS_PER_DAY) is used up; sync again tomorrow."
            raise AwsFailed(Kind.OTHER, BY_USAGE, "BudgetUsed", message)
        self._asked += 1

    async def _costs(self, reading: Reading, phase: str, token: str) -> Fetched:
        self._spend(reading.place)
        if phase == "r":
            try:
                return await self._by_resource(reading, token)
            except AwsFailed as error:
                if error.kind is not Kind.DENIED and error.code not in NOT_OPTED_IN:
                    raise
                missing = frozenset((BY_RESOURCE,)) if error.kind is Kind.DENIED else frozenset[str]()
                return Fetched([], "a:", missing)
        return await self._by_usage(reading, phase, token)

    async def _by_resource(self, reading: Reading, token: str) -> Fetched:
        first, day_after = self._window(reading.place)
        begin = max(first, day_after - timedelta(days=self._resource_days))
        answer = await _ask(
            reading, "get_cost_and_usage_with_resources", BY_RESOURCE, (begin, day_after), token
        )
        rows = [
            _row(reading.place, one, resource=resource, usage_type=usage_type, region="")
            for one, (resource, usage_type) in _groups(answer)
        ]
        if answer.get("NextPageToken"):
            return Fetched(rows, f"r:{answer['NextPageToken']}")
        return Fetched(rows, "u:" if first < begin else None)

    async def _by_usage(self, reading: Reading, phase: str, token: str) -> Fetched:
        first, day_after = self._window(reading.place)
        end = day_after if phase == "a" else day_after - timedelta(days=self._resource_days)
        answer = await _ask(reading, "get_cost_and_usage", BY_USAGE, (first, end), token)
        rows = _rows_by_usage(reading.place, answer)
        more = answer.get("NextPageToken")
        return Fetched(rows, f"{phase}:{more}" if more else None)

    async def _unsettled(self, reading: Reading) -> tuple[date, date] | None:
        """Return the days of past months, before those just read, whose costs are still estimated."""
        place = reading.place
        first, day_after = self._window(place)
        before = min(first, (day_after - timedelta(days=1)).replace(day=1))
        since = day_after - timedelta(days=SETTLED_DAYS)
        oldest = await reading.database.read(settling.oldest_estimate, place.account, since, before)
        return None if oldest is None else (oldest, before)

    async def _settled(self, reading: Reading) -> Fetched:
        """Read all pages at once, because usage types that are on none of them are gone."""
        days, rows, token = await self._unsettled(reading), list[Values](), ""
        while days is not None:
            self._spend(reading.place)
            answer = await _ask(reading, "get_cost_and_usage", BY_USAGE, days, token)
            rows += _rows_by_usage(reading.place, answer)
            token = answer.get("NextPageToken") or ""
            if not token:
                return Fetched([{"settled": days, "rows": rows}], None, seen=len(rows))
        return Fetched([], None)

    def _window(self, place: Place) -> tuple[date, date]:
        """Return the first day to read, and the day after the last."""
        today = place.started.astimezone(UTC).date()
        first = today - timedelta(days=self._days)
        if place.last_scan is not None:
            first = place.last_scan.astimezone(UTC).date() - timedelta(days=AGAIN_DAYS)
        return first, today + timedelta(days=1)

    def keep(self, session: Session, place: Place, rows: Sequence[Values]) -> int:
        if "settled" in rows[0]:
            return settling.settle(session, place, rows[0]["settled"], rows[0]["rows"])
        execute, changed, before = session.connection().execute, list[Values](), list[Values]()
        merged = {row["id"]: row for row in rows}
        ids = [*merged]
        for start in range(0, len(ids), IDS_AT_ONCE):
            some = ids[start : start + IDS_AT_ONCE]
            listed = COSTS.c.id.in_(some)
            known = {row["id"]: row for row in execute(select(COSTS).where(listed)).mappings()}
            new = [{**merged[one], "pulled": place.seen()} for one in some if one not in known]
            if new:
                execute(insert(COSTS), new)
            for one, stored in known.items():
                if any(stored[name] != value for name, value in merged[one].items()):
                    execute(update(COSTS).where(COSTS.c.id == one).values(merged[one]))
                    changed.append(merged[one])
                    before.append(dict(stored))
            execute(update(COSTS).where(listed).values(pulled=place.seen()))
            changed += new
        cost_days.apply(session, changed, before)
        _refresh_months(session, place, changed)
        return len(changed)

    def forget(self, session: Session, place: Place, most: int) -> int:
        """Delete the rows of the days just read that AWS no longer reports."""
        first, day_after = self._window(place)
        stale = COSTS.c.account == place.account, COSTS.c.day >= first.isoformat()
        old = select(COSTS).where(*stale, COSTS.c.pulled < place.started).limit(most)
        rows = [dict(row) for row in session.connection().execute(old).mappings()]
        ids = [row["id"] for row in rows]
        session.connection().execute(delete(COSTS).where(COSTS.c.id.in_(ids)))
        cost_days.apply(session, [], rows)
        _refresh_months(session, place, rows)
        if len(ids) < most and place.last_scan is not None:
            # A process of a version without these sums may have stored costs while replicas were updated.
            cost_days.sum_again(session, place.account, (first, day_after))
        return len(ids)


def _refresh_months(session: Session, place: Place, rows: Sequence[Values]) -> None:
    """Recompute the months of usage whose billed hours have changed."""
    hours = [row for row in rows if row["workspace_id"] and row["unit"] in usage_months.HOUR_UNITS]
    pairs = [(row["workspace_id"], row["day"][:MONTH_CHARACTERS]) for row in hours]
    usage_months.refresh(session, place.account, pairs)


def _rows_by_usage(place: Place, answer: Mapping[str, Any]) -> list[Values]:
    return [
        _row(place, one, resource="", usage_type=usage_type, region=region)
        for one, (usage_type, region) in _groups(answer)
    ]


async def _ask(
    reading: Reading, operation: str, action: str, days: tuple[date, date], token: str
) -> dict[str, Any]:
    by = ("RESOURCE_ID", "USAGE_TYPE") if action == BY_RESOURCE else ("USAGE_TYPE", "REGION")
    asked = {
        "TimePeriod": {"Start": days[0].isoformat(), "End": days[1].isoformat()},
        "Granularity": "DAILY",
        "Metrics": [*_METRICS],
        "Filter": {"Dimensions": {"Key": "SERVICE", "Values": [SERVICE]}},
        "GroupBy": [{"Type": "DIMENSION", "Key": one} for one in by],
        **({"NextPageToken": token} if token else {}),
    }
    call = Call("ce", operation, action, asked)
    return await reading.aws.call(reading.target, HOME_REGION, call, reading.tally)


def _groups(answer: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Yield each group of each day, with its two keys."""
    for day in answer.get("ResultsByTime", ()):
        for group in day.get("Groups", ()):
            values = {
                "day": day["TimePeriod"]["Start"][:10],
                "estimated": bool(day.get("Estimated")),
                **group["Metrics"],
            }
            yield values, [*group["Keys"], "", ""][:2]


def _row(place: Place, one: Mapping[str, Any], **keys: str) -> dict[str, Any]:
    cost, quantity = one["UnblendedCost"], one.get("UsageQuantity", {"Amount": "0", "Unit": ""})
    amount_whole, amount_part = split(cost["Amount"])
    quantity_whole, quantity_part = split(quantity["Amount"])
    key = {
        "account": place.account,
        "day": one["day"],
        "workspace_id": text(_workspace(keys["resource"]), 60) or "",
        "service": SERVICE,
        "usage_type": text(keys["usage_type"], 200) or "",
        "region": text(keys["region"], 30) or "",
    }
    return {
        # With the resource, so that resources other than WorkSpaces keep separate rows.
        "id": dated_id(midnight(date.fromisoformat(key["day"])), [*key.values(), keys["resource"]]),
        **key,
        "amount_whole": amount_whole,
        "amount_part": amount_part,
        "quantity_whole": quantity_whole,
        "quantity_part": quantity_part,
        "unit": text(quantity.get("Unit", ""), 30),
        "currency": text(cost.get("Unit", "USD"), 10),
        "estimated": one["estimated"],
    }


def _workspace(resource: str) -> str:
    """Extract the WorkSpace id from a resource id or ARN; empty if it is something else."""
    last = resource.rpartition("/")[2]
    return last if last.startswith("ws-") else ""
