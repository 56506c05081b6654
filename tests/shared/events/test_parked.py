"""Parked events: tried in batches, found by an index; nothing waits for events that are gone."""

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Row, event, text, update
from sqlmodel import Session

from shared.clock import now
from shared.data.database import Database, TookTooLong
from shared.errors import Unavailable
from shared.events.dead import DeadLetters
from shared.events.inbox import SUSPICIOUS_ATTEMPT, Inbox
from shared.events.parked import ATTEMPTS_MAX, NEVER, RUN_MAX
from shared.events.spine import DEAD_KEPT, SEEN_KEPT, Spine
from shared.events.tables import EventTables
from tests.shared.events.conftest import TABLES
from tests.shared.events.test_inbox import kept, retry, seen
from tests.shared.events.things import Blocking, Counted, Impatient, apply, envelope

WAITING = 4 * RUN_MAX
SECONDS = 20


@pytest.fixture
def inbox(database: Database) -> Inbox:
    return Inbox(TABLES, database, {Counted: apply, Blocking: apply, Impatient: apply})


@pytest.fixture
def statements(database: Database) -> list[tuple[str, Any]]:
    """Record every statement sent to the database, with its parameters."""
    sent: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
        sent.append((statement, parameters))

    for engine in {database.engine, database._writing}:
        event.listen(engine, "before_cursor_execute", note)
    return sent


def due(database: Database) -> list[bool]:
    """Whether each parked event has a due time, in order."""
    with database.transaction(write=False) as session:
        rows = session.connection().execute(TABLES.parked.select().order_by(TABLES.parked.c.seq))
        return [row.due < NEVER for row in rows]


def test_batch_on_its_third_attempt_is_not_yet_suspicious(database: Database, inbox: Inbox) -> None:
    inbox.receive([envelope(1)], attempt=3)

    assert seen(database) == [1]


def test_batch_on_its_fourth_attempt_is_parked_before_it_is_tried(database: Database, inbox: Inbox) -> None:
    inbox.receive([envelope(1), envelope(2), envelope(3, "b")], attempt=4)

    assert SUSPICIOUS_ATTEMPT == 4
    assert seen(database) == []
    assert due(database) == [True, False, True]


def test_waiting_events_of_one_key_are_applied_in_batches(
    database: Database, inbox: Inbox, statements: list[tuple[str, Any]]
) -> None:
    for start in range(0, WAITING, 200):
        batch = [envelope(number) for number in range(start, start + 200)]
        inbox.receive(batch, attempt=SUSPICIOUS_ATTEMPT)
    statements.clear()
    rounds = 0
    while inbox.retry_next():
        rounds += 1

    assert seen(database) == [*range(WAITING)]
    assert rounds == WAITING / RUN_MAX
    overhead = [one for one, _ in statements if "INSERT INTO applied" not in one]
    assert len(overhead) < 20 * rounds


def test_events_of_many_keys_are_applied_in_one_batch_in_order_per_key(
    database: Database, inbox: Inbox
) -> None:
    batch = [envelope(number, f"thing {number % 7}") for number in range(100)]
    inbox.receive(batch, attempt=SUSPICIOUS_ATTEMPT)

    assert inbox.retry_next()
    assert not inbox.retry_next()
    assert sorted(seen(database)) == [*range(100)]
    with database.transaction(write=False) as session:
        rows = session.connection().execute(text("SELECT thing, number FROM applied ORDER BY place")).all()
    for number in range(7):
        assert [row.number for row in rows if row.thing == f"thing {number}"] == [*range(number, 100, 7)]


def test_failing_event_in_a_batch_holds_back_only_its_own_key(database: Database, inbox: Inbox) -> None:
    bad = [envelope(1), envelope(-1), envelope(2)]
    inbox.receive([*bad, envelope(3, "b"), envelope(4, "b")], attempt=SUSPICIOUS_ATTEMPT)
    inbox.retry_next()

    assert sorted(seen(database)) == [1, 3, 4]
    assert [(key, attempts) for key, attempts, _, _ in kept(database)] == [("thing a", 1), ("thing a", 0)]
    while retry(database, inbox):
        pass
    assert sorted(seen(database)) == [1, 2, 3, 4]
    assert [(attempts, dead) for _, attempts, dead, _ in kept(database)] == [(ATTEMPTS_MAX, True)]


