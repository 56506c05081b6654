"""Changes to WorkSpaces at AWS: tried out first, asked for by one admin, approved by another."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, Self

from pydantic import Field, model_validator
from sqlalchemy import insert, select, update
from sqlmodel import Session

from services.inventory.errors import ChangesOff, ChangeState, DryRunFirst, OwnChange
from services.inventory.models import AWS_CHANGES, WORKSPACES
from services.inventory.schemas import WorkspaceId
from services.inventory.settings import Settings
from shared.caller import Caller
from shared.clock import now
from shared.data.database import one_row
from shared.errors import FieldFault, Invalid, NotFound
from shared.http.preconditions import IfMatch
from shared.http.schemas import Input, Page, Versioned, example
from shared.ids import first_id, new_id
from shared.lists.pagination import PageQuery, Walk, paginate
from shared.work.jobs import Jobs

JOB = "change"
TRIED, ASKED, APPROVED, DONE, FAILED, REFUSED = "tried", "asked", "approved", "done", "failed", "refused"
DRY_RUN_LASTS = timedelta(days=1)
MAY_CHANGE = ("AVAILABLE", "STOPPED")  # AWS changes WorkSpaces in these states only
Mode = Literal["ALWAYS_ON", "AUTO_STOP"]
Size = Literal["VALUE", "STANDARD", "PERFORMANCE", "POWER", "POWERPRO"]
State = Literal["tried", "asked", "approved", "done", "failed", "refused"]
COLUMNS = ("running_mode", "compute_type")
PROPERTIES = {"running_mode": "RunningMode", "compute_type": "ComputeTypeName"}  # as AWS names them


class AskChange(Input):
    """A change to one WorkSpace: its running mode, its size, or both; a dry run changes nothing."""

    model_config = example(
        {"workspace_id": "ws-0a1b2c3d4", "running_mode": "AUTO_STOP", "compute_type": None, "dry_run": True}
    )

    workspace_id: WorkspaceId
    running_mode: Mode | None = None
    compute_type: Size | None = None
    dry_run: bool = True

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.running_mode is None and self.compute_type is None:
            raise ValueError("give running_mode or compute_type")
        return self


class DecideChange(Input):
    model_config = example({"state": "approved"})

    state: Literal["approved", "refused"]


class ChangeFilters(PageQuery):
    state: State | None = Field(default=None, description="Only changes in this state.")


class AwsChangeOut(Versioned):
    """A change: what to set, what it was before, and who asked for and approved it."""

    model_config = example(
        {
            "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "workspace_id": "ws-0a1b2c3d4",
            "account": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
            "region": "eu-central-1",
            "wanted": {"running_mode": "AUTO_STOP"},
            "before": {"running_mode": "ALWAYS_ON"},
            "state": "asked",
            "asked_by": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
            "approved_by": None,
            "result": None,
            "created": "2026-02-01T12:00:00Z",
            "updated": "2026-02-01T12:00:00Z",
            "version": 1,
        }
    )

    id: str
    workspace_id: str
    account: str
    region: str
    wanted: dict[str, str]
    before: dict[str, str | None]
    state: State
    asked_by: str | None
    approved_by: str | None
    result: str | None
    created: datetime
    updated: datetime

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        return cls.unchecked(row, wanted=json.loads(row["wanted"]), before=json.loads(row["before"]))


def find(session: Session, query: ChangeFilters) -> Page[AwsChangeOut]:
    """Return one page, newest first."""
    some = select(AWS_CHANGES)
    if query.state is not None:
        some = some.where(AWS_CHANGES.c.state == query.state)
    return paginate(session, [Walk(some, AWS_CHANGES.c.id)], AWS_CHANGES.c.id, query, AwsChangeOut.of)


def found(session: Session, change_id: str, *, locked: bool = False) -> dict[str, Any]:
    one = select(AWS_CHANGES).where(AWS_CHANGES.c.id == change_id)
    row = one_row(session, one.with_for_update() if locked else one)
    if row is None:
        raise NotFound
    return row


def ask(session: Session, body: AskChange, caller: Caller, settings: Settings) -> AwsChangeOut:
    """Try a change out, or ask for one that was tried out within the last day."""
    workspace = one_row(session, select(WORKSPACES).where(WORKSPACES.c.workspace_id == body.workspace_id))
    if workspace is None or workspace["gone"] is not None:
        raise NotFound
    wanted = {
        name: value for name in COLUMNS if (value := getattr(body, name)) not in (None, workspace[name])
    }
    before = {name: workspace[name] for name in wanted}
    _check(workspace, wanted)
    if not body.dry_run:
        if not settings.aws_changes:
            raise ChangesOff
        if not _was_tried(session, body.workspace_id, wanted, before):
            raise DryRunFirst
    result = _sentence(body.workspace_id, wanted, before) if body.dry_run else None
    row = {
        "id": new_id(),
        **{name: workspace[name] for name in ("workspace_id", "account", "region")},
        "wanted": _text(wanted),
        "before": _text(before),
        "state": TRIED if body.dry_run else ASKED,
        "asked_by": caller.id,
        "approved_by": None,
        "result": result,
        "created": now(),
        "updated": now(),
        "version": 1,
    }
    session.connection().execute(insert(AWS_CHANGES).values(row))
    return AwsChangeOut.of(row)


def _check(workspace: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    if not wanted:
        message = "the WorkSpace has these properties already"
        raise Invalid(errors=[FieldFault(field="running_mode", code="no_change", message=message)])
    if workspace["state"] not in MAY_CHANGE:
        message = f"it is {workspace['state']}; AWS changes only WorkSpaces that are AVAILABLE or STOPPED"
        raise Invalid(errors=[FieldFault(field="workspace_id", code="wrong_state", message=message)])


def _was_tried(
    session: Session, workspace_id: str, wanted: Mapping[str, Any], before: Mapping[str, Any]
) -> bool:
    columns = AWS_CHANGES.c
    same = columns.wanted == _text(wanted), columns.before == _text(before), columns.state == TRIED
    recent = columns.workspace_id == workspace_id, columns.id >= first_id(now() - DRY_RUN_LASTS)
    tried = select(columns.id).where(*recent, *same).limit(1)
    return session.connection().execute(tried).scalar() is not None


def decide(
    session: Session,
    change_id: str,
    body: DecideChange,
    if_match: IfMatch,
    caller: Caller,
    jobs: Jobs,
    settings: Settings,
) -> AwsChangeOut:
    """Refuse a change, or approve and start it; the admin who asked for it cannot approve it."""
    row = found(session, change_id, locked=True)
    if_match.check(row["version"])
    if row["state"] != ASKED:
        raise ChangeState
    if body.state == REFUSED:
        return AwsChangeOut.of(row | change(session, row, state=REFUSED))
    if not settings.aws_changes:
        raise ChangesOff
    if caller.id == row["asked_by"]:
        raise OwnChange
    changed = change(session, row, state=APPROVED, approved_by=caller.id)
    jobs.start(session, JOB, row["workspace_id"], caller.id, change=change_id)
    return AwsChangeOut.of(row | changed)


def change(session: Session, row: Mapping[str, Any], **values: Any) -> dict[str, Any]:
    changed = {**values, "version": row["version"] + 1, "updated": now()}
    session.connection().execute(update(AWS_CHANGES).where(AWS_CHANGES.c.id == row["id"]).values(changed))
    return changed


def _sentence(workspace_id: str, wanted: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    parts = [
        f"{PROPERTIES[name]} from {before[name] or 'unknown'} to {value}" for name, value in wanted.items()
    ]
    return f"AWS would be asked to change {' and '.join(parts)} of {workspace_id}. Nothing was changed."


def _text(values: Mapping[str, Any]) -> str:
    return json.dumps(dict(values), sort_keys=True)
