"""Retention: old content is deleted, its hashes stay, and the log records it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select, text

from services.audit.erasure import ask_for_erasure, erase_due
from services.audit.log import kept_from
from services.audit.models import HOLDS, PERSONAL, RECORDS
from services.audit.queries import EVERYTHING
from services.audit.retention import cut
from shared.clock import now
from tests.audit.support import ALICE, BOB, Log, entry

JANUARY, FEBRUARY, MARCH = (datetime(2026, month, 10, tzinfo=UTC) for month in (1, 2, 3))


@pytest.fixture
def aged(log: Log, monkeypatch: pytest.MonkeyPatch) -> Log:
    """300 records of January, 300 of February, 100 of March."""
    for moment, count in ((JANUARY, 300), (FEBRUARY, 300), (MARCH, 100)):
        log.prepare_month(moment)
        monkeypatch.setattr("services.audit.log.now", lambda moment=moment: moment)
        log.fill(count)
        log.sign()
    return log


def seqs(log: Log) -> list[int]:
    with log.database.transaction(write=False) as session:
        personal = list(
            session.connection().execute(select(PERSONAL.c.seq).order_by(PERSONAL.c.seq)).scalars()
        )
        records = list(session.connection().execute(select(RECORDS.c.seq).order_by(RECORDS.c.seq)).scalars())
    assert personal == records
    return records


def last(log: Log) -> Any:
    with log.database.transaction(write=False) as session:
        return session.connection().execute(EVERYTHING.order_by(RECORDS.c.seq.desc()).limit(1)).one()


class TestCut:
    def test_cut_removes_whole_months(self, aged: Log) -> None:
        kept = aged.sign()
        cut(aged.checkpoints, MARCH, months=1)

        assert seqs(aged) == list(range(300, 701))
        said = last(aged)
        assert (said.action, said.actor) == ("RETENTION_CUT", "log")
        details = json.loads(said.metadata)
        assert details.pop("signature").startswith("— gatehouse/audit ")
        assert len(details.pop("root")) == 64
        assert details == {
            "before": "2026-02-01T00:00:00.000000Z",
            "kept_from": 300,
            "months": 1,
            "since": {},
        }
        verification = aged.check(aged.lines(), kept)
        assert verification.faults == []
        assert verification.records == 401
        assert aged.verify().verification.faults == []

    def test_cut_keeps_records_that_are_not_old_enough(self, aged: Log) -> None:
        cut(aged.checkpoints, MARCH, months=2)
        cut(aged.checkpoints, MARCH, months=13)

        assert seqs(aged) == list(range(700))

    def test_zero_months_keeps_everything(self, aged: Log) -> None:
        cut(aged.checkpoints, datetime(2999, 1, 1, tzinfo=UTC), months=0)

        assert seqs(aged) == list(range(700))

    def test_repeated_cuts_remove_only_newly_old_months(self, aged: Log) -> None:
        for _ in range(2):
            cut(aged.checkpoints, MARCH, months=1)
        assert seqs(aged) == list(range(300, 701))

        cut(aged.checkpoints, datetime(2026, 4, 1, tzinfo=UTC), months=1)
        assert seqs(aged) == list(range(600, 702))
        assert aged.faults() == []

    def test_cut_removes_all_content_before_the_horizon(
        self, aged: Log, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        later = datetime(2027, 1, 1, tzinfo=UTC)
        aged.prepare_month(later)
        monkeypatch.setattr("services.audit.log.now", lambda: later)
        cut(aged.checkpoints, later, months=1)

        assert seqs(aged) == [700]
        assert aged.faults() == []
        aged.fill(10)
        assert aged.faults() == []

    def test_checkpoints_before_and_after_the_cut_are_verified(self, aged: Log) -> None:
        with aged.database.transaction(write=False) as session:
            notes = list(
                session.connection().execute(text("SELECT note FROM checkpoints ORDER BY size")).scalars()
            )
        cut(aged.checkpoints, MARCH, months=1)
        verification = aged.check(aged.lines(), *notes)

        assert verification.faults == []
        assert [one.seq for one in verification.unproven] == [None]
        assert "1 kept checkpoints (the largest covers 256 records)" in verification.unproven[0].detail

    def test_exports_of_deleted_records_stay_valid(self, aged: Log) -> None:
        before = aged.lines(aged.partial(ALICE))
        cut(aged.checkpoints, MARCH, months=1)

        assert aged.check(before).faults == []

    def test_cut_interrupted_after_its_record_is_completed_later(
        self, aged: Log, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patched:
            patched.setattr("services.audit.retention._delete_some", _killed)
            with pytest.raises(InterruptedError):
                cut(aged.checkpoints, MARCH, months=1)
        assert aged.faults() == []

        cut(aged.checkpoints, MARCH, months=1)
        assert seqs(aged) == list(range(300, 701))
        with aged.database.transaction(write=False) as session:
            assert kept_from(session) == 300

    def test_hold_keeps_its_month_and_later_ones(self, aged: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("services.audit.log.now", lambda: MARCH)
        with aged.database.transaction() as session:
            session.connection().execute(HOLDS.insert().values(user_id=ALICE, reason="a case", created=now()))
        cut(aged.checkpoints, MARCH, months=1)
        assert seqs(aged) == list(range(700))

        with aged.database.transaction() as session:
            session.connection().execute(HOLDS.update().values(user_id=BOB))
        cut(aged.checkpoints, MARCH, months=1)
        assert seqs(aged) == list(range(300, 701))

    def test_erasure_is_verified_after_a_part_of_it_was_cut(
        self, log: Log, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for moment in (JANUARY, MARCH):
            log.prepare_month(moment)
            monkeypatch.setattr("services.audit.log.now", lambda moment=moment: moment)
            log.add(entry(ALICE), entry(BOB))
        with log.database.transaction() as session:
            ask_for_erasure(session, [ALICE])
        erase_due(log.database, log.checkpoints.keys)
        cut(log.checkpoints, MARCH, months=1)
        verification = log.check(log.lines())

        assert verification.faults == []
        assert verification.remarks == []
        assert [one.seq for one in verification.unproven] == [4], "no record says that it was deleted"


def _killed(_database: object) -> bool:
    raise InterruptedError


class TestPartitions:
    def test_one_partition_per_month_and_two_ahead(self, aged: Log) -> None:
        if aged.database.is_sqlite:
            return
        assert partitions(aged)[:5] == [f"personal_2026_0{month}" for month in range(1, 6)]

        cut(aged.checkpoints, MARCH, months=1)
        assert partitions(aged)[0] == "personal_2026_02"

    def test_preparing_months_again_changes_nothing(self, aged: Log) -> None:
        before = partitions(aged)
        aged.prepare_month(JANUARY)

        assert partitions(aged) == before

    def test_partition_refuses_changes(self, aged: Log) -> None:
        if aged.database.is_sqlite:
            return
        for statement in ("TRUNCATE", "DELETE FROM", "UPDATE"):
            what = "SET action = 'x'" if statement == "UPDATE" else ""
            with (
                pytest.raises(Exception, match="append-only"),
                aged.database.engine.begin() as connection,
            ):
                connection.execute(text(f"{statement} partitions.records_2026_01 {what}"))
        assert len(seqs(aged)) == 700


def partitions(log: Log) -> list[str]:
    if log.database.is_sqlite:
        return []
    names = text("SELECT tablename FROM pg_tables WHERE schemaname = 'partitions' ORDER BY tablename")
    with log.database.transaction(write=False) as session:
        return list(session.connection().execute(names).scalars())
