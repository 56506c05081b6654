"""Attacks on what the log says about itself: cuts, erasures and holds, and the form in which they are signed.

The attacker owns the database and may run copies of it under the service, which signs them with the same key.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from services.audit import log as log_module
from services.audit.before_cut import checked_before_cut
from services.audit.export import PartialExport
from services.audit.feed import pinned
from services.audit.handlers import lift_hold
from services.audit.holds import state_hold
from services.audit.log import append_own
from services.audit.models import HOLDS
from services.audit.retention import cut
from services.audit.schemas import FilterLogs
from services.audit.statements import PERSON_ERASED, RETENTION_CUT
from shared.clock import now
from shared.data.bulk import insert_rows
from tests.audit.attacks import (
    FEBRUARY,
    JANUARY,
    LOOKS,
    MARCH,
    actions,
    append_without_root,
    blank,
    by_part,
    by_service,
    deletion,
    erase,
    forged,
    in_ranges,
    legacy,
    opened,
    put_hold,
    transplant,
    verdict,
)
from tests.audit.support import ALICE, BOB, Log, entry
from tests.audit.test_tampering import own_settings


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
    return lambda moment: monkeypatch.setattr(log_module, "now", lambda: moment)


def record_three_months(log: Log, at: Callable[[datetime], None]) -> None:
    """Sign a record of BOB in each month, so that a cut has something to delete."""
    for month in (JANUARY, FEBRUARY, MARCH):
        log.prepare_month(month)
        at(month)
        log.add(entry(BOB))
    log.sign()


class TestStatementsOfAnotherLog:
    """The key signs statements of a copy, which may hold other records."""

    @pytest.fixture
    def copy(self, tmp_path: Path) -> Iterator[Log]:
        (tmp_path / "other").mkdir()
        with Log(own_settings(tmp_path / "other")) as log:
            yield log

    @pytest.fixture
    def real(self, sqlite_log: Log) -> Log:
        opened(sqlite_log).fill(19)
        sqlite_log.sign()
        return sqlite_log

    def test_cut_of_a_copy_with_older_records_is_forged(
        self, real: Log, copy: Log, at: Callable[[datetime], None]
    ) -> None:
        at(datetime(2024, 1, 10, tzinfo=UTC))
        copy.fill(10)
        at(now())
        copy.fill(9)
        opened(copy).sign()
        cut(copy.checkpoints, now(), months=13)
        assert actions(copy)[-1] == RETENTION_CUT
        transplant(20, copy, real)
        real.tamper(
            *(f"DELETE FROM {table} WHERE seq < 10" for table in ("records", "personal")),
            "UPDATE horizon SET kept_from = 10",
        )

        assert [look(real) for look in LOOKS] == ["tampered"] * 3
        with real.database.transaction(write=False) as session:
            part = PartialExport(pinned(session), FilterLogs(action=RETENTION_CUT), None)
        assert verdict(real.check(real.lines(part))) == "tampered"

    def test_lifted_hold_of_a_copy_does_not_end_a_hold(self, real: Log, copy: Log) -> None:
        put_hold(real, BOB)  # 20
        opened(copy).fill(19)
        put_hold(copy, BOB)
        with copy.database.transaction() as session:
            lift_hold(BOB, session, copy.checkpoints.keys)
        transplant(21, copy, real)
        real.tamper("DELETE FROM holds")
        real.add(entry(BOB), deletion(BOB))
        real.sign()
        erase(real, BOB)
        real.sign()

        assert PERSON_ERASED not in actions(real)
        assert [look(real) for look in LOOKS] == ["tampered"] * 3


class TestOlderForms:
    def test_statement_without_root_is_proven_before_the_upgrade_only(self, sqlite_log: Log) -> None:
        append_without_root(sqlite_log, "LOG_OPENED", "audit", {"statements": "signed"})
        append_without_root(sqlite_log, "HOLD_PLACED", BOB, {"first": None})
        append_without_root(sqlite_log, "HOLD_LIFTED", BOB, {})
        opened(sqlite_log).sign()
        assert actions(sqlite_log).count("LOG_OPENED") == 2
        opened(sqlite_log)
        assert actions(sqlite_log).count("LOG_OPENED") == 2
        assert [look(sqlite_log) for look in LOOKS] == ["ok"] * 3

        put_hold(sqlite_log, BOB)
        append_without_root(sqlite_log, "HOLD_LIFTED", BOB, {})
        sqlite_log.sign()
        assert [look(sqlite_log) for look in LOOKS] == ["unproven"] * 3
        sqlite_log.tamper("DELETE FROM holds")
        assert by_service(sqlite_log) == "tampered", "the hold is still in force"

    @pytest.mark.parametrize("is_signed", [True, False])
    def test_older_form_is_found_after_the_start_of_the_log_was_cut_off(
        self, log: Log, at: Callable[[datetime], None], monkeypatch: pytest.MonkeyPatch, *, is_signed: bool
    ) -> None:
        for month in (JANUARY, FEBRUARY, MARCH):
            log.prepare_month(month)
        at(JANUARY)
        opened(log).add(entry(BOB))
        log.sign()
        at(FEBRUARY)
        log.add(entry(BOB), entry(BOB))
        log.sign()
        at(MARCH)
        log.add(entry(ALICE))

        def forge_meanwhile(*arguments: Any) -> Any:
            """The statement is appended after the check before the cut."""
            checked = checked_before_cut(*arguments)
            if is_signed:
                by = append_without_root(log, PERSON_ERASED, BOB, legacy(3, "details"))
            else:
                by = forged(log, PERSON_ERASED, "audit", legacy(3, "details"))
            log.tamper(blank(3, by))
            return checked

        monkeypatch.setattr("services.audit.retention.checked_before_cut", forge_meanwhile)
        cut(log.checkpoints, MARCH, months=1)
        log.sign()
        found = log.check(log.lines())

        assert actions(log) == ["FILE_UPLOAD"] * 3 + [PERSON_ERASED, RETENTION_CUT]
        assert 5 in [one.seq for one in (found.unproven if is_signed else found.faults)]
        assert "ok" not in [look(log) for look in LOOKS]

    def test_cut_carries_since_when_statements_are_signed(
        self, log: Log, at: Callable[[datetime], None]
    ) -> None:
        months = [JANUARY, FEBRUARY, MARCH, MARCH.replace(month=4)]
        for month in months:
            log.prepare_month(month)
        at(JANUARY)
        log.add(entry(ALICE))
        opened(log)  # 1
        for month in months[1:]:
            at(month)
            log.add(entry(ALICE))
            log.sign()
            cut(log.checkpoints, month, months=1)
        log.sign()
        stated = log.check(log.lines()).ledger

        assert actions(log) == ["FILE_UPLOAD", RETENTION_CUT] * 2
        assert [one.said.get("since") for one in stated.statements.values()] == [
            {"signed": 1, "rooted": 1}
        ] * 2
        assert (stated.since("signed"), stated.since("rooted")) == (1, 1)


class TestHolds:
    def test_cut_is_refused_if_a_stated_hold_is_missing(
        self, log: Log, at: Callable[[datetime], None]
    ) -> None:
        """The statement would be cut off together with the records that it protects."""
        for month in (JANUARY, FEBRUARY, MARCH):
            log.prepare_month(month)
        at(JANUARY)
        opened(log).add(entry(BOB), entry(ALICE))
        put_hold(log, BOB)
        for month in (FEBRUARY, MARCH):
            at(month)
            log.add(entry(ALICE))
        log.sign()
        log.tamper("DELETE FROM holds")
        with capture_logs() as logs:
            cut(log.checkpoints, MARCH, months=1)

        assert [one["event"] for one in logs] == ["audit_cut_refused"]
        assert actions(log)[0] == "LOG_OPENED"
        assert by_service(log) == "tampered"

    def test_hold_that_is_placed_and_deleted_during_the_check_before_a_cut_prevents_it(
        self, log: Log, at: Callable[[datetime], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        record_three_months(log, at)

        def hold_meanwhile(*arguments: Any) -> Any:
            checked = checked_before_cut(*arguments)
            put_hold(log, BOB)
            log.tamper("DELETE FROM holds")
            return checked

        monkeypatch.setattr("services.audit.retention.checked_before_cut", hold_meanwhile)
        cut(log.checkpoints, MARCH, months=1)

        assert actions(log) == ["FILE_UPLOAD"] * 3 + ["HOLD_PLACED"]

    def test_action_with_the_name_of_a_hold_does_not_put_off_a_cut(
        self, log: Log, at: Callable[[datetime], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Any service may record one, and so often that each cut would find a new one."""
        record_three_months(log, at)

        def record_meanwhile(*arguments: Any) -> Any:
            checked = checked_before_cut(*arguments)
            log.add(entry(ALICE, action="HOLD_PLACED", resource=BOB))
            return checked

        monkeypatch.setattr("services.audit.retention.checked_before_cut", record_meanwhile)
        cut(log.checkpoints, MARCH, months=1)

        assert actions(log) == ["FILE_UPLOAD"] * 2 + ["HOLD_PLACED", "RETENTION_CUT"]

    def test_hold_that_hides_in_the_database_is_stated_when_it_is_placed(self, log: Log) -> None:
        """A row that is there already does not prove that a statement was signed."""
        opened(log).add(entry(BOB), deletion(BOB))
        log.sign()
        log.tamper(f"INSERT INTO holds VALUES ('{BOB}', 'x', '2026-03-10T00:00:00.000000+00:00')")
        assert by_service(log) == "tampered"
        put_hold(log, BOB)
        assert by_service(log) == "ok"
        log.tamper("DELETE FROM holds")
        with capture_logs() as logs:
            erase(log, BOB)

        assert [one["event"] for one in logs] == ["audit_erasure_refused"]
        assert by_service(log) == "tampered"

    def test_hold_is_placed_and_lifted_with_every_check_intact(self, log: Log) -> None:
        opened(log).add(entry(BOB), deletion(BOB))
        put_hold(log, BOB)
        put_hold(log, BOB)
        assert by_service(log) == "ok"
        with log.database.transaction() as session:
            lift_hold(BOB, session, log.checkpoints.keys)
        assert [by_service(log), in_ranges(log)] == ["ok", "ok"]
        erase(log, BOB)

        assert [look(log) for look in LOOKS] == ["ok"] * 3


