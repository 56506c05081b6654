import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from shared.clock import now
from shared.data.database import Database
from shared.ids import new_id
from shared.work import leased
from shared.work.leased import NEVER, SPENT, Leased, LeaseLost, Queue
from tests.shared.work.conftest import WORK

QUEUE = Queue(WORK, "mail", lease=timedelta(seconds=30), attempts_max=3)
AT_ONCE = timedelta(0)


def add(database: Database, body: str = "{}", **options: Any) -> str:
    with database.transaction() as session:
        return QUEUE.add(session, body, **options)


def claim(database: Database, number: int = 10, queue: Queue = QUEUE) -> list[Leased]:
    with database.transaction() as session:
        return queue.claim(session, number)


def rows(database: Database) -> dict[str, Any]:
    with database.transaction(write=False) as session:
        return {row.id: row for row in session.connection().execute(select(WORK.work))}


def expire(database: Database, one: Leased) -> None:
    with database.transaction() as session:
        past = update(WORK.work).where(WORK.work.c.id == one.id).values(due=now() - timedelta(seconds=1))
        session.connection().execute(past)


def finish(database: Database, one: Leased) -> None:
    with database.transaction() as session:
        QUEUE.finish(session, one)


def test_work_is_claimed_in_order_of_its_due_time(database: Database) -> None:
    later, first = add(database, "later", after=timedelta(hours=1)), add(database, "first")
    second = add(database, "second")

    assert [one.id for one in claim(database, 1)] == [first]
    assert [(one.id, one.body, one.attempts) for one in claim(database)] == [(second, "second", 1)]
    assert claim(database) == []
    assert rows(database)[later].lease is None


def test_work_of_another_queue_is_not_claimed(database: Database) -> None:
    add(database)
    assert claim(database, queue=Queue(WORK, "reports")) == []


def test_work_of_a_failed_transaction_is_not_added(database: Database) -> None:
    def fails(session: Session) -> None:
        QUEUE.add(session, "{}")
        raise RuntimeError

    with pytest.raises(RuntimeError), database.transaction() as session:
        fails(session)
    assert rows(database) == {}


def test_finished_work_leaves_no_row(database: Database) -> None:
    add(database)
    finish(database, claim(database)[0])
    assert rows(database) == {}


@pytest.mark.parametrize("step", ["renew", "finish", "retry", "put_off", "give_up"])
def test_worker_with_an_expired_lease_cannot_change_the_work_of_another(
    database: Database, step: str
) -> None:
    add(database)
    [old] = claim(database)
    expire(database, old)
    [new] = claim(database)
    before = rows(database)
    arguments: dict[str, tuple[Any, ...]] = {
        "retry": (AT_ONCE, "late"),
        "put_off": (AT_ONCE,),
        "give_up": ("late",),
    }
    options = {"attempts": 0} if step == "put_off" else {}

    with pytest.raises(LeaseLost), database.transaction() as session:
        getattr(QUEUE, step)(session, old, *arguments.get(step, ()), **options)
    assert rows(database) == before
    finish(database, new)


def test_lost_lease_rolls_back_what_was_done_in_the_same_transaction(database: Database) -> None:
    add(database)
    [old] = claim(database)
    expire(database, old)
    claim(database)

    def finishes_late(session: Session) -> None:
        QUEUE.add(session, "an effect")
        QUEUE.finish(session, old)

    with pytest.raises(LeaseLost), database.transaction() as session:
        finishes_late(session)
    assert [row.body for row in rows(database).values()] == ["{}"]


def test_several_are_finished_together_only_if_none_is_lost(database: Database) -> None:
    add(database, key="a"), add(database, key="b")
    waiting = add(database, key="a")
    mine = claim(database)
    with database.transaction() as session:
        QUEUE.retry(session, mine[1], AT_ONCE, "failed")
    others = claim(database)

    def finish_all(some: list[Leased]) -> None:
        with database.transaction() as session:
            QUEUE.hold(session, some)
            QUEUE.finish_held(session, some)

    with pytest.raises(LeaseLost):
        finish_all(mine)
    assert len(rows(database)) == 3, "nothing was finished"
    finish_all([mine[0], *others])
    assert [one.id for one in claim(database)] == [waiting], "and the next of a key is due"


def test_renewed_lease_does_not_expire(database: Database) -> None:
    add(database)
    [one] = claim(database)
    expire(database, one)
    with database.transaction() as session:
        QUEUE.renew(session, one)
    assert claim(database) == []


