"""Erasing a person: their personal data is removed, and every proof stays valid."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select, text
from sqlmodel import Session

from services.audit.erasure import ask_for_erasure, erase_due
from services.audit.handlers import lift_hold, place_hold
from services.audit.log import take_turn
from services.audit.models import ERASURES, HOLDS, RECORDS
from services.audit.queries import EVERYTHING
from services.audit.schemas import PlaceHold
from shared.clock import now
from shared.data.database import insert_into
from shared.ids import new_id
from shared.testing import bearer, token
from tests.audit.attacks import deletion, put_hold
from tests.audit.support import ALICE, BOB, Log, entry

ADMIN = bearer(token(role="admin"))
SECRET = "a-very-personal-name.pdf"


def erase(log: Log, *accounts: str) -> None:
    with log.database.transaction() as session:
        ask_for_erasure(session, accounts)
    erase_due(log.database, log.checkpoints.keys)


def rows(log: Log) -> list[Any]:
    with log.database.transaction(write=False) as session:
        return list(session.connection().execute(EVERYTHING.order_by(RECORDS.c.seq)))


def pending(log: Log) -> list[str]:
    with log.database.transaction(write=False) as session:
        return list(session.connection().execute(select(ERASURES.c.account_id)).scalars())


class TestErase:
    def test_origin_and_details_of_own_actions_are_erased(self, log: Log) -> None:
        log.add(entry(metadata={"filename": SECRET}), entry(BOB))
        before = rows(log)
        erase(log, ALICE)
        mine, other, said = rows(log)

        assert (mine.ip, mine.user_agent, mine.metadata) == (None, None, None)
        assert (mine.origin_salt, mine.details_salt) == (None, None)
        assert (mine.user_id, mine.action, mine.resource) == (ALICE, "FILE_UPLOAD", before[0].resource)
        assert other == before[1]
        assert (said.action, said.actor, said.user_id) == ("PERSON_ERASED", "log", None)
        assert said.resource == ALICE

    def test_only_details_of_actions_by_others_are_erased(self, log: Log) -> None:
        log.add(entry(BOB, action="CHANGE_ACCOUNT", resource=ALICE, metadata={"name": SECRET}))
        erase(log, ALICE)
        row = rows(log)[0]

        assert row.metadata is None
        assert (row.user_id, row.ip) == (BOB, "192.0.2.1")

    def test_every_proof_stays_valid(self, log: Log) -> None:
        log.fill(300, user_id=ALICE)
        log.fill(300, user_id=BOB)
        kept = log.sign()
        before = log.lines(log.partial(BOB))
        erase(log, ALICE)
        verification = log.check(log.lines(), kept)

        assert verification.faults == []
        assert verification.emptied == 600
        assert log.verify().verification.faults == []
        assert log.check(before, kept).faults == []
        assert log.check(log.lines(log.partial(ALICE)), kept).faults == []

    def test_two_accounts_in_one_record_are_both_erased(self, log: Log) -> None:
        log.add(entry(ALICE), entry(BOB, resource=ALICE), entry(BOB))
        erase(log, ALICE)
        erase(log, BOB)

        assert [row.metadata for row in rows(log)[:3]] == [None] * 3
        assert log.faults() == []

    def test_long_erasures_are_done_in_chunks(self, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("services.audit.erasure.CHUNK_RECORDS", 7)
        log.fill(20, user_id=ALICE)
        erase(log, ALICE)

        assert [row.seq for row in rows(log) if row.metadata is not None] == [20, 21, 22]
        assert [row.action for row in rows(log)[20:]] == ["PERSON_ERASED"] * 3
        assert log.faults() == []

    def test_erasure_waits_for_the_record_of_the_deletion(self, log: Log) -> None:
        log.add(entry(ALICE))
        with log.database.transaction() as session:
            ask_for_erasure(session, [ALICE])
        erase_due(log.database, log.checkpoints.keys, patience=timedelta(minutes=1))
        assert len(rows(log)) == 1

        log.add(deletion(ALICE))
        erase_due(log.database, log.checkpoints.keys, patience=timedelta(minutes=1))
        assert json.loads(rows(log)[2].metadata)["deleted"] == 1

    def test_erasure_does_not_wait_forever(self, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        log.add(entry(ALICE))
        with log.database.transaction() as session:
            ask_for_erasure(session, [ALICE])
        monkeypatch.setattr("services.audit.erasure.now", lambda: now() + timedelta(minutes=2))
        erase_due(log.database, log.checkpoints.keys, patience=timedelta(minutes=1))

        assert [row.metadata is None for row in rows(log)] == [True, False]

    def test_account_without_records_leaves_no_statement(self, log: Log) -> None:
        log.fill(1, user_id=BOB)
        erase(log, ALICE)

        assert len(rows(log)) == 1

    def test_record_that_arrives_late_is_erased(self, log: Log) -> None:
        log.fill(2, user_id=ALICE)
        erase(log, ALICE)
        log.fill(1, user_id=ALICE)
        erase_due(log.database, log.checkpoints.keys)

        assert [row.metadata is None for row in rows(log)] == [True, True, False, True, False]
        assert pending(log) == [ALICE]
        assert log.faults() == []

    def test_erasure_ends_after_the_period_for_late_records(
        self, log: Log, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log.fill(2, user_id=ALICE)
        erase(log, ALICE)
        monkeypatch.setattr("services.audit.erasure.now", lambda: now() + timedelta(days=3))
        erase_due(log.database, log.checkpoints.keys)

        assert pending(log) == []
        assert len(rows(log)) == 3

    def test_finished_erasures_do_not_delay_others(self, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("services.audit.erasure.DUE_MAX", 1)
        log.fill(1, user_id=ALICE)
        erase(log, ALICE)
        log.fill(1, user_id=BOB)
        erase(log, BOB)

        assert [row.metadata is None for row in rows(log)] == [True, False, True, False]

    def test_erasure_interrupted_by_a_stop_is_continued(
        self, log: Log, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("services.audit.erasure.now", lambda: now() + timedelta(days=3))
        log.fill(2, user_id=ALICE)
        with log.database.transaction() as session:
            ask_for_erasure(session, [ALICE])
        erase_due(log.database, log.checkpoints.keys, lambda: True)
        assert [row.metadata is None for row in rows(log)] == [False, False]

        erase_due(log.database, log.checkpoints.keys)
        assert [row.metadata is None for row in rows(log)] == [True, True, False]

    def test_erased_data_is_not_left_in_the_file(self, sqlite_log: Log, tmp_path: Path) -> None:
        # Long enough for separate pages, which SQLite would normally only mark as free.
        sqlite_log.add(entry(metadata={"filename": SECRET * 400}))
        assert SECRET in contents(sqlite_log, tmp_path)
        erase(sqlite_log, ALICE)

        assert SECRET not in contents(sqlite_log, tmp_path)


def contents(log: Log, folder: Path) -> str:
    with log.database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    return (folder / "audit.db").read_bytes().decode("latin-1")


def test_erasure_during_an_export_is_reported(log: Log) -> None:
    """The export cannot contain the record that explains it."""
    log.fill(3, user_id=ALICE)
    log.sign()
    begun = log.full()
    erase(log, ALICE)
    (fault,) = log.check(log.lines(begun)).faults

    assert fault[:2] == ("erased", 0)
    assert "record 3, the given reason, is newer than this check: repeat it" in fault.detail
    assert log.faults() == []


class TestFalseErasures:
    """Fields that the owner of the database cleared and attributed to an erasure."""

    @pytest.fixture
    def erased(self, log: Log) -> Log:
        log.fill(10, user_id=ALICE)
        log.fill(10, user_id=BOB)
        erase(log, ALICE)
        log.sign()
        return log

    def test_record_of_another_account_is_found(self, erased: Log) -> None:
        erased.tamper(
            "UPDATE personal SET metadata = NULL, details_salt = NULL, details_erased_by = 20 WHERE seq = 15"
        )

        assert ("erased", 15) in [fault[:2] for fault in erased.faults()]
        assert ("erased", 15) in [fault[:2] for fault in erased.verify().verification.faults]

    def test_reason_that_is_not_an_erasure_is_found(self, erased: Log) -> None:
        erased.tamper(
            "UPDATE personal SET metadata = NULL, details_salt = NULL, details_erased_by = 19 WHERE seq = 15"
        )

        assert [fault[:2] for fault in erased.faults()] == [("erased", 15)]


def wait_for_a_waiting_query(session: Session) -> None:
    """Return once another query of this database waits for a lock."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_clear_snapshot(), pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    while not session.connection().execute(waiting).scalar_one():
        pass