def lie(log: Log, name: str, columns: str, really: str) -> Log:
    """Let an index of SQLite claim columns that are not those by which it is ordered."""
    log.tamper(f"DROP INDEX {name}", f"CREATE INDEX {name} ON records({really})")
    with log.database.engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA writable_schema=ON")
        sql = f"CREATE INDEX {name} ON records ({columns})"
        connection.exec_driver_sql(f"UPDATE sqlite_master SET sql = '{sql}' WHERE name = '{name}'")
        connection.exec_driver_sql("PRAGMA writable_schema=RESET")
    log.database.close()
    return Log(log.settings)


class TestDamagedIndexes:
    def test_hold_is_found_in_ranges_despite_the_index_of_actions(self, sqlite_log: Log) -> None:
        opened(sqlite_log)
        put_hold(sqlite_log, BOB)
        sqlite_log.fill(4)
        sqlite_log.sign()
        sqlite_log.tamper("DELETE FROM holds")
        with lie(sqlite_log, "ix_records_action_id", "action, id", "resource, id") as log:
            assert verdict(log.verify(4, 10).verification) == "tampered"

    def test_first_record_of_a_hold_is_found_despite_the_index_of_accounts(
        self, sqlite_log: Log, at: Callable[[datetime], None]
    ) -> None:
        at(JANUARY)
        opened(sqlite_log).add(entry(BOB))
        at(FEBRUARY)
        sqlite_log.add(entry(ALICE))
        sqlite_log.sign()
        with lie(sqlite_log, "ix_records_user_id_id", "user_id, id", "resource, id") as log:
            at(MARCH)
            put_hold(log, BOB)
            with capture_logs() as logs:
                cut(log.checkpoints, MARCH, months=1)
            said = log.check(log.lines()).ledger.statements

            assert said[3].said["first"] == 1
            assert [one["event"] for one in logs] == ["audit_cut_refused"]
            assert "LOG_OPENED" in actions(log)

    def test_deletion_that_only_an_index_shows_does_not_count(self, sqlite_log: Log) -> None:
        opened(sqlite_log).add(entry(BOB), deletion(ALICE))  # 2
        sqlite_log.sign()
        erase(sqlite_log, BOB)
        sqlite_log.sign()
        name = "ix_records_resource_id"
        sqlite_log.tamper(
            f"UPDATE records SET resource = '{BOB}' WHERE seq = 2",
            f"CREATE TABLE aside AS SELECT * FROM sqlite_master WHERE name = '{name}'",
        )
        for before, change in (
            (
                f"DELETE FROM sqlite_master WHERE name = '{name}'",
                f"UPDATE records SET resource = '{ALICE}' WHERE seq = 2",
            ),
            ("INSERT INTO sqlite_master SELECT * FROM aside", "DROP TABLE aside"),
        ):
            with sqlite_log.database.engine.begin() as connection:
                connection.exec_driver_sql("PRAGMA writable_schema=ON")
                connection.exec_driver_sql(before)
                connection.exec_driver_sql("PRAGMA writable_schema=RESET")
            sqlite_log.database.close()
            sqlite_log = Log(sqlite_log.settings)
            sqlite_log.tamper(change)
        with sqlite_log as log, log.database.engine.connect() as connection:
            found = text(f"SELECT seq FROM records WHERE resource = '{BOB}'")
            assert 2 in connection.execute(found).scalars().all(), "the index does not lie"
            assert by_service(log) == "unproven"


