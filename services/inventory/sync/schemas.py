"""Request and response schemas of syncs."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from services.inventory.models import PartState
from services.inventory.schemas import Regions
from shared.http.schemas import Id, Input, Output, Query, example

SyncKind = Literal[
    "all", "workspaces", "directories", "cloudtrail", "usage", "load", "billing", "prices", "advice"
]
SyncStatus = Literal["waiting", "running", "completed", "partial", "failed", "cancelled"]


class TriggerSync(Input):
    """What to sync; everything by default."""

    model_config = example({"kind": "all", "regions": ["eu-central-1"]})

    kind: SyncKind = "all"
    accounts: Annotated[list[Id], Field(min_length=1, max_length=100)] | None = None
    regions: Regions | None = None


class TriggerQuery(Query):
    """The kind of sync as a query parameter."""

    type: SyncKind | None = Field(
        default=None, description="The kind of sync; used only if there is no body."
    )


class PartOut(Output):
    """One source of one account and region within a sync."""

    model_config = example(
        {
            "account": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "region": "eu-central-1",
            "source": "workspaces",
            "state": "done",
            "seen": 250,
            "changed": 3,
            "gone": 1,
            "calls": 31,
            "throttled": 1,
            "missing": [],
            "error_code": None,
            "error": None,
            "started": "2026-01-31T12:00:00Z",
            "finished": "2026-01-31T12:00:20Z",
        }
    )

    account: str
    region: str
    source: str
    state: PartState
    seen: int
    changed: int
    gone: int
    calls: int
    throttled: int
    missing: list[str]
    error_code: str | None
    error: str | None
    started: datetime | None
    finished: datetime | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        return cls.unchecked(row, missing=json.loads(row["missing"]), state=PartState(row["state"]))


class SyncOut(Output):
    model_config = example(
        {
            "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "kind": "all",
            "trigger": "user",
            "by": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
            "state": "running",
            "progress": 1,
            "total": 4,
            "note": "workspaces in eu-central-1: 250",
            "error": None,
            "seen": 250,
            "changed": 3,
            "gone": 0,
            "api_calls": 31,
            "created": "2026-01-31T12:00:00Z",
            "finished": None,
        }
    )

    id: str
    kind: str
    trigger: str
    by: str | None
    state: SyncStatus
    progress: int
    total: int | None
    note: str | None
    error: str | None
    seen: int
    changed: int
    gone: int
    api_calls: int
    created: datetime
    finished: datetime | None


class SyncStarted(SyncOut):
    """A sync that was started; `sync_id`, `sync_type` and `message` are kept for older clients."""

    model_config = example(
        {
            "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "sync_id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "sync_type": "all",
            "message": "The sync was started.",
            "kind": "all",
            "trigger": "user",
            "by": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
            "state": "waiting",
            "progress": 0,
            "total": 4,
            "note": None,
            "error": None,
            "seen": 0,
            "changed": 0,
            "gone": 0,
            "api_calls": 0,
            "created": "2026-01-31T12:00:00Z",
            "finished": None,
        }
    )

    sync_id: str
    sync_type: str
    message: str


class SyncDetail(SyncOut):
    """A sync with all of its parts."""

    model_config = example(
        {
            "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "kind": "all",
            "trigger": "schedule",
            "by": None,
            "state": "completed",
            "progress": 1,
            "total": 1,
            "note": None,
            "error": None,
            "seen": 0,
            "changed": 0,
            "gone": 0,
            "api_calls": 1,
            "created": "2026-01-31T12:00:00Z",
            "finished": "2026-01-31T12:00:01Z",
            "parts": [],
        }
    )

    parts: list[PartOut]