@pytest.mark.parametrize("attempt", [1, SUSPICIOUS_ATTEMPT])
def test_event_that_does_not_wait_is_applied_before_a_failing_one_of_its_key(
    database: Database, inbox: Inbox, attempt: int
) -> None:
    topic = Impatient.topic
    inbox.receive([envelope(-1, topic=topic), envelope(1, topic=topic)], attempt=attempt)
    inbox.receive([envelope(2, topic=topic), envelope(3)])
    while inbox.retry_next():
        pass

    assert sorted(seen(database)) == [1, 2, 3]
    assert [(attempts, dead) for _, attempts, dead, _ in kept(database)] == [(1, False)]


def test_poison_in_a_batch_is_dead_and_later_events_are_applied(database: Database, inbox: Inbox) -> None:
    inbox.receive([envelope(1), envelope(-2), envelope(2)], attempt=SUSPICIOUS_ATTEMPT)
    while inbox.retry_next():
        pass

    assert seen(database) == [1, 2]
    assert [(dead, reason) for _, _, dead, reason in kept(database)] == [(True, "minus two")]


def test_batch_in_progress_during_a_crash_is_tried_one_by_one(database: Database) -> None:
    tried: list[list[int]] = []

    def die(session: Session, events: Sequence[Counted]) -> None:
        tried.append([one.number for one in events])
        if -1 in tried[-1]:
            raise SystemExit  # as near to a killed process as a thread can come
        apply(session, events)

    inbox = Inbox(TABLES, database, {Counted: die})
    inbox.receive([envelope(1), envelope(-1), envelope(2)], attempt=SUSPICIOUS_ATTEMPT)
    while len(kept(database)) != 1 or not kept(database)[0][2]:
        try:
            retry(database, inbox)
        except SystemExit:
            continue

    assert tried == [[1, -1, 2], [1], *[[-1]] * (ATTEMPTS_MAX - 1), [2]]
    while retry(database, inbox):
        pass
    assert seen(database) == [1, 2]


class Held(Inbox):
    """A replica that is delayed before it tries one event alone."""

    def __init__(self, database: Database, before: str, meanwhile: Callable[[], None]) -> None:
        super().__init__(TABLES, database, {Counted: apply_alone})
        self._before, self._meanwhile = before, meanwhile

    def _apply_parked(self, rows: Sequence[Row[Any]], *, following: Row[Any] | None = None) -> bool:
        if [row.id for row in rows] == [self._before]:
            self._meanwhile()
        return super()._apply_parked(rows, following=following)


def apply_alone(session: Session, events: Sequence[Counted]) -> None:
    if len(events) > 1:
        raise ValueError("one by one")
    apply(session, events)


def test_event_claimed_by_another_replica_is_not_overtaken(database: Database, inbox: Inbox) -> None:
    events = [envelope(1), envelope(2), envelope(3)]
    tried_too_early: list[bool] = []

    def another_replica_takes_the_second() -> None:
        tried_too_early.append(inbox.retry_next())
        second = TABLES.parked.c.id == events[1].id
        with database.transaction() as session:  # as when the claim has expired
            session.connection().execute(update(TABLES.parked).where(second).values(due=now()))
        with database.transaction() as session:
            assert [row.id for row in inbox.parked.claim(session)] == [events[1].id]

    held = Held(database, events[1].id, another_replica_takes_the_second)
    held.receive(events, attempt=SUSPICIOUS_ATTEMPT)
    held.retry_next()

    assert tried_too_early == [False]
    assert seen(database) == [1]
    while retry(database, inbox):
        pass
    assert seen(database) == [1, 2, 3]


