"""Received events: applied once, in order per key; a failing event affects no other key."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, update
from sqlmodel import Session

from shared.clock import now
from shared.data.database import Database
from shared.errors import Unavailable
from shared.events import Poison
from shared.events.event import Envelope
from shared.events.inbox import SUSPICIOUS_ATTEMPT, Inbox
from shared.events.parked import ATTEMPTS_MAX, DEADLY, NEVER, PAUSE_MAX
from tests.shared.events.conftest import TABLES
from tests.shared.events.things import Blocking, Counted, Shared, applied, apply, envelope, parked


@pytest.fixture
def inbox(database: Database) -> Inbox:
    return Inbox(TABLES, database, {Counted: apply, Blocking: apply})


def seen(database: Database) -> list[int]:
    with database.transaction(write=False) as session:
        return [number for _, number in applied(session)]


def kept(database: Database) -> list[tuple[str, int, bool, str]]:
    with database.transaction(write=False) as session:
        return parked(session)


def make_due(database: Database) -> None:
    """End all pauses; events without a due time keep waiting."""
    parked = TABLES.parked
    with database.transaction() as session:
        over = update(parked).where(parked.c.due < NEVER).values(due=now() - timedelta(seconds=1))
        session.connection().execute(over)


def retry(database: Database, inbox: Inbox) -> bool:
    """Try the next parked event, without waiting for its pause to end."""
    make_due(database)
    return inbox.retry_next()


def test_batch_is_applied_in_order(database: Database, inbox: Inbox) -> None:
    inbox.receive([envelope(1), envelope(2, "b"), envelope(3)])

    assert seen(database) == [1, 2, 3]


def test_event_is_applied_once_however_often_it_arrives(database: Database, inbox: Inbox) -> None:
    one, two = envelope(1), envelope(2)
    inbox.receive([one])
    inbox.receive([one, two, two])
    inbox.receive([two, one], attempt=SUSPICIOUS_ATTEMPT)

    assert seen(database) == [1, 2]
    assert kept(database) == []


@pytest.mark.parametrize("attempt", [1, SUSPICIOUS_ATTEMPT])
def test_event_does_not_take_the_place_of_an_earlier_one_with_its_id(
    database: Database, inbox: Inbox, attempt: int
) -> None:
    """Through Redis, a service can send an event with an id that it has just seen from another service."""
    one = envelope(1)
    inbox.receive([one, envelope(2).model_copy(update={"id": one.id}), envelope(3)], attempt)
    while retry(database, inbox):
        pass

    assert seen(database) == [1, 3]


def test_event_of_a_topic_not_consumed_here_is_ignored(database: Database, inbox: Inbox) -> None:
    inbox.receive([envelope(1, topic="thing.unheard_of")])

    assert (seen(database), kept(database)) == ([], [])


def test_failing_event_is_parked_and_the_others_are_applied(database: Database, inbox: Inbox) -> None:
    inbox.receive([envelope(1), envelope(-1, "bad"), envelope(2)])

    assert seen(database) == [1, 2]
    assert kept(database) == [("thing bad", 1, False, "ValueError('minus one')")]


def test_later_events_wait_for_a_parked_one_of_their_key(database: Database, inbox: Inbox) -> None:
    inbox.receive([envelope(-1), envelope(2), envelope(3, "b")])
    inbox.receive([envelope(4)])

    assert seen(database) == [3]
    assert [(key, attempts) for key, attempts, _, _ in kept(database)] == [
        ("thing a", 1),
        ("thing a", 0),
        ("thing a", 0),
    ]


def test_parked_events_are_applied_in_order_once_the_cause_is_fixed(database: Database) -> None:
    is_broken = True

    def sometimes(session: Session, events: Sequence[Counted]) -> None:
        if is_broken:
            raise ValueError
        apply(session, events)

    inbox = Inbox(TABLES, database, {Counted: sometimes})
    inbox.receive([envelope(number) for number in range(4)])
    assert seen(database) == []
    is_broken = False
    while retry(database, inbox):
        pass

    assert seen(database) == [0, 1, 2, 3]
    assert kept(database) == []


def test_event_is_dead_after_its_attempts_and_later_ones_are_applied(
    database: Database, inbox: Inbox
) -> None:
    inbox.receive([envelope(-1), envelope(2)])
    while retry(database, inbox):
        pass

    assert seen(database) == [2]
    assert kept(database) == [("thing a", ATTEMPTS_MAX, True, "ValueError('minus one')")]


def test_dead_event_that_blocks_still_holds_back_its_key(database: Database, inbox: Inbox) -> None:
    inbox.receive([envelope(-2, topic="thing.blocking"), envelope(2, topic="thing.blocking")])
    inbox.receive([envelope(3)])
    while retry(database, inbox):
        pass

    assert seen(database) == []
    assert [dead for _, _, dead, _ in kept(database)] == [True, False, False]


def test_poison_is_dead_at_once(database: Database, inbox: Inbox) -> None:
    inbox.receive([envelope(-2)])

    assert kept(database) == [("thing a", 1, True, "minus two")]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (
            {"version": 2},
            "ValueError('this service does not know version 2 of thing.counted yet; update the service')",
        ),
        ({"data": {"thing": "a"}}, "its fields do not match its topic"),
    ],
)
def test_unreadable_event_is_parked_with_the_reason(
    database: Database, inbox: Inbox, wrong: dict[str, Any], reason: str
) -> None:
    inbox.receive([envelope(1, **wrong), envelope(2, "b")])

    assert seen(database) == [2]
    assert kept(database)[0][3].startswith(reason)


def test_attempt_is_counted_before_a_suspicious_event_is_tried(database: Database) -> None:
    def die(_session: Session, _events: Sequence[Counted]) -> None:
        raise SystemExit  # as near to a killed process as a thread can come

    inbox = Inbox(TABLES, database, {Counted: die})
    inbox.receive([envelope(1)], attempt=SUSPICIOUS_ATTEMPT)
    for attempts in range(1, ATTEMPTS_MAX + 1):
        with pytest.raises(SystemExit):
            retry(database, inbox)
        assert kept(database)[0][1] == attempts

    assert retry(database, inbox)
    assert not retry(database, inbox)
    sent_often = "it was sent several times without success"
    assert kept(database)[0][2:] == (True, f"{DEADLY}; before that: {sent_often}")


def test_sender_keeps_its_events_while_the_database_is_unreachable(database: Database) -> None:
    def unavailable(_session: Session, _events: Sequence[Counted]) -> None:
        raise Unavailable

    inbox = Inbox(TABLES, database, {Counted: unavailable, Shared: apply})
    with pytest.raises(Unavailable):
        inbox.receive([envelope(1)])

    assert kept(database) == []
    inbox_again = Inbox(TABLES, database, {Counted: apply})
    inbox_again.receive([envelope(1)])
    assert seen(database) == [1]


def test_claim_that_was_taken_over_applies_nothing(database: Database, inbox: Inbox) -> None:
    """Its verdict that the event is poison is ignored as well."""
    inbox.receive([envelope(-1)])
    make_due(database)
    with database.transaction() as session:
        late = inbox.parked.claim(session)
    retry(database, inbox)
    with database.transaction() as session:
        assert not inbox.parked.take_out(session, late)
        inbox.parked.put_back(session, late[0], Poison("late"), reason="late", dead=True)

    assert kept(database) == [("thing a", 3, False, "ValueError('minus one')")]


def test_late_claim_does_not_take_another_event_that_reuses_its_number(
    database: Database, inbox: Inbox
) -> None:
    """SQLite reuses the number of a deleted last row."""
    inbox.receive([envelope(-1)])
    make_due(database)
    with database.transaction() as session:
        late = inbox.parked.claim(session)
        session.connection().execute(delete(TABLES.parked))
    inbox.receive([envelope(-1, "b")])
    make_due(database)
    with database.transaction() as session:
        (other,) = inbox.parked.claim(session)
        session.connection().execute(update(TABLES.parked).values(seq=late[0].seq))

        assert not inbox.parked.take_out(session, late)
        assert inbox.parked.take_out(session, [other])


def test_clock_set_back_does_not_stop_retries(database: Database, inbox: Inbox) -> None:
    inbox.receive([envelope(-1)])
    with database.transaction() as session:
        later = now() + PAUSE_MAX + timedelta(minutes=1)
        session.connection().execute(update(TABLES.parked).values(due=later))

    assert inbox.retry_next()


def test_parked_envelope_is_stored_unchanged(database: Database, inbox: Inbox) -> None:
    sent = envelope(-1, request_id="r-1")
    inbox.receive([sent])
    with database.transaction(write=False) as session:
        body = session.connection().execute(TABLES.parked.select()).one().body

    assert Envelope.model_validate_json(body) == sent
