"""Attacks on erasure and retention: what they delete must not stay or come back unnoticed."""

import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import select, text
from sqlmodel import Session
from structlog.testing import capture_logs

from services.audit.caretaker import Caretaker, Duty
from services.audit.erasure import ask_for_erasure, erase_due
from services.audit.erasure import erase as erase_some
from services.audit.errors import NotErased
from services.audit.events import keep
from services.audit.keys import LogKeys
from services.audit.models import ERASURES, PERSONAL
from services.audit.retention import cut
from services.audit.settings import Settings
from shared.clock import now
from shared.data import write_ahead
from shared.data.database import Database
from shared.events import Recorded
from shared.events.event import Envelope
from tests.audit.attacks import JANUARY, MARCH, by_part, by_service, by_verifier, deletion, erase, in_ranges
from tests.audit.support import ALICE, BOB, TEST_KEY_SECRET, Log, entry
from tests.audit.test_events import recorded

ADDRESS = "alice@example.com"


def cleared(log: Log) -> list[int]:
    """Return the records without details."""
    nothing = select(PERSONAL.c.seq).where(PERSONAL.c.metadata.is_(None)).order_by(PERSONAL.c.seq)
    with log.database.engine.connect() as connection:
        return list(connection.execute(nothing).scalars())


def test_records_that_come_back_after_a_cut_are_unproven(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner of the database keeps a copy of them, and moves the horizon back."""
    log.prepare_month(JANUARY)
    monkeypatch.setattr("services.audit.log.now", lambda: JANUARY)
    log.fill(3)
    log.prepare_month(MARCH)
    monkeypatch.setattr("services.audit.log.now", lambda: MARCH)
    log.fill(3)
    log.tamper(*(f"CREATE TABLE old_{name} AS SELECT * FROM {name}" for name in ("records", "personal")))
    cut(log.checkpoints, MARCH, months=1)
    log.sign()
    assert (by_service(log), by_verifier(log)) == ("ok", "ok")

    log.prepare_month(JANUARY)
    log.tamper(
        "UPDATE horizon SET kept_from = 0",
        *(f"INSERT INTO {name} SELECT * FROM old_{name} WHERE seq < 3" for name in ("records", "personal")),
    )

    assert (by_service(log), by_verifier(log), in_ranges(log)) == ("unproven",) * 3
    assert [one[1:] for one in log.check(log.lines()).unproven] == [
        (0, "records 0 to 2 were cut off, but are there again")
    ]
    assert by_part(log) == "ok", "it proves the records in it"


def test_details_about_a_deleted_account_that_were_not_erased_are_unproven(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An account that never acted has no record of its own, but others may have recorded its address."""
    monkeypatch.setattr("services.audit.unerased.PATIENCE", timedelta())
    first = log.add(
        entry(BOB, action="CREATE_ACCOUNT", resource=ALICE, metadata={"email": ADDRESS}), deletion(ALICE)
    )
    log.sign()
    what = f"account {ALICE} was deleted, but the details of this record were not erased"
    assert [one[1:] for one in log.verify().verification.unproven] == [(first, what)]

    erase(log, ALICE)
    assert log.verify().verification.unproven == []


@pytest.mark.parametrize("unreadable", ["time", "text"])
def test_record_that_cannot_be_read_does_not_stop_the_erasure_of_others(log: Log, unreadable: str) -> None:
    log.add(entry(ALICE), entry(BOB), deletion(ALICE), deletion(BOB))
    if unreadable == "text":
        if not log.database.is_sqlite:
            pytest.skip("PostgreSQL stores only text as text")
        log.tamper("UPDATE personal SET user_agent = CAST(X'ff' AS TEXT) WHERE seq = 2")
    elif log.database.is_sqlite:
        log.tamper(
            *(f"UPDATE {name} SET received = 'never' WHERE seq = 0" for name in ("records", "personal"))
        )
    else:
        log.tamper("UPDATE records SET timestamp = 'infinity' WHERE seq = 2")
    with log.database.transaction() as session:
        ask_for_erasure(session, [ALICE])
    with capture_logs() as logged, pytest.raises(NotErased):
        erase(log, BOB)

    assert cleared(log) == [1, 3]
    (failure,) = [one for one in logged if one["event"] == "audit_erasure_failed"]
    assert failure["account_id"] == ALICE
    assert "a record of this account cannot be read" in failure["next_step"]
    assert "exc_info" not in failure


def test_other_faults_of_an_erasure_are_not_called_an_unreadable_record(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at(monkeypatch, ALICE)
    log.add(entry(ALICE), entry(BOB), deletion(ALICE), deletion(BOB))
    with capture_logs() as logged, pytest.raises(NotErased):
        erase(log, ALICE, BOB)

    assert cleared(log) == [1, 3]
    (failure,) = [one for one in logged if one["event"] == "audit_erasure_failed"]
    assert failure["account_id"] == ALICE
    assert isinstance(failure["exc_info"], ValueError)
    assert "next_step" not in failure


def fail_at(patched: pytest.MonkeyPatch, account: str) -> None:
    """Let the erasure of this account fail as if the program had a fault."""

    def faulty(session: Session, keys: LogKeys, account_id: str, after: int) -> int | None:
        if account_id == account:
            raise ValueError("a fault of the program")
        return erase_some(session, keys, account_id, after)

    patched.setattr("services.audit.erasure.erase", faulty)


def test_erasure_that_fails_for_good_is_a_failed_duty(
    sqlite_log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counted as a success, and SQLite's log was truncated every time."""
    cleared_to = list[int]()
    clear = write_ahead.clear

    def noted(database: Database) -> bool:
        cleared_to.append(len(cleared(sqlite_log)))
        return clear(database)

    monkeypatch.setattr(write_ahead, "clear", noted)
    fail_at(monkeypatch, ALICE)
    sqlite_log.add(entry(ALICE), entry(BOB), deletion(ALICE), deletion(BOB))
    caretaker = Caretaker(sqlite_log.settings, sqlite_log.database, sqlite_log.checkpoints)
    duty = Duty("erase for good", 0, caretaker._erase)
    duty.do_when_due()
    succeeded = metric("duty_last_success_timestamp_seconds")
    assert succeeded
    with sqlite_log.database.transaction() as session:
        ask_for_erasure(session, [ALICE, BOB])
    for failures in (1, 2, 3):
        duty.do_when_due()
        assert metric("duty_failures_total") == failures

    assert metric("duty_last_success_timestamp_seconds") == succeeded
    assert cleared_to == [0, 2], "at the start, and once Bob was erased"


def metric(name: str) -> float | None:
    return REGISTRY.get_sample_value(name, {"duty": "erase for good"})


@pytest.mark.parametrize("who", ["user_id", "resource"])
def test_record_that_comes_days_after_the_erasure_is_erased(log: Log, who: str) -> None:
    """As after a long outage, or as a dead event that an admin sends again."""
    log.add(entry(ALICE), deletion(ALICE))
    erase(log, ALICE)
    with log.database.transaction() as session:
        session.connection().execute(ERASURES.delete())  # as two days later
    about = {"user_id": ALICE} if who == "user_id" else {"user_id": BOB, "resource": ALICE}
    for age, made in (
        (timedelta(days=3), about),
        (timedelta(days=3), {"user_id": BOB}),
        (timedelta(), about),
    ):
        with log.database.transaction() as session:
            keep(session, [received(timestamp=(now() - age).isoformat(), **made)])
        if age:
            erase_due(log.database, log.checkpoints.keys)
            erased = cleared(log)

    assert erased == [0, 1, 3], "of the account only"
    assert log.faults() == []


def received(**fields: Any) -> Recorded:
    sent = recorded()
    event = Envelope.model_validate(sent | {"data": sent["data"] | fields}).opened(Recorded)
    assert isinstance(event, Recorded)
    return event


def test_deleted_data_is_overwritten_whatever_sqlite_does_by_itself(
    make_settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event that waited in `parked` leaves the address of a person in free space of the file."""
    connect = sqlite3.connect

    def connect_as_most_builds(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        made: sqlite3.Connection = connect(*args, **kwargs)
        made.execute("PRAGMA secure_delete = OFF")
        return made

    monkeypatch.setattr("sqlite3.dbapi2.connect", connect_as_most_builds)
    made = make_settings(Settings, database_url=f"sqlite:///{tmp_path}/audit.db", key_secret=TEST_KEY_SECRET)
    with Log(made) as log:
        for statement in (
            (
                "INSERT INTO parked (id, topic, key, body, received, due, attempts, dead, blocks)"
                f" VALUES ('1', 'a', 'b', '{ADDRESS}', '', '', 0, 0, 0)"
            ),
            "DELETE FROM parked",
        ):
            with log.database.transaction() as session:
                session.connection().execute(text(statement))
        assert write_ahead.clear(log.database)

        assert ADDRESS.encode() not in (tmp_path / "audit.db").read_bytes()