@pytest.mark.parametrize("number", [1, 3])
def test_unreachable_database_does_not_count_as_an_attempt(database: Database, number: int) -> None:
    is_away = True

    def sometimes(session: Session, events: Sequence[Counted]) -> None:
        if is_away:
            raise Unavailable
        apply(session, events)

    inbox = Inbox(TABLES, database, {Counted: sometimes})
    inbox.receive([envelope(one) for one in range(number)], attempt=SUSPICIOUS_ATTEMPT)
    for _ in range(2 * ATTEMPTS_MAX):
        with pytest.raises(Unavailable):
            inbox.retry_next()
    is_away = False
    while inbox.retry_next():
        pass

    assert seen(database) == [*range(number)]


def test_statement_that_takes_too_long_counts_as_an_attempt(database: Database) -> None:
    def slow(_session: Session, _events: Sequence[Counted]) -> None:
        raise TookTooLong

    inbox = Inbox(TABLES, database, {Counted: slow})
    inbox.receive([envelope(1)])
    assert [attempts for _, attempts, _, _ in kept(database)] == [1]
    while retry(database, inbox):
        pass

    assert [(attempts, dead) for _, attempts, dead, _ in kept(database)] == [(ATTEMPTS_MAX, True)]


def test_cancelled_statement_is_distinguished_from_an_unreachable_database(
    postgresql_server: str,
) -> None:
    database = Database(postgresql_server, pool_size=1)

    def sleep() -> None:
        with database.transaction() as session:
            session.connection().execute(text("SET LOCAL statement_timeout = 20"))
            session.connection().execute(text("SELECT pg_sleep(5)"))

    with pytest.raises(TookTooLong):
        sleep()
    database.close()


def test_events_that_waited_for_a_dropped_dead_letter_are_applied(database: Database, inbox: Inbox) -> None:
    blocking = "thing.blocking"
    inbox.receive([envelope(-2, topic=blocking), envelope(2, topic=blocking), envelope(3, topic=blocking)])
    assert not inbox.retry_next()
    letters = DeadLetters(TABLES)
    with database.transaction() as session:
        letters.drop(session, letters.oldest(session))
    while inbox.retry_next():
        pass

    assert seen(database) == [2, 3]


def test_replayed_dead_letter_is_applied_before_the_events_that_wait_for_it(database: Database) -> None:
    is_broken = True

    def sometimes(session: Session, events: Sequence[Counted]) -> None:
        if is_broken and any(one.number == 1 for one in events):
            raise ValueError
        apply(session, events)

    inbox = Inbox(TABLES, database, {Blocking: sometimes})
    inbox.receive([envelope(number, topic="thing.blocking") for number in (1, 2)])
    while retry(database, inbox):
        pass
    assert seen(database) == []
    is_broken = False
    letters = DeadLetters(TABLES)
    with database.transaction() as session:
        letters.replay(session, letters.oldest(session))
    while inbox.retry_next():
        pass

    assert seen(database) == [1, 2]


def test_events_parked_by_an_older_version_are_applied_in_order(database: Database, inbox: Inbox) -> None:
    """The older version gave every row a due time, including waiting and dead ones."""
    blocking = "thing.blocking"
    inbox.receive([envelope(-2, "b", topic=blocking), envelope(9, "b", topic=blocking)])
    inbox.receive([envelope(number) for number in range(5)], attempt=SUSPICIOUS_ATTEMPT)
    with database.transaction() as session:
        session.connection().execute(update(TABLES.parked).values(due=now() - timedelta(minutes=1)))
    while inbox.retry_next():
        pass

    assert seen(database) == [*range(5)]
    assert due(database) == [False, False]


def test_event_of_a_topic_no_longer_consumed_is_postponed(database: Database, inbox: Inbox) -> None:
    inbox.receive([envelope(1)], attempt=SUSPICIOUS_ATTEMPT)
    other = Inbox(TABLES, database, {Blocking: apply})

    assert other.retry_next()
    assert not other.retry_next()
    assert retry(database, inbox)
    assert seen(database) == [1]


