"""The account events that the terminal service consumes."""

from collections.abc import Sequence

from sqlalchemy import update
from sqlmodel import Session

from contracts.events import AccountChanged, AccountDeleted
from contracts.exports import exporting, table_section
from services.terminal.models import BOXES, PORTS, SHARES, TABS, TERMINALS, TRASH, VISITS
from shared.events import Consumers

DELETED, DISABLED = "deleted", "disabled"
ACTIVE = "active"


def end_boxes_of_deleted(session: Session, events: Sequence[AccountDeleted]) -> None:
    """Mark the boxes of deleted accounts; the duty `sweep` ends their shells and removes the homes."""
    _mark(session, [event.account_id for event in events], DELETED)


def end_boxes_of_disabled(session: Session, events: Sequence[AccountChanged]) -> None:
    _mark(session, [event.account_id for event in events if event.status != ACTIVE], DISABLED)


def _mark(session: Session, owners: list[str], reason: str) -> None:
    marking = update(BOXES).where(BOXES.c.owner.in_(owners))
    if reason == DISABLED:  # must not replace DELETED
        marking = marking.where(BOXES.c.ends_for.is_(None))
    session.connection().execute(marking.values(ends_for=reason))


EXPORTED = [
    table_section("boxes", BOXES, "owner", without=("owner",)),
    table_section("terminals", TERMINALS, "owner", without=("owner",)),
    table_section("tabs", TABS, "owner", key="owner", without=("owner",)),
    table_section("shares", SHARES, "owner", without=("owner", "token_hash")),
    table_section("ports", PORTS, "owner", without=("owner",)),
    table_section("port_visits", VISITS, "visitor", key="hash", without=("hash", "visitor", "caller")),
    table_section("trash", TRASH, "owner", without=("owner",)),
]
CONSUMES: Consumers = {
    AccountDeleted: end_boxes_of_deleted,
    AccountChanged: end_boxes_of_disabled,
    **exporting("terminal", EXPORTED),
}