class TestErasedAccounts:
    """The owner of the database can have any account erased. Then nothing says that it was deleted."""

    def test_part_of_the_log_does_not_prove_an_erasure_without_deletion(self, log: Log) -> None:
        opened(log).add(entry(BOB), entry(BOB))
        erase(log, BOB)
        log.sign()

        assert by_part(log) == "unproven"

    @pytest.mark.parametrize("is_deleted", [True, False])
    def test_erasure_shortly_after_a_month_that_is_cut_off_names_the_deletion(
        self, log: Log, at: Callable[[datetime], None], *, is_deleted: bool
    ) -> None:
        begin = FEBRUARY.replace(day=1)
        for month in (JANUARY, FEBRUARY, MARCH):
            log.prepare_month(month)
        at(begin - timedelta(hours=1))
        opened(log).add(deletion(BOB if is_deleted else ALICE))
        at(begin + timedelta(hours=1))
        log.add(entry(BOB))
        erase(log, BOB)
        at(MARCH)
        log.add(entry(ALICE))
        log.sign()
        cut(log.checkpoints, MARCH, months=1)
        log.sign()

        assert "DELETE_ACCOUNT" not in actions(log)
        expected = "ok" if is_deleted else "unproven"
        assert [look(log) for look in (*LOOKS, by_part)] == [expected] * 4

    def test_named_deletion_that_is_another_record_does_not_count(self, log: Log) -> None:
        """What the statement says about a record counts only if the record was cut off."""
        opened(log).add(entry(BOB), deletion(ALICE))
        with log.database.transaction() as session:
            said = {"first": 1, "places": 0, "months": {}, "deleted": 2}
            append_own(session, log.checkpoints.keys, PERSON_ERASED, BOB, said)
        log.sign()

        assert [look(log) for look in LOOKS] == ["unproven"] * 3


def test_hold_that_no_statement_placed_is_found(log: Log) -> None:
    """The table and the statements must agree in both directions."""
    opened(log)
    with log.database.transaction() as session:
        insert_rows(session, HOLDS, [{"user_id": ALICE, "reason": "x", "created": now()}])
    log.sign()
    assert by_service(log) == "tampered"

    with log.database.transaction() as session:
        state_hold(session, log.checkpoints.keys, ALICE)
    assert by_service(log) == "ok"