def test_retried_work_is_due_after_its_pause_and_counts_attempts(database: Database) -> None:
    work_id = add(database)
    for attempt in (1, 2, 3):
        [one] = claim(database)
        assert one.attempts == attempt
        with database.transaction() as session:
            assert QUEUE.retry(session, one, AT_ONCE, "refused") is (attempt < 3)
    assert claim(database) == []
    row = rows(database)[work_id]
    assert (row.due, row.error, row.lease) == (NEVER, "refused", None)
    assert row.given_up is not None


def test_retried_work_is_not_due_before_its_pause(database: Database) -> None:
    add(database)
    [one] = claim(database)
    with database.transaction() as session:
        QUEUE.retry(session, one, timedelta(minutes=1), "refused")
    assert claim(database) == []


def test_work_that_kills_its_workers_is_given_up(database: Database) -> None:
    work_id = add(database)
    for _ in range(3):
        [one] = claim(database)
        expire(database, one)
    assert claim(database) == []
    assert rows(database)[work_id].error == SPENT


def test_work_of_one_key_runs_one_at_a_time_in_order(database: Database) -> None:
    ids = [add(database, str(number), key="a") for number in range(3)]
    other = add(database, key="b")
    assert {one.id for one in claim(database)} == {ids[0], other}
    assert claim(database) == []
    for work_id, following in zip(ids, [*ids[1:], None], strict=True):
        row = rows(database)[work_id]
        finish(database, Leased(row.id, row.lease, row.key, row.body, row.attempts))
        assert [one.id for one in claim(database)] == ([following] if following else [])


def test_next_work_of_a_key_runs_after_one_was_given_up(database: Database) -> None:
    add(database, key="a")
    second = add(database, key="a")
    with database.transaction() as session:
        QUEUE.give_up(session, QUEUE.claim(session, 1)[0], "no")
    assert [one.id for one in claim(database)] == [second]


def test_withdrawn_work_never_runs_and_the_next_of_its_key_does(database: Database) -> None:
    first, second, third = (add(database, key="a") for _ in range(3))
    with database.transaction() as session:
        assert QUEUE.withdraw(session, second)
        assert QUEUE.withdraw(session, first)
    [one] = claim(database)
    assert one.id == third
    with database.transaction() as session:
        assert not QUEUE.withdraw(session, third), "a worker has it"


def test_withdrawing_waiting_work_does_not_start_another_of_its_key(database: Database) -> None:
    """Ids made by a replica with a slow clock sort before existing ones."""
    first = add(database, key="a", work_id="9")
    add(database, key="a", work_id="1")
    add(database, key="a", work_id="2")
    with database.transaction() as session:
        QUEUE.withdraw(session, "1")
    assert [one.id for one in claim(database)] == [first]


def test_database_refuses_two_leases_of_one_key(database: Database) -> None:
    row = {"queue": "mail", "key": "a", "body": "", "created": now(), "due": now(), "attempts": 1}
    both = [{**row, "id": name, "lease": name} for name in "ab"]
    with pytest.raises(IntegrityError), database.transaction() as session:
        session.connection().execute(insert(WORK.work), both)


def test_work_with_an_existing_id_is_not_added_again(database: Database) -> None:
    with database.transaction() as session:
        assert QUEUE.add_once(session, "daily")
        assert not QUEUE.add_once(session, "daily")
    assert len(claim(database)) == 1


def test_body_that_is_too_long_is_refused(database: Database) -> None:
    with pytest.raises(ValueError, match="more than 65536 characters"):
        add(database, "x" * 65537)


def test_number_of_given_up_rows_is_limited(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leased, "GIVEN_UP_ROWS_MAX", 2)
    for number in range(4):
        add(database, str(number))
        with database.transaction() as session:
            QUEUE.give_up(session, QUEUE.claim(session, 1)[0], "no")
    with database.transaction() as session:
        QUEUE.tidy(session)
    assert sorted(row.body for row in rows(database).values()) == ["2", "3"]


def test_old_given_up_rows_are_deleted(database: Database) -> None:
    add(database)
    with database.transaction() as session:
        QUEUE.give_up(session, QUEUE.claim(session, 1)[0], "no")
        old = now() - leased.GIVEN_UP_KEPT - timedelta(seconds=1)
        session.connection().execute(update(WORK.work).values(given_up=old))
    add(database, "new")
    with database.transaction() as session:
        QUEUE.tidy(session)
    assert [row.body for row in rows(database).values()] == ["new"]


