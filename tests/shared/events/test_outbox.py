"""The outbox: events are sent only with the change, under a lease, in order."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, update

from shared.clock import now
from shared.data.database import Database
from shared.events import emit
from shared.events.event import EVENT_BYTES_MAX, KEY_CHARACTERS_MAX, Envelope, Sealed
from shared.events.outbox import BATCH_MAX, LEASE, Batch, Outbox
from tests.shared.events.conftest import TABLES
from tests.shared.events.things import Blocking, Counted, Noted, Shared, waiting


def tell(database: Database, *numbers: int, thing: str = "a") -> None:
    with database.transaction() as session:
        emit(session, *(Counted(thing=thing, number=number) for number in numbers))


def claim(database: Database, outbox: Outbox, subscriber: str = "one") -> Batch | None:
    with database.transaction() as session:
        return outbox.claim(session, subscriber)


def numbers(batch: Batch | None) -> list[int]:
    return [] if batch is None else [opened(body).data["number"] for body in batch.bodies]


def opened(body: str) -> Envelope:
    return Envelope.model_validate_json(body)


def end_leases(database: Database) -> None:
    with database.transaction() as session:
        ended = {"leased_until": now() - timedelta(seconds=1)}
        session.connection().execute(update(TABLES.outbox).values(ended))


def test_event_is_sent_if_and_only_if_the_change_commits(database: Database, outbox: Outbox) -> None:
    def fail_after_telling() -> None:
        with database.transaction() as session:
            emit(session, Counted(thing="a", number=1))
            raise KeyError

    with pytest.raises(KeyError):
        fail_after_telling()
    tell(database, 2)

    assert numbers(claim(database, outbox)) == [2]


def test_every_subscriber_gets_its_own_copy_with_the_same_id(database: Database, outbox: Outbox) -> None:
    with database.transaction() as session:
        emit(session, Shared(thing="a", number=1))

    one, two = claim(database, outbox, "one"), claim(database, outbox, "two")

    assert one is not None
    assert two is not None
    assert one.bodies == two.bodies
    assert opened(one.bodies[0]).source == "counting"


def test_event_without_subscribers_is_not_written(database: Database, outbox: Outbox) -> None:
    with database.transaction() as session:
        emit(session, Blocking(thing="a", number=1))

        assert waiting(session) == 0


@pytest.mark.parametrize("thing", ["a" * EVENT_BYTES_MAX, "a" * KEY_CHARACTERS_MAX])
def test_event_that_its_receiver_would_refuse_is_refused_when_emitted(outbox: Outbox, thing: str) -> None:
    """The receiver would refuse its whole batch, again and again."""
    with pytest.raises(ValueError, match="at most"):
        Sealed("test", Counted(thing=thing, number=1))


def test_size_of_an_event_is_measured_in_bytes() -> None:
    with pytest.raises(ValueError, match="at most"):
        Sealed("test", Noted(thing="a", number=1, note="\u4e2d" * (EVENT_BYTES_MAX // 3)))


def test_delivered_events_are_deleted(database: Database, outbox: Outbox) -> None:
    tell(database, 1, 2)
    batch = claim(database, outbox)
    assert batch is not None

    with database.transaction() as session:
        outbox.arrived(session, batch)

        assert waiting(session) == 0


def test_leased_event_is_not_claimed_again_until_the_lease_ends(database: Database, outbox: Outbox) -> None:
    tell(database, 1)
    first = claim(database, outbox)
    during = claim(database, outbox)
    end_leases(database)
    second = claim(database, outbox)

    assert (numbers(first), numbers(during), numbers(second)) == ([1], [], [1])


def test_only_deliveries_that_the_subscriber_got_but_did_not_answer_count_as_attempts(
    database: Database, outbox: Outbox
) -> None:
    tell(database, 1)
    attempts = []
    for was_tried in (False, True, False, True, False):
        batch = claim(database, outbox)
        assert batch is not None
        attempts.append(batch.attempt)
        with database.transaction() as session:
            outbox.give_back(session, batch, "no answer", was_tried=was_tried)

    assert attempts == [1, 1, 2, 2, 3]


def test_holder_of_an_expired_lease_changes_nothing(database: Database, outbox: Outbox) -> None:
    tell(database, 1)
    late = claim(database, outbox)
    end_leases(database)
    claim(database, outbox)
    assert late is not None

    with database.transaction() as session:
        outbox.arrived(session, late)
        outbox.give_back(session, late, "late")

        assert waiting(session) == 1
    assert claim(database, outbox) is None


def test_later_events_of_a_key_wait_for_earlier_ones_and_others_do_not(
    database: Database, outbox: Outbox
) -> None:
    tell(database, 1)
    first = claim(database, outbox)
    tell(database, 2)
    tell(database, 3, thing="b")

    assert numbers(claim(database, outbox)) == [3]
    assert first is not None
    with database.transaction() as session:
        outbox.give_back(session, first, "no answer")
    end_leases(database)
    assert numbers(claim(database, outbox)) == [1, 2, 3]


def test_clock_set_back_does_not_stop_delivery(database: Database, outbox: Outbox) -> None:
    tell(database, 1)
    claim(database, outbox)
    with database.transaction() as session:
        later = now() + LEASE + timedelta(hours=1)
        session.connection().execute(update(TABLES.outbox).values(leased_until=later))

    assert numbers(claim(database, outbox)) == [1]


def test_batch_is_limited_and_in_order(database: Database, outbox: Outbox) -> None:
    tell(database, *range(BATCH_MAX + 5))

    assert numbers(claim(database, outbox)) == [*range(BATCH_MAX)]


def test_concurrent_claims_get_different_events(database: Database, outbox: Outbox) -> None:
    for number in range(20):
        tell(database, number, thing=str(number))
    taken: list[list[int]] = []
    threads = [
        threading.Thread(target=lambda: taken.append(numbers(claim(database, outbox)))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(number for batch in taken for number in batch) == [*range(20)]


def test_backlog_is_counted(database: Database, outbox: Outbox) -> None:
    tell(database, 1, 2)

    with database.transaction(write=False) as session:
        backlog = outbox.backlog(session)["one"]

    assert backlog.number == 2
    assert now() - backlog.oldest < LEASE


class TestThroughABroker:
    def test_sent_events_are_kept_until_acknowledged(self, database: Database, outbox: Outbox) -> None:
        tell(database, 1, 2)
        self._send(database, outbox, "life", ["0001", "0002"])
        with database.transaction() as session:
            outbox.acknowledged(session, "life", "0002")
            assert waiting(session) == 1
            outbox.acknowledged(session, "life", "0003")
            assert waiting(session) == 0

    def test_later_events_of_a_key_do_not_wait_for_the_acknowledgement(
        self, database: Database, outbox: Outbox
    ) -> None:
        tell(database, 1)
        self._send(database, outbox, "life", ["0001"])
        tell(database, 2)

        assert numbers(claim(database, outbox)) == [2]

    def test_events_sent_to_an_earlier_incarnation_of_the_broker_are_resent(
        self, database: Database, outbox: Outbox
    ) -> None:
        tell(database, 1)
        self._send(database, outbox, "life before", ["0001"])
        with database.transaction() as session:
            outbox.acknowledged(session, "life", "9999")

        assert numbers(claim(database, outbox)) == [1]

    def test_resent_events_come_before_new_ones(self, database: Database, outbox: Outbox) -> None:
        tell(database, 1)
        self._send(database, outbox, "life before", ["0001"])
        tell(database, 2)
        with database.transaction() as session:
            batch = outbox.claim(session, "one", "life")

        assert numbers(batch) == [1, 2]

    def _send(self, database: Database, outbox: Outbox, life: str, entries: list[str]) -> None:
        with database.transaction() as session:
            batch = outbox.claim(session, "one", life)
        assert batch is not None
        with database.transaction() as session:
            outbox.sent(session, batch, entries)

    def test_acknowledged_backlog_is_deleted_in_parts(
        self, database: Database, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Requests can write in between."""
        monkeypatch.setattr("shared.events.outbox.FORGOTTEN_MAX", 2)
        tell(database, *range(5))
        self._send(database, outbox, "life", ["1", "2", "3", "4", "5"])
        left, is_all = [], False
        while not is_all:
            with database.transaction() as session:
                is_all = outbox.acknowledged(session, "life", "6")
                left.append(waiting(session))

        assert left == [3, 1, 0]

    def test_search_for_events_of_an_earlier_incarnation_reads_no_row_of_this_one(
        self, database: Database, outbox: Outbox
    ) -> None:
        """Otherwise each batch would read the whole backlog of sent events."""
        tell(database, *range(50))
        self._send(database, outbox, "life", [f"{number:02}" for number in range(50)])
        tell(database, 50)
        asked: list[tuple[str, Any]] = []

        def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            asked.append((statement, parameters))

        event.listen(database._writing, "before_cursor_execute", note)
        with database.transaction() as session:
            outbox.claim(session, "one", "life")
            touching = [one for one in asked if "sent_in" in one[0]]
            explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN (ANALYZE)"
            plan = [
                str(row)
                for statement, parameters in touching
                for row in session.connection().exec_driver_sql(f"{explain} {statement}", parameters)
            ]

        assert [statement.split()[0] for statement, _ in touching] == ["SELECT"]
        assert "ix_outbox_sent" in " ".join(plan)
        assert not any("Seq Scan" in line for line in plan)
