"""The events that the audit service consumes; they are its only input."""

from collections.abc import Sequence
from typing import Any

from sqlmodel import Session

from contracts.events import AccountDeleted
from contracts.exports import Section, exporting
from services.audit.erasure import ask_for_erasure
from services.audit.log import Entry, append
from services.audit.models import RECORDS
from services.audit.queries import EVERYTHING
from services.audit.statements import LOG_ITSELF
from shared.events import Consumers, Poison, Recorded


def keep(session: Session, events: Sequence[Recorded]) -> None:
    """Append the actions to the log."""
    append(session, [_entry(event) for event in events])


def _entry(event: Recorded) -> Entry:
    if event.actor == LOG_ITSELF:
        raise Poison("only the log itself may record its own statements")
    return Entry(id=event.envelope.id, **event.model_dump())


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
