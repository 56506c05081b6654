"""What the audit service does when it is told something: this is all it lives on."""

from collections.abc import Sequence

from sqlmodel import Session

from contracts.events import AccountDeleted
from services.audit.erasure import ask_for_erasure
from services.audit.log import Entry, append
from services.audit.statements import LOG_ITSELF
from shared.events import Consumers, Poison, Recorded


def keep(session: Session, events: Sequence[Recorded]) -> None:
    """Write what happened at the end of the log."""
    append(session, [_entry(event) for event in events])


def _entry(event: Recorded) -> Entry:
    if event.actor == LOG_ITSELF:
        raise Poison("only the log itself says what it did to itself")
    return Entry(id=event.envelope.id, **event.model_dump())


def forget(session: Session, events: Sequence[AccountDeleted]) -> None:
    """Have what the log knows of these people erased."""
    ask_for_erasure(session, [event.account_id for event in events])


CONSUMES: Consumers = {Recorded: keep, AccountDeleted: forget}
