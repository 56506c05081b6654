"""The events that the audit service consumes; they are its only input."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlmodel import Session

from contracts.events import AccountDeleted
from contracts.exports import Section, exporting
from services.audit.erasure import ask_for_erasure
from services.audit.log import Entry, append
from services.audit.models import RECORDS
from services.audit.queries import CLOCKS_APART, EVERYTHING
from services.audit.statements import LOG_ITSELF
from shared.clock import now
from shared.events import Consumers, Poison, Recorded
from shared.ids import first_id, new_id

# What both databases can store, in every time zone.
STATUS_MIN, STATUS_MAX = -(2**31), 2**31 - 1
TIME_MIN, TIME_MAX = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def keep(session: Session, events: Sequence[Recorded]) -> None:
    """Append the actions to the log."""
    append(session, [_entry(event) for event in events])


def _entry(event: Recorded) -> Entry:
    if event.actor == LOG_ITSELF:
        raise Poison("only the log itself may record its own statements")
    moment = event.timestamp.replace(tzinfo=UTC)
    if not (STATUS_MIN <= event.status <= STATUS_MAX and TIME_MIN < moment < TIME_MAX):
        raise Poison("its status or its timestamp is out of range")
    return Entry(id=_listable(event.envelope.id), **event.model_dump())


def _listable(event_id: str) -> str:
    """Return the id, or another one if lists could not continue after it or would show it first for years.

    Services make UUIDs of the current time, but nothing else holds them to it.
    """
    is_usual = _ID.fullmatch(event_id) is not None and event_id < first_id(now(), CLOCKS_APART)
    return event_id if is_usual else new_id()


def forget(session: Session, events: Sequence[AccountDeleted]) -> None:
    """Schedule the erasure of these people."""
    ask_for_erasure(session, [event.account_id for event in events])


def records_about(
    session: Session, account_id: str, after: str | int | None, limit: int
) -> list[tuple[str, dict[str, Any]]]:
    """Return a person's actions that are not erased, oldest first."""
    mine = EVERYTHING.where(RECORDS.c.user_id == account_id).order_by(RECORDS.c.id).limit(limit)
    found = session.connection().execute(mine if after is None else mine.where(RECORDS.c.id > after))
    return [(row["id"], {name: row[name] for name in _TOLD}) for row in found.mappings()]


_TOLD = (
    "id",
    "timestamp",
    "action",
    "outcome",
    "status",
    "service",
    "resource",
    "ip",
    "user_agent",
    "metadata",
)
CONSUMES: Consumers = {
    Recorded: keep,
    AccountDeleted: forget,
    **exporting("audit", [Section("records", records_about)]),
}
