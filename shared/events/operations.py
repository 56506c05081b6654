"""The endpoints with which admins look at a service's undelivered events, replay dead ones and drop them.

Unsent events are those of this service that a subscriber has not received. The others were received by it.
"""

import base64
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Self

from pydantic import Field
from sqlalchemy import Row
from sqlmodel import Session

from shared.errors import FieldFault, Invalid, NotFound
from shared.events.dead import DeadLetters
from shared.events.event import Envelope
from shared.events.parked import NEVER
from shared.events.undelivered import Place, Undelivered
from shared.http.operations import Operation
from shared.http.schemas import Id, Input, Output, Page, example
from shared.http.trail import Trail
from shared.identity.tokens import admin
from shared.lists.pagination import PageQuery

SCOPE = "admin:events"
IDS_MAX = 100
UNSENT_MAX = 100  # in a page; each is read with its content
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_CURSOR = re.compile(r"([0-9]{1,16})\.([0-9]{1,18})")
_EVENT = {
    "id": "0197a3e2-5c1d-7b44-9d0e-6f2a8c3b1e57",
    "topic": "thing.changed",
    "key": "thing 0197a3e2-0000-7b44-9d0e-6f2a8c3b1e57",
    "state": "dead",
    "attempts": 8,
    "received": "2026-11-02T08:00:00Z",
    "due": None,
    "blocks": False,
    "reason": "its fields do not match its topic",
}


class WaitingEvents(Output):
    """The events that wait for one subscriber; `attempts` and `last_error` are those of the oldest."""

    subscriber: str
    number: int = Field(description="Counted up to 100,000.")
    oldest: datetime | None
    attempts: int
    last_error: str | None


class EventSummary(Output):
    """How many events wait for subscribers, are retried, and are dead; each counted up to 100,000."""

    model_config = example(
        {
            "waiting": [
                {"subscriber": "another", "number": 0, "oldest": None, "attempts": 0, "last_error": None}
            ],
            "parked": 0,
            "dead": 1,
        }
    )

    waiting: list[WaitingEvents]
    parked: int
    dead: int


class UnsentEvent(Output):
    """An event of the service that waits for a subscriber; `attempts` counts those to send it."""

    model_config = example(
        {name: _EVENT[name] for name in ("id", "topic", "key")}
        | {"created": "2026-11-02T08:00:00Z", "attempts": 3, "last_error": "ConnectError('refused')"}
    )

    id: str
    topic: str
    key: str
    created: datetime
    attempts: int
    last_error: str | None

    @classmethod
    def of(cls, row: Row[Any]) -> Self:
        event = Envelope.model_validate_json(row.body)
        return cls.unchecked(event.model_dump(include={"id", "topic", "key"}) | row._asdict())


class UndeliveredEvent(Output):
    """A received event that is not applied; `due` is null while it waits for an earlier one, or is dead.

    `blocks` means that later events of its `key` wait until it is replayed or dropped.
    """

    model_config = example(_EVENT)

    id: str
    topic: str
    key: str
    state: Literal["parked", "dead"]
    attempts: int
    received: datetime
    due: datetime | None
    blocks: bool
    reason: str | None

    @classmethod
    def of(cls, row: Row[Any], **more: Any) -> Self:
        computed = {"state": "dead" if row.dead else "parked", "due": None if row.due == NEVER else row.due}
        return cls.unchecked(row._asdict(), **computed, **more)


class UndeliveredEventContent(UndeliveredEvent):
    """An undelivered event with its content, as its sender wrote it."""

    model_config = example(
        _EVENT
        | {
            "source": "things",
            "version": 1,
            "time": "2026-11-02T07:59:59Z",
            "request_id": None,
            "data": {"thing_id": "0197a3e2-0000-7b44-9d0e-6f2a8c3b1e57"},
        }
    )

    source: str
    version: int
    time: datetime
    request_id: str | None
    data: dict[str, Any]


class ListUndeliveredEvents(PageQuery):
    """Which undelivered events to list."""

    state: Literal["parked", "dead"] = Field(default="dead", description="Those to be retried, or dead ones.")


class ListUnsentEvents(PageQuery):
    """For which subscriber to list the events that wait."""

    limit: int = Field(default=50, ge=1, le=UNSENT_MAX, description="Rows per page.")
    subscriber: str = Field(min_length=1, max_length=50, description="Its name; `*` for the broker.")


class ChosenEvents(Input):
    """Dead events by id."""

    model_config = example({"ids": [_EVENT["id"]]})

    ids: list[Id] = Field(min_length=1, max_length=IDS_MAX)


