"""Transactions lock rows in one order; otherwise two of them could wait for each other."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select, text
from sqlmodel import Session

from services.notifications.breaker import Outcome
from services.notifications.courier import Courier, Job, Pace, _Ended
from services.notifications.deliveries import State
from services.notifications.mail.mails import Mail, Mails
from services.notifications.models import DELIVERIES, EVENTS, WORK
from services.notifications.settings import Settings
from services.notifications.suppressions import Suppressions
from shared.data.database import Database, Deadlocked
from shared.data.migrate import upgrade
from shared.events.outbox import OUTBOX, Outbox
from shared.work.changes import Changes
from shared.work.leased import Leased, Queue
from tests.support import eventually

SECONDS = 30


def test_acceptance_and_bounce_lock_the_work_before_its_delivery(settings: Settings) -> None:
    upgrade(settings.database_url, Path("services/notifications/migrations"))
    database, written = Database(settings.database_url, pool_size=1), list[str]()
    database.session_info[OUTBOX] = Outbox(EVENTS, settings.service, {})
    mails, mail = Mails(settings, Changes(), Suppressions(settings)), Mail("test", "ann@example.com", {})
    tables = {WORK.work.name, DELIVERIES.name}

    def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        verb, *words = statement.split()
        if verb in ("UPDATE", "DELETE"):
            written.extend(one for one in words[:2] if one in tables)

    with database.transaction() as session:
        mails.add(session, mail)
    for change in (mails.accepted, mails.bounced):
        with database.transaction() as session:
            event.listen(session.connection(), "before_cursor_execute", note)
            change(session, mail.id, "sendgrid:1")
    database.close()

    assert written == [WORK.work.name, DELIVERIES.name] * 2


def courier_of(database: Database, mails: Mails, changes: Changes) -> Courier:
    carrier: Any = type("Carrier", (), {"name": "mail"})
    return Courier(database, mails, changes, carrier, Pace(1, 1, timedelta(days=1)))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_report_waits_for_a_courier_that_records_outcomes_and_neither_fails(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, changes, hold = Database(settings.database_url), Changes(), Queue.hold
    mails, mail = Mails(settings, changes, Suppressions(settings)), Mail("test", "ann@example.com", {})
    courier, reports = courier_of(database, mails, changes), list[Future[None]]()

    def report() -> None:
        with database.transaction() as session:
            mails.accepted(session, mail.id, "sendgrid:1")
            mails.reported(session, mail.id, State.DELIVERED, None, None)

    def someone_waits() -> bool:
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN"
        ours = "(SELECT pid FROM pg_stat_activity WHERE datname = current_database())"
        with database.transaction() as session:
            return bool(session.connection().execute(text(f"{waiting} {ours}")).scalar_one())

    def hold_and_be_told(self: Queue, session: Session, some: Sequence[Leased]) -> None:
        hold(self, session, some)
        reports.append(threads.submit(report))
        assert eventually(someone_waits, seconds=SECONDS)

    with database.transaction() as session:
        mails.add(session, mail)
        (leased,) = mails.queue.claim(session, 1)
    monkeypatch.setattr(Queue, "hold", hold_and_be_told)
    sent = _Ended(Job(leased, 1, {"id": mail.id}, None), Outcome("sent", provider_id="sendgrid:1"))
    with ThreadPoolExecutor(1) as threads, database.transaction() as session:
        courier._settle_all(session, [sent])
    reports[0].result(SECONDS)
    with database.transaction() as session:
        found = session.connection().execute(select(DELIVERIES.c.state, DELIVERIES.c.provider_id)).one()
    database.close()

    assert tuple(found) == (State.DELIVERED, "sendgrid:1")


async def test_no_outcome_is_lost_if_the_database_ends_the_courier_in_a_deadlock(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, changes, real = Database(settings.database_url), Changes(), Courier._settle_all
    mails, sizes = Mails(settings, changes, Suppressions(settings)), list[int]()

    def settle(self: Courier, session: Session, some: Sequence[_Ended]) -> None:
        sizes.append(len(some))
        real(self, session, some)
        if len(sizes) <= 2:
            raise Deadlocked

    with database.transaction() as session:
        for _ in range(3):
            mails.add(session, Mail("test", "ann@example.com", {}))
        jobs = [Job(one, 1, {"id": one.body}, None) for one in mails.queue.claim(session, 3)]
    monkeypatch.setattr(Courier, "_settle_all", settle)
    some = [_Ended(one, Outcome("sent")) for one in jobs]
    await courier_of(database, mails, changes)._record_all(some)
    with database.transaction() as session:
        states = session.connection().execute(select(DELIVERIES.c.state)).scalars().all()
    database.close()

    assert sizes == [3, 1, 1, 1, 1], "all together, the first alone, and again, then the others"
    assert [one.fault for one in some] == [None] * 3
    assert states == [State.SENT] * 3
