"""Stored advice: found by syncs, decided on by admins."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from sqlalchemy import func, insert, select, update
from sqlmodel import Session

from services.inventory.advising import Advice, AdviceKind
from services.inventory.errors import AdviceState
from services.inventory.exact import Exact
from services.inventory.models import ADVICE
from services.inventory.schemas import WorkspaceId
from services.inventory.usage_months import MILLION
from shared.clock import now
from shared.data.database import one_row
from shared.errors import NotFound
from shared.http.preconditions import IfMatch
from shared.http.schemas import Id, Input, Output, Page, Query, Text, Versioned, example
from shared.ids import new_id
from shared.lists.pagination import PageQuery, Walk, paginate
from shared.lists.times import Day

State = Literal["open", "accepted", "dismissed", "done", "expired"]
OPEN, ACCEPTED, DISMISSED, DONE, EXPIRED = "open", "accepted", "dismissed", "done", "expired"
ACTIVE = (OPEN, ACCEPTED)
# The states that an admin may set, by the current state. Expired advice no longer applies.
MAY_BECOME: Mapping[str, tuple[str, ...]] = {
    OPEN: (ACCEPTED, DISMISSED, DONE),
    ACCEPTED: (OPEN, DISMISSED, DONE),
    DISMISSED: (OPEN, ACCEPTED, DONE),
    DONE: (OPEN,),
    EXPIRED: (),
}
DONE_FOR = timedelta(days=60)  # after this, advice that still applies is opened again


class AdviceFilters(Query):
    state: State = Field(default="open", description="Only advice in this state.")
    kind: AdviceKind | None = Field(default=None, description="Only advice of this kind.")
    workspace_id: WorkspaceId | None = Field(default=None, description="Only advice on this WorkSpace.")
    account: Id | None = Field(default=None, description="Only advice on WorkSpaces of this account.")


class ListAdvice(AdviceFilters, PageQuery):
    """Filters and paging of the list."""


class DecideAdvice(Input):
    """A decision on advice; `until` is the day on which dismissed advice may be opened again."""

    model_config = example({"state": "dismissed", "reason": "Needed for the audit.", "until": "2026-06-30"})

    state: Literal["open", "accepted", "dismissed", "done"]
    reason: Annotated[Text, Field(max_length=500)] | None = None
    until: Annotated[Day, Field(strict=False)] | None = None

    @model_validator(mode="after")
    def _until_only_if_dismissed(self) -> Self:
        if self.until is not None and self.state != DISMISSED:
            raise ValueError("until may be given only with the state dismissed")
        return self


class AdviceOut(Versioned):
    """Advice on a WorkSpace: the saving per month as a range, null if unknown, and its evidence."""

    model_config = example(
        {
            "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "workspace_id": "ws-0a1b2c3d4",
            "account": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
            "kind": "to_auto_stop",
            "state": "open",
            "saving_low": "13.25",
            "saving_high": "19.25",
            "currency": "USD",
            "basis": {"hours": {"2026-01": "20"}, "break_even_hours": "84.17"},
            "reason": None,
            "until": None,
            "by": None,
            "found": "2026-02-01T12:00:00Z",
            "updated": "2026-02-01T12:00:00Z",
            "version": 1,
        }
    )

    id: str
    workspace_id: str
    account: str
    kind: AdviceKind
    state: State
    saving_low: Exact | None
    saving_high: Exact | None
    currency: str | None
    basis: dict[str, Any]
    reason: str | None
    until: date | None
    by: str | None
    found: datetime
    updated: datetime

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        savings = {name: _amount(row[name]) for name in ("saving_low", "saving_high")}
        until = row["until"] and date.fromisoformat(row["until"])
        return cls.unchecked(
            row, **savings, basis=json.loads(row["basis"]), until=until, kind=AdviceKind(row["kind"])
        )


class AdviceSum(Output):
    model_config = example(
        {"kind": "to_auto_stop", "count": 12, "saving_low": "159", "saving_high": "231", "currency": "USD"}
    )

    kind: AdviceKind
    count: int
    saving_low: Exact
    saving_high: Exact
    currency: str | None


class AdviceSums(Output):
    """The savings of open advice; unknown savings count as zero."""

    model_config = example({"sums": []})

    sums: list[AdviceSum]


def _amount(millionths: int | None) -> Decimal | None:
    return None if millionths is None else Decimal(int(millionths)) / MILLION


def find(session: Session, query: ListAdvice) -> Page[AdviceOut]:
    """Return one page, newest first."""
    columns = ADVICE.c
    given = {"workspace_id": query.workspace_id, "state": query.state, "kind": query.kind}
    given |= {"account": query.account}
    names = [name for name, value in given.items() if value is not None]
    first, *others = names
    walk = Walk(select(ADVICE).where(columns[first] == given[first]), columns.id)
    checked = [columns[name] == given[name] for name in others]
    return paginate(session, [walk], columns.id, query, AdviceOut.of, checked=checked)


def sums(session: Session) -> list[AdviceSum]:
    """Sum the savings of open advice by kind."""
    columns = ADVICE.c
    low, high = func.sum(columns.saving_low), func.sum(columns.saving_high)
    found = select(columns.kind, columns.currency, func.count(), low, high).where(columns.state == OPEN)
    rows = session.connection().execute(found.group_by(columns.kind, columns.currency))
    return [
        AdviceSum(
            kind=AdviceKind(row[0]),
            currency=row[1],
            count=row[2],
            saving_low=_amount(row[3] or 0) or Decimal(0),
            saving_high=_amount(row[4] or 0) or Decimal(0),
        )
        for row in sorted(rows, key=lambda row: (row[0], row[1] or ""))
    ]


def read(session: Session, advice_id: str) -> dict[str, Any]:
    row = one_row(session, select(ADVICE).where(ADVICE.c.id == advice_id).with_for_update())
    if row is None:
        raise NotFound
    return row


def decide(session: Session, advice_id: str, body: DecideAdvice, by: str, if_match: IfMatch) -> AdviceOut:
    row = read(session, advice_id)
    if_match.check(row["version"])
    allowed = MAY_BECOME[row["state"]]
    if body.state not in allowed:
        raise AdviceState(allowed=[*allowed])
    values = {
        "state": body.state,
        "reason": body.reason,
        "until": body.until and body.until.isoformat(),
        "by": by,
    }
    return AdviceOut.of(row | _change(session, row, values))


def known(session: Session, ids: Sequence[str]) -> Mapping[str, Mapping[str, dict[str, Any]]]:
    """Return the advice on these WorkSpaces, by kind."""
    found: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    rows = session.connection().execute(select(ADVICE).where(ADVICE.c.workspace_id.in_(ids))).mappings()
    for row in rows:
        found[row["workspace_id"]][row["kind"]] = dict(row)
    return found


def keep(
    session: Session,
    workspace: Mapping[str, Any],
    advice: Advice | None,
    before: Mapping[str, Mapping[str, Any]],
) -> bool:
    """Save what a sync found about a WorkSpace; return whether anything changed."""
    changed = False
    for kind, row in before.items():
        if row["state"] in ACTIVE and (advice is None or advice.kind != kind):
            # Accepted advice that no longer applies was carried out.
            _change(session, row, {"state": DONE if row["state"] == ACCEPTED else EXPIRED})
            changed = True
    if advice is None:
        return changed
    values = _values(advice)
    row_before = before.get(advice.kind)
    if row_before is None:
        whose = {name: workspace[name] for name in ("workspace_id", "account")}
        state = {"id": new_id(), "kind": advice.kind, "state": OPEN, "version": 1}
        times = {"found": now(), "updated": now()}
        session.connection().execute(insert(ADVICE).values(**whose, **state, **times, **values))
        return True
    if row_before["state"] not in ACTIVE and not _may_reopen(row_before):
        return changed
    if row_before["state"] not in ACTIVE:
        values |= {"state": OPEN, "reason": None, "until": None, "by": None, "found": now()}
    if all(row_before[name] == value for name, value in values.items()):
        return changed
    _change(session, row_before, values)
    return True


def _values(advice: Advice) -> dict[str, Any]:
    return {
        "saving_low": None if advice.low is None else int(advice.low * MILLION),
        "saving_high": None if advice.high is None else int(advice.high * MILLION),
        "currency": advice.currency,
        "basis": json.dumps(dict(advice.basis), sort_keys=True),
    }


def _may_reopen(row: Mapping[str, Any]) -> bool:
    if row["state"] == DISMISSED:
        return row["until"] is not None and bool(row["until"] <= now().date().isoformat())
    return bool(row["state"] == EXPIRED or (row["state"] == DONE and row["updated"] < now() - DONE_FOR))


def _change(session: Session, row: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    changed = {**values, "version": row["version"] + 1, "updated": now()}
    session.connection().execute(update(ADVICE).where(ADVICE.c.id == row["id"]).values(changed))
    return changed
