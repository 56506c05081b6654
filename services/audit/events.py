"""The events that the audit service consumes; they are its only input."""

from collections.abc import Sequence

from sqlmodel import Session

from contracts.events import AccountDeleted
from services.audit.erasure import ask_for_erasure
from services.audit.log import Entry, append
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


CONSUMES: Consumers = {Recorded: keep, AccountDeleted: forget}