class ChangedEvents(Output):
    """The ids of the events that were dead until now; an id is missing if its event was not dead."""

    model_config = example({"ids": [_EVENT["id"]]})

    ids: list[str]


def event_operations(service: str) -> list[Operation]:
    """Return operations to count, list, show, replay and drop the undelivered events of a service."""
    path = f"/events/{service}"
    return [
        Operation("GET", path, show_event_summary, access=admin, scope=SCOPE, recorded=False),
        Operation("GET", f"{path}/unsent", list_unsent_events, access=admin, scope=SCOPE),
        Operation("GET", f"{path}/undelivered", list_undelivered_events, access=admin, scope=SCOPE),
        Operation(
            "GET", f"{path}/undelivered/{{event_id}}", show_undelivered_event, access=admin, scope=SCOPE
        ),
        Operation("POST", f"{path}/replay", replay_dead_events, access=admin, scope=SCOPE),
        Operation("POST", f"{path}/drop", drop_dead_events, access=admin, scope=SCOPE),
    ]


def show_event_summary(undelivered: Undelivered, session: Session) -> EventSummary:
    """Count the undelivered events of the service: those that wait, are retried, and are dead."""
    parked, dead = undelivered.census(session)
    waiting = [WaitingEvents.model_validate(one) for one in undelivered.waiting(session)]
    return EventSummary(waiting=waiting, parked=parked, dead=dead)


def list_unsent_events(
    query: ListUnsentEvents, undelivered: Undelivered, session: Session
) -> Page[UnsentEvent]:
    """List the events of the service that wait for a subscriber, in the order in which they are sent."""
    after = 0 if query.cursor is None else _place(query.cursor)[1]
    rows = undelivered.unsent(session, query.subscriber, query.limit + 1, after=after)
    page = rows[: query.limit]
    following = _cursor(page[-1].created, page[-1].seq) if len(rows) > query.limit else None
    return Page(items=[UnsentEvent.of(row) for row in page], next=following)


def list_undelivered_events(
    query: ListUndeliveredEvents, undelivered: Undelivered, session: Session
) -> Page[UndeliveredEvent]:
    """List the events that the service received and has not applied, newest first."""
    before = None if query.cursor is None else _place(query.cursor)
    rows = undelivered.newest(session, query.limit + 1, dead=query.state == "dead", before=before)
    page = rows[: query.limit]
    following = _cursor(page[-1].received, page[-1].seq) if len(rows) > query.limit else None
    return Page(items=[UndeliveredEvent.of(row) for row in page], next=following)


def show_undelivered_event(
    event_id: Id, undelivered: Undelivered, session: Session
) -> UndeliveredEventContent:
    """Show an undelivered event with its content."""
    row = undelivered.find(session, event_id)
    if row is None:
        raise NotFound
    event = Envelope.model_validate_json(row.body)
    content = event.model_dump(include={"source", "version", "time", "request_id", "data"})
    return UndeliveredEventContent.of(row, **content)


def replay_dead_events(
    body: ChosenEvents, letters: DeadLetters, session: Session, trail: Trail
) -> ChangedEvents:
    """Let the service retry dead events, each key in order of arrival."""
    changed = letters.replay(session, letters.those(session, body.ids))
    return _changed(trail, {one.id: one.topic for one in changed})


def drop_dead_events(
    body: ChosenEvents, letters: DeadLetters, session: Session, trail: Trail
) -> ChangedEvents:
    """Delete dead events without applying them. Later events that they blocked continue."""
    changed = letters.drop(session, letters.those(session, body.ids))
    return _changed(trail, {one.id: one.topic for one in changed})


def _changed(trail: Trail, topics: dict[str, str]) -> ChangedEvents:
    trail.resource = next(iter(topics)) if len(topics) == 1 else f"{len(topics)} events"
    trail.add(topics=topics)
    return ChangedEvents(ids=[*topics])


def _cursor(at: datetime, number: int) -> str:
    text = f"{(at - _EPOCH) // _MICROSECOND}.{number}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _place(cursor: str) -> Place:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except ValueError:
        text = ""
    found = _CURSOR.fullmatch(text)
    if found is None:
        message = "is not a cursor; take it from the Link header of the previous page"
        raise Invalid(errors=[FieldFault(field="cursor", code="invalid_cursor", message=message)])
    return _EPOCH + int(found[1]) * _MICROSECOND, int(found[2])
