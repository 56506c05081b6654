"""The events that the audit service consumes; they are its only input."""

from collections.abc import Container, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlmodel import Session

from contracts.events import AccountDeleted
from contracts.exports import Section, exporting
from services.audit.erasure import LATE, ask_for_erasure
from services.audit.log import Entry, append
from services.audit.models import RECORDS
from services.audit.queries import CLOCKS_APART, EVERYTHING, LISTABLE
from services.audit.statements import LOG_ITSELF, PERSON_ERASED
from shared.clock import now
from shared.events import Consumers, Poison, Recorded
from shared.events.spine import SEEN_KEPT
from shared.ids import first_id, new_id

# What both databases can store, in every time zone.
STATUS_MIN, STATUS_MAX = -(2**31), 2**31 - 1
TIME_MIN, TIME_MAX = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
MARGIN = timedelta(days=1)  # the clocks of two services may differ
TIME_CHARACTERS = 19  # of an id: its time, and the hyphen before what is random


def keep(session: Session, events: Sequence[Recorded]) -> None:
    """Append the actions to the log."""
    taken = _taken(session, [event.envelope.id for event in events])
    append(session, [_entry(event, taken) for event in events])
    erased = _erased_before(session, events)
    if erased:
        ask_for_erasure(session, erased)


def _taken(session: Session, event_ids: Sequence[str]) -> set[str]:
    """Return the ids that records have already: a list continues after an id, and would skip one of both.

    Newer events cannot have one, because the inbox remembers their ids.
    """
    forgotten = first_id(now(), MARGIN - SEEN_KEPT)
    old = [event_id for event_id in event_ids if event_id < forgotten and LISTABLE.fullmatch(event_id)]
    if not old:
        return set()
    return set(session.connection().execute(select(RECORDS.c.id).where(RECORDS.c.id.in_(old))).scalars())


def _erased_before(session: Session, events: Sequence[Recorded]) -> set[str]:
    """Return the accounts of records that come so late that the erasure no longer waits for them.

    They come after an outage of some days, or as dead events that an admin sends again. The record of an
    erasure (PERSON_ERASED) tells that there was one. If retention has cut it off, or there was nothing to
    erase, what comes late keeps its personal data until it is cut off itself.
    """
    late = [event for event in events if event.timestamp.astimezone(UTC) < now() - LATE]
    named = {name for event in late for name in (event.user_id, event.resource)}
    accounts = [name for name in named if name is not None and LISTABLE.fullmatch(name)]
    if not accounts:
        return set()
    erasures = select(RECORDS.c.resource).where(
        RECORDS.c.resource.in_(accounts), RECORDS.c.action == PERSON_ERASED, RECORDS.c.actor == LOG_ITSELF
    )
    return set(session.connection().execute(erasures).scalars())


def _entry(event: Recorded, taken: Container[str]) -> Entry:
    if event.actor == LOG_ITSELF:
        raise Poison("only the log itself may record its own statements")
    moment = event.timestamp.replace(tzinfo=UTC)
    if not (STATUS_MIN <= event.status <= STATUS_MAX and TIME_MIN < moment < TIME_MAX):
        raise Poison("its status or its timestamp is out of range")
    return Entry(id=_listable(event, taken), **event.model_dump())


def _listable(event: Recorded, taken: Container[str]) -> str:
    """Return the id of the event, or another one if lists could not continue after it or show it elsewhere.

    Services make UUIDs of the current time, but nothing forces them to. One of the future would come
    first for years. One that is older than its timestamp would be missing from lists of that time.
    """
    event_id, present = event.envelope.id, now()
    if LISTABLE.fullmatch(event_id) is None or event_id >= first_id(present, CLOCKS_APART):
        return new_id()
    earliest = first_id(min(event.timestamp.astimezone(UTC), present), -CLOCKS_APART)
    if event_id < earliest or event_id in taken:
        return max(event_id, earliest)[:TIME_CHARACTERS] + new_id()[TIME_CHARACTERS:]
    return event_id


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