class TestHolds:
    def test_account_under_a_hold_is_not_erased(self, log: Log) -> None:
        log.fill(2, user_id=ALICE)
        hold = {"user_id": ALICE, "reason": "a case", "created": now()}
        with log.database.transaction() as session:
            session.connection().execute(HOLDS.insert().values(hold))
        erase(log, ALICE)
        assert [row.metadata is None for row in rows(log)] == [False, False]

        with log.database.transaction() as session:
            session.connection().execute(HOLDS.delete())
        erase_due(log.database, log.checkpoints.keys)
        assert [row.metadata is None for row in rows(log)] == [True, True, False]

    def test_hold_placed_during_an_erasure_is_respected(self, log: Log) -> None:
        log.fill(2, user_id=ALICE)
        with log.database.transaction() as session:
            ask_for_erasure(session, [ALICE])

        def place_hold() -> bool:
            """Called before each chunk is erased, after the accounts were selected."""
            hold = {"user_id": ALICE, "reason": "a case", "created": now()}
            with log.database.transaction() as session:
                session.connection().execute(insert_into(session, HOLDS).on_conflict_do_nothing(), hold)
            return False

        erase_due(log.database, log.checkpoints.keys, place_hold)

        assert [row.metadata is None for row in rows(log)] == [False, False]
        assert pending(log) == [ALICE]

    def test_hold_can_be_placed_while_another_request_lifts_it(self, log: Log) -> None:
        """Both need the log and the row of the hold; if they took them in another order, both would wait."""
        keys = log.checkpoints.keys
        put_hold(log, ALICE)

        def lift() -> None:
            with log.database.transaction() as session:
                lift_hold(ALICE, session, keys)

        with ThreadPoolExecutor(1) as other:
            with log.database.transaction() as session:
                take_turn(session)
                lifted = other.submit(lift)
                if not log.database.is_sqlite:  # which admits one writer at a time
                    wait_for_a_waiting_query(session)
                place_hold(ALICE, PlaceHold(reason="a case"), session, keys)
            lifted.result(timeout=30)

        assert log.verify().verification.faults == []

    async def test_admin_places_and_lifts_a_hold(self, audit: httpx.AsyncClient) -> None:
        placed = await audit.put(f"/audit/holds/{ALICE}", json={"reason": "a case"}, headers=ADMIN)
        assert placed.status_code == 200
        assert placed.json() | {"created": ""} == {"user_id": ALICE, "reason": "a case", "created": ""}

        again = await audit.put(f"/audit/holds/{ALICE}", json={"reason": "another"}, headers=ADMIN)
        assert (await audit.get("/audit/holds", headers=ADMIN)).json() == [again.json()]
        assert again.json()["created"] == placed.json()["created"]

        assert (await audit.delete(f"/audit/holds/{ALICE}", headers=ADMIN)).status_code == 204
        assert (await audit.delete(f"/audit/holds/{ALICE}", headers=ADMIN)).status_code == 404
        assert (await audit.get("/audit/holds", headers=ADMIN)).json() == []

    async def test_every_hold_is_listed_however_many_there_are(self, audit: httpx.AsyncClient) -> None:
        """The list ended after a thousand holds, so an admin could place a hold that no list showed."""
        accounts = [new_id() for _ in range(3)]
        for account in accounts:
            await audit.put(f"/audit/holds/{account}", json={"reason": "a case"}, headers=ADMIN)
        seen, url = list[str](), "/audit/holds?limit=2"
        while url:
            response = await audit.get(url, headers=ADMIN)
            seen += [one["user_id"] for one in response.json()]
            link = response.links.get("next")
            url = f"/audit/holds{link['url']}" if link else ""

        assert seen == accounts[::-1]

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "GET"])
    async def test_holds_are_for_admins_only(self, audit: httpx.AsyncClient, method: str) -> None:
        url = "/audit/holds" if method == "GET" else f"/audit/holds/{ALICE}"
        body = {"reason": "x"} if method == "PUT" else None
        user = bearer(token())

        assert (await audit.request(method, url, json=body)).status_code == 401
        assert (await audit.request(method, url, json=body, headers=user)).status_code == 403

    @pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": "x" * 501}, {"reason": "x", "more": 1}])
    async def test_malformed_input_is_rejected_with_422(
        self, audit: httpx.AsyncClient, body: dict[str, Any]
    ) -> None:
        response = await audit.put(f"/audit/holds/{new_id()}", json=body, headers=ADMIN)

        assert response.status_code == 422


def test_deleted_account_whose_request_was_removed_is_unproven(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its personal data stays. After a hold it may stay as well."""
    first = log.add(entry(ALICE), entry(BOB), deletion(ALICE), deletion(BOB), entry(ALICE))
    with log.database.transaction() as session:
        ask_for_erasure(session, [ALICE, BOB])
        place_hold(BOB, PlaceHold(reason="a case"), session, log.checkpoints.keys)
    log.tamper("DELETE FROM erasures")
    erase_due(log.database, log.checkpoints.keys)
    log.sign()
    assert log.verify().verification.unproven == [], "it may still be erased"

    monkeypatch.setattr("services.audit.unerased.PATIENCE", timedelta())
    what = f"account {ALICE} was deleted, but ip and user_agent of this record were not erased"
    assert [one[1:] for one in log.verify().verification.unproven] == [(first, what)]

    erase(log, ALICE)
    assert log.verify().verification.unproven == []
