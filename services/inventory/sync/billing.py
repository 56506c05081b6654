"""Daily costs from Cost Explorer: per WorkSpace where it gives them, otherwise per usage type and region.

Every request costs a cent, so an account has a daily budget, and syncs of everything read it at most once a
day. AWS still revises the last three days, so they are read again.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlmodel import Session

from services.inventory.aws import HOME_REGION, AwsFailed, Call, Kind
from services.inventory.exact import split
from services.inventory.models import COSTS
from services.inventory.settings import Settings
from services.inventory.sync.source import Fetched, Place, Reading, Values, text
from shared.ids import first_id

SERVICE = "Amazon WorkSpaces"
BY_RESOURCE = "ce:GetCostAndUsageWithResources"
BY_USAGE = "ce:GetCostAndUsage"
RESOURCE_DAYS = 14  # how far back AWS gives costs per resource
AGAIN_DAYS = 3
NOT_OPTED_IN = frozenset(("DataUnavailableException", "ValidationException"))
IDS_AT_ONCE = 500
_METRICS = ("UnblendedCost", "UsageQuantity")


class Billing:
    """Reads Cost Explorer. Cursors start with the phase: r by resource, u the days before, a all days."""

    def __init__(self, settings: Settings) -> None:
        self._days = settings.billing_days
        self._asked = 0

    async def fetch(self, reading: Reading, cursor: str | None) -> Fetched:
        place = reading.place
        budget = place.budget
        if budget is not None and self._asked >= budget:
            message = "Today's request budget (CE_REQUESTS_PER_DAY) is used up; sync again tomorrow."
            raise AwsFailed(Kind.OTHER, BY_USAGE, "BudgetUsed", message)
        self._asked += 1
        phase, _, token = (cursor or "r:").partition(":")
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
        begin = max(first, day_after - timedelta(days=RESOURCE_DAYS))
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
        end = day_after if phase == "a" else day_after - timedelta(days=RESOURCE_DAYS)
        answer = await _ask(reading, "get_cost_and_usage", BY_USAGE, (first, end), token)
        rows = [
            _row(reading.place, one, resource="", usage_type=usage_type, region=region)
            for one, (usage_type, region) in _groups(answer)
        ]
        more = answer.get("NextPageToken")
        return Fetched(rows, f"{phase}:{more}" if more else None)

    def _window(self, place: Place) -> tuple[date, date]:
        """Return the first day to read, and the day after the last."""
        today = place.started.astimezone(UTC).date()
        if place.last_scan is None:
            first = today - timedelta(days=self._days)
        else:
            again = place.last_scan.astimezone(UTC).date() - timedelta(days=AGAIN_DAYS)
            # AWS would return older days without their WorkSpaces.
            first = max(again, today - timedelta(days=RESOURCE_DAYS - 1))
        return first, today + timedelta(days=1)

    def keep(self, session: Session, place: Place, rows: Sequence[Values]) -> int:
        execute, changed = session.connection().execute, 0
        merged = {row["id"]: row for row in rows}
        ids = [*merged]
        for start in range(0, len(ids), IDS_AT_ONCE):
            some = ids[start : start + IDS_AT_ONCE]
            listed = COSTS.c.id.in_(some)
            known = {row["id"]: row for row in execute(select(COSTS).where(listed)).mappings()}
            new = [{**merged[one], "pulled": place.seen()} for one in some if one not in known]
            if new:
                execute(insert(COSTS), new)
            for one in known:
                if any(known[one][name] != value for name, value in merged[one].items()):
                    execute(update(COSTS).where(COSTS.c.id == one).values(merged[one]))
                    changed += 1
            execute(update(COSTS).where(listed).values(pulled=place.seen()))
            changed += len(new)
        return changed

    def forget(self, session: Session, place: Place, most: int) -> int:
        """Delete rows within the days read that AWS no longer reports."""
        first, _ = self._window(place)
        stale = COSTS.c.account == place.account, COSTS.c.day >= first.isoformat()
        old = select(COSTS.c.id).where(*stale, COSTS.c.pulled < place.started).limit(most)
        ids = session.connection().execute(old).scalars().all()
        session.connection().execute(delete(COSTS).where(COSTS.c.id.in_(ids)))
        return len(ids)


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
            told = {
                "day": day["TimePeriod"]["Start"][:10],
                "estimated": bool(day.get("Estimated")),
                **group["Metrics"],
            }
            yield told, [*group["Keys"], "", ""][:2]


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
        "id": _id(key, keys["resource"]),
        **key,
        "amount_whole": amount_whole,
        "amount_part": amount_part,
        "quantity_whole": quantity_whole,
        "quantity_part": quantity_part,
        "unit": text(quantity.get("Unit", ""), 30),
        "currency": text(cost.get("Unit", "USD"), 10),
        "estimated": one["estimated"],
    }


def _id(key: Mapping[str, str], resource: str) -> str:
    """Derive an id that is stable for each group and sorts by day.

    It includes the resource, so that resources other than WorkSpaces keep separate rows.
    """
    digits = hashlib.sha256("\n".join([*key.values(), resource]).encode()).hexdigest()
    day = datetime.combine(date.fromisoformat(key["day"]), time(tzinfo=UTC))
    return f"{first_id(day)[:14]}7{digits[:3]}-8{digits[3:6]}-{digits[6:18]}"


def _workspace(resource: str) -> str:
    """Extract the WorkSpace id from a resource id or ARN; empty if it is something else."""
    last = resource.rpartition("/")[2]
    return last if last.startswith("ws-") else ""
