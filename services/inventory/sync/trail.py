"""Source of calls to the WorkSpaces API, read from CloudTrail since half an hour before the last scan."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, timedelta
from typing import Any

from sqlalchemy import insert, select
from sqlmodel import Session

from services.inventory.aws import Call
from services.inventory.dated import dated_id
from services.inventory.models import TRAIL, TRAIL_WORKSPACES
from services.inventory.sync.source import Fetched, Place, Reading, Values, text

ACTION = "cloudtrail:LookupEvents"
SOURCE = "workspaces.amazonaws.com"
PAGE_ROWS = 50
FIRST_DAYS = 7
OVERLAP = timedelta(minutes=30)  # events may arrive late
JSON_CHARACTERS_MAX = 16 * 1024
WORKSPACES_MAX = 25  # per event: one call names no more
DEPTH_MAX = 6


class Trail:
    """Reads `LookupEvents`. Known events are not updated, and events are never removed."""

    async def fetch(self, reading: Reading, cursor: str | None) -> Fetched:
        place = reading.place
        since = (place.last_scan or place.started - timedelta(days=FIRST_DAYS)) - OVERLAP
        asked: dict[str, Any] = {
            "LookupAttributes": [{"AttributeKey": "EventSource", "AttributeValue": SOURCE}],
            "StartTime": since,
            "MaxResults": PAGE_ROWS,
        }
        after = {"NextToken": cursor} if cursor else {}
        call = Call("cloudtrail", "lookup_events", ACTION, {**asked, **after})
        answer = await reading.aws.call(reading.target, place.region, call, reading.tally)
        rows = {row["id"]: row for row in (_row(one) for one in answer.get("Events", ()))}
        return Fetched([*rows.values()], answer.get("NextToken"))

    def keep(self, session: Session, place: Place, rows: Sequence[Values]) -> int:
        execute = session.connection().execute
        ids = [row["id"] for row in rows]
        known = {*execute(select(TRAIL.c.id).where(TRAIL.c.id.in_(ids))).scalars()}
        new = [row for row in rows if row["id"] not in known]
        if new:
            where = {"account": place.account, "region": place.region}
            execute(insert(TRAIL), [{**row, **where} for row in new])
        named = [
            {"workspace_id": workspace_id, "id": row["id"]}
            for row in new
            for workspace_id in json.loads(row["workspaces"])
        ]
        if named:
            execute(insert(TRAIL_WORKSPACES), named)
        return len(new)

    def forget(self, _session: Session, _place: Place, _most: int) -> int:
        return 0


def _row(one: Mapping[str, Any]) -> dict[str, Any]:
    at = one["EventTime"].astimezone(UTC)
    event = _json(one.get("CloudTrailEvent"))
    request, response = event.get("requestParameters"), event.get("responseElements")
    identity = event.get("userIdentity")
    workspaces = [*dict.fromkeys([*_workspaces(request), *_workspaces(response)])]
    return {
        "id": dated_id(at, [str(one["EventId"])]),
        "event_id": text(one["EventId"], 100),
        "name": text(one.get("EventName", ""), 100),
        "at": at,
        "source": text(one.get("EventSource"), 100),
        "username": text(one.get("Username"), 300),
        "source_ip": text(event.get("sourceIPAddress"), 100),
        "error_code": text(event.get("errorCode"), 200),
        "workspaces": json.dumps(workspaces[:WORKSPACES_MAX]),
        "request": _written(request),
        "response": _written(response),
        "identity": _written(identity),
    }


def _json(value: object) -> dict[str, Any]:
    """Parse an event's JSON text; anything but an object becomes an empty one."""
    try:
        found = json.loads(str(value))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _written(value: object) -> str:
    written = json.dumps(value, ensure_ascii=False).replace("\\u0000", "")
    return written if len(written) <= JSON_CHARACTERS_MAX else '{"truncated": true}'


def _workspaces(value: object, depth: int = 0) -> Iterator[str]:
    """Yield every WorkSpace id in a call's parameters, at any depth up to DEPTH_MAX."""
    if depth > DEPTH_MAX:
        return
    if isinstance(value, Mapping):
        for key, below in value.items():
            if key == "workspaceId" and isinstance(below, str) and below.startswith("ws-"):
                yield below[:60]
            else:
                yield from _workspaces(below, depth + 1)
    elif isinstance(value, list):
        for below in value:
            yield from _workspaces(below, depth + 1)