def test_lease_prolonged_by_setting_the_clock_back_is_ended(database: Database) -> None:
    add(database)
    [one] = claim(database)
    with database.transaction() as session:
        session.connection().execute(update(WORK.work).values(due=now() + timedelta(hours=1)))
        QUEUE.tidy(session)
    assert [again.id for again in claim(database)] == [one.id]


def test_lease_taken_while_another_replica_tidies_is_kept(database: Database) -> None:
    add(database)
    assert len(claim(database)) == 1
    with database.transaction() as session:
        # As if the claim had committed just after the other replica read the clock.
        taken = update(WORK.work).values(due=leased.clock(session) + QUEUE.lease + timedelta(seconds=1))
        session.connection().execute(taken)
        QUEUE.tidy(session)
    assert claim(database) == []


def test_replica_with_a_fast_clock_does_not_take_leases_of_others(
    postgresql_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests import databases
    from tests.shared.work.conftest import METADATA

    databases.empty_database(postgresql_database)
    database = Database(postgresql_database)
    METADATA.create_all(database.engine)

    def ahead() -> datetime:
        return now() + timedelta(hours=1)

    try:
        add(database)
        assert len(claim(database)) == 1
        monkeypatch.setattr(leased, "now", ahead)
        assert claim(database) == []
    finally:
        database.close()


def test_replicas_that_claim_concurrently_share_the_work(database: Database) -> None:
    with database.transaction() as session:
        for number in range(60):
            QUEUE.add(session, str(number))
    together = threading.Barrier(4)

    def work() -> list[str]:
        together.wait(10)
        taken: list[str] = []
        while some := claim(database, 3):
            taken += [one.id for one in some]
            for one in some:
                finish(database, one)
        return taken

    with ThreadPoolExecutor(4) as pool:
        shares = [future.result() for future in [pool.submit(work) for _ in range(4)]]
    assert sorted(one for share in shares for one in share) == sorted({one for s in shares for one in s})
    assert sum(map(len, shares)) == 60
    assert rows(database) == {}


def test_work_of_one_key_stays_serial_while_it_is_added_and_finished(database: Database) -> None:
    """If the last work of a key is finished while the next is added, the next must still become due."""
    queue = Queue(WORK, "mail", attempts_max=1_000)
    added = threading.Event()

    def adds() -> None:
        for _ in range(40):
            add(database, key="a")
        added.set()

    def works() -> int:
        done = 0
        while not added.is_set() or any(row.lease is None for row in rows(database).values()):
            for one in claim(database, 5, queue):
                finish(database, one)
                done += 1
        return done

    with ThreadPoolExecutor(3) as pool:
        workers = [pool.submit(works) for _ in range(2)]
        pool.submit(adds).result(60)
        assert sum(worker.result(60) for worker in workers) == 40
    assert rows(database) == {}


def test_work_is_claimed_through_an_index(database: Database) -> None:
    at, filler = now(), {"body": "", "created": now(), "attempts": 0}
    many = [
        {
            "id": new_id(),
            "queue": f"q{number % 3}",
            "key": f"k{number % 50}" if number % 2 else None,
            **filler,
        }
        for number in range(6_000)
    ]
    with database.transaction() as session:
        rows_ = [{**row, "due": NEVER if row["key"] else at - timedelta(seconds=5)} for row in many]
        session.connection().execute(insert(WORK.work), rows_)
        session.connection().execute(text("ANALYZE"))
    queue, seen = Queue(WORK, "q1"), []
    plain = "SCAN work" if database.is_sqlite else "Seq Scan on work"

    def look(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "work" in statement and statement.startswith(("SELECT", "UPDATE", "WITH", "DELETE")):
            seen.append((statement, parameters))

    event.listen(database._writing, "before_cursor_execute", look)
    with database.transaction() as session:
        queue.is_due(session)
        [one, *_] = queue.claim(session, 5)
        queue.renew(session, one)
        queue.retry(session, one, AT_ONCE, "no")
        queue.add(session, "", key="k1")
        queue.withdraw(session, str(many[1]["id"]))
        queue.tidy(session)
    event.remove(database._writing, "before_cursor_execute", look)
    assert len(seen) >= 9
    explain = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN "
    with database.transaction() as session:
        for statement, parameters in seen:
            plan = session.connection().exec_driver_sql(explain + statement, parameters).all()
            lines = [str(row[-1]) for row in plan]
            assert not [line for line in lines if plain in line and "INDEX" not in line], (statement, lines)
            assert not [line for line in lines if "TEMP B-TREE" in line or "Sort" in line], (statement, lines)