def test_search_for_due_events_scans_no_table(
    database: Database, inbox: Inbox, statements: list[tuple[str, Any]]
) -> None:
    """Of 6,000 events, half have the same key, and each of the others has its own."""
    for start in range(0, 6000, 200):
        pairs = ((number, "a" if number % 2 else f"b{number}") for number in range(start, start + 200))
        inbox.receive([envelope(number, thing) for number, thing in pairs], attempt=SUSPICIOUS_ATTEMPT)
    with database.transaction() as session:
        session.connection().execute(text("ANALYZE"))
    statements.clear()
    inbox.retry_next()
    asked = [(one, values) for one, values in statements if one.startswith("SELECT parked")]
    assert len(asked) >= 4
    with database.engine.connect() as connection:
        for statement, values in asked:
            explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
            plan = "\n".join(
                str(row[-1]) for row in connection.exec_driver_sql(f"{explain} {statement}", values)
            )
            assert "Seq Scan on parked" not in plan, statement + plan
            assert not any(line.startswith("SCAN") for line in plan.splitlines()), statement + plan


def test_event_that_arrives_while_a_parked_one_of_its_key_is_applied_follows_it(database: Database) -> None:
    is_applying, may_go_on = threading.Event(), threading.Event()

    def slowly(session: Session, events: Sequence[Counted]) -> None:
        if events[0].number == 1:
            is_applying.set()
            assert may_go_on.wait(SECONDS)
        apply(session, events)

    inbox = Inbox(TABLES, database, {Counted: slowly})
    inbox.receive([envelope(1)], attempt=SUSPICIOUS_ATTEMPT)
    retrying = threading.Thread(target=inbox.retry_next)
    retrying.start()
    assert is_applying.wait(SECONDS)
    receiving = threading.Thread(target=inbox.receive, args=([envelope(2)],))
    receiving.start()
    receiving.join(0.2)  # on both databases it waits for the first event
    may_go_on.set()
    retrying.join(SECONDS)
    receiving.join(SECONDS)
    while inbox.retry_next():
        pass

    assert seen(database) == [1, 2]
    assert kept(database) == []


class _Tidied(Spine):
    def __init__(self, tables: EventTables, inbox: Inbox) -> None:
        self._tables, self.inbox = tables, inbox


def test_duplicate_is_recognised_for_two_weeks(database: Database, inbox: Inbox) -> None:
    one = envelope(1)
    inbox.receive([one])
    tidied = _Tidied(TABLES, inbox)
    for age, times in ((timedelta(days=13), 1), (timedelta(days=15), 2)):
        with database.transaction() as session:
            session.connection().execute(update(TABLES.inbox).values(received=now() - age))
            tidied._tidy(session)
        inbox.receive([one])
        assert seen(database) == [1] * times

    assert timedelta(days=13) < SEEN_KEPT < timedelta(days=15)


def test_dead_letter_is_kept_for_a_month_and_then_holds_nothing_back(
    database: Database, inbox: Inbox
) -> None:
    inbox.receive([envelope(-2, topic="thing.blocking"), envelope(2, topic="thing.blocking")])
    tidied = _Tidied(TABLES, inbox)
    for age, left in ((DEAD_KEPT - timedelta(days=1), 2), (DEAD_KEPT + timedelta(days=1), 1)):
        with database.transaction() as session:
            session.connection().execute(update(TABLES.parked).values(received=now() - age))
            tidied._tidy(session)
        assert len(kept(database)) == left
    assert inbox.retry_next()

    assert seen(database) == [2]
    assert timedelta(days=29) < DEAD_KEPT < timedelta(days=31)


def test_event_whose_claim_expired_is_found_again_if_the_process_dies_before_its_turn(
    database: Database, inbox: Inbox
) -> None:
    inbox.receive([envelope(1), envelope(2)], attempt=SUSPICIOUS_ATTEMPT)
    with database.transaction() as session:
        first, second = inbox.parked.claim(session)
        expire(session)
    with database.transaction() as session:
        inbox.parked._first_in_line(session)  # as another process does before it claims an event
    assert due(database) == [True, False]

    assert inbox._apply_parked([first], following=second)
    assert due(database) == [True]
    with database.transaction() as session:
        expire(session)
    while inbox.retry_next():
        pass
    assert seen(database) == [1, 2]


def expire(session: Session) -> None:
    session.connection().execute(update(TABLES.parked).values(due=now() - timedelta(seconds=1)))
