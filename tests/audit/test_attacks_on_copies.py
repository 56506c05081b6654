"""Attacks that let the service work on falsified data for a while, and then restore the data."""

import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import select, text
from structlog.testing import capture_logs

from services.audit import log as log_module
from services.audit.app import create_app
from services.audit.models import CHECKPOINTS
from services.audit.retention import cut
from services.audit.settings import Settings
from services.audit.statements import PERSON_ERASED
from shared.clock import now
from shared.data.bulk import insert_rows
from shared.testing import bearer, running, token
from tests.audit.attacks import (
    FEBRUARY,
    JANUARY,
    LOOKS,
    MARCH,
    actions,
    blank,
    by_service,
    deletion,
    erase,
    opened,
    put_hold,
    transplant,
)
from tests.audit.support import ALICE, BOB, Log, entry
from tests.audit.test_tampering import own_settings

ADMIN = bearer(token(role="admin"))


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
    return lambda moment: monkeypatch.setattr(log_module, "now", lambda: moment)


@pytest.mark.parametrize("is_hidden_from_the_cut", [True, False])
def test_records_of_a_hold_are_not_cut_off_even_if_they_were_hidden_when_it_was_placed(
    log: Log, at: Callable[[datetime], None], monkeypatch: pytest.MonkeyPatch, *, is_hidden_from_the_cut: bool
) -> None:
    """A view may answer each query differently. Only records that are read by position are proven."""
    for month in (JANUARY, FEBRUARY, MARCH):
        log.prepare_month(month)
    at(JANUARY)
    opened(log).add(entry(BOB), entry(ALICE))
    log.sign()
    at(FEBRUARY)
    log.add(entry(ALICE))
    at(MARCH)
    with monkeypatch.context() as patched:
        patched.setattr("services.audit.holds.scan", lambda *_, **__: [])
        put_hold(log, BOB)
    log.tamper("DELETE FROM holds")
    if is_hidden_from_the_cut:
        monkeypatch.setattr("services.audit.holds.scan", lambda *_, **__: [])
    with capture_logs() as logs:
        cut(log.checkpoints, MARCH, months=1)

    assert [one["event"] for one in logs] == ["audit_cut_refused"]
    assert actions(log)[0] == "LOG_OPENED"


def test_account_is_not_erased_while_the_tree_at_its_hold_is_falsified(log: Log) -> None:
    """A hold counts even if the root before it cannot be confirmed."""
    opened(log).add(entry(BOB), deletion(BOB))
    put_hold(log, BOB)
    log.tamper("DELETE FROM holds")
    with log.database.engine.connect() as connection:
        right = bytes(connection.execute(text("SELECT hashes FROM tiles")).scalar_one())
    wrong = (b"\0" * 32 + right[32:]).hex()
    as_bytes = "x'{}'" if log.database.is_sqlite else "decode('{}', 'hex')"
    log.tamper(f"UPDATE tiles SET hashes = {as_bytes.format(wrong)}")
    erase(log, BOB)
    log.tamper(f"UPDATE tiles SET hashes = {as_bytes.format(right.hex())}")

    assert PERSON_ERASED not in actions(log)
    assert by_service(log) == "tampered"


def test_erasure_from_a_copy_with_the_same_tree_does_not_cover_other_records(
    sqlite_log: Log, tmp_path: Path
) -> None:
    """In the copy a record was relabelled, so that the erasure of somebody else includes it."""
    opened(sqlite_log).add(entry(ALICE), entry(BOB), deletion(ALICE))
    sqlite_log.sign()
    (tmp_path / "copy").mkdir()
    with sqlite_log.database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    file = Path(str(sqlite_log.database.url.database))
    (tmp_path / "copy" / "audit.db").write_bytes(file.read_bytes())
    with Log(own_settings(tmp_path / "copy")) as copy:
        copy.tamper(f"UPDATE records SET user_id = '{ALICE}' WHERE seq = 2")
        erase(copy, ALICE)
        assert actions(copy)[-1] == PERSON_ERASED
        transplant(4, copy, sqlite_log)
    sqlite_log.tamper(*(blank(seq, 4, part) for seq in (1, 2) for part in ("details", "origin")), blank(3, 4))
    sqlite_log.sign()

    assert [look(sqlite_log) for look in LOOKS] == ["tampered"] * 3


def test_opening_of_a_copy_does_not_stand_for_that_of_the_log(sqlite_log: Log, tmp_path: Path) -> None:
    """With it, the service would not open the log after an upgrade."""
    (tmp_path / "copy").mkdir()
    sqlite_log.add(entry(BOB))
    with Log(own_settings(tmp_path / "copy")) as copy:
        copy.add(entry(BOB))
        opened(copy)
        transplant(1, copy, sqlite_log)
    opened(sqlite_log).sign()

    assert [look(sqlite_log) for look in LOOKS] == ["tampered"] * 3


def test_deletion_that_is_planted_before_the_first_record_does_not_count(
    log: Log, at: Callable[[datetime], None]
) -> None:
    for month in (JANUARY, FEBRUARY, MARCH):
        log.prepare_month(month)
    at(JANUARY)
    opened(log).add(deletion(ALICE))
    at(MARCH)
    log.add(entry(BOB))
    erase(log, BOB)
    log.sign()
    with log.database.engine.connect() as connection:
        names = list(connection.execute(text("SELECT * FROM records LIMIT 0")).keys())
    columns = ", ".join(name for name in names if name != "resource")
    log.tamper("CREATE TABLE aside AS SELECT * FROM records WHERE seq = 1")
    cut(log.checkpoints, MARCH, months=1)
    log.prepare_month(JANUARY)
    log.tamper(
        f"INSERT INTO records ({columns}, resource) SELECT {columns}, '{BOB}' FROM aside", "DROP TABLE aside"
    )
    log.sign()

    assert [look(log) for look in LOOKS] == ["unproven", "tampered", "tampered"]
    assert 3 in [one.seq for one in log.verify().verification.unproven], "the erasure"


def test_two_records_at_one_position_are_found(log: Log) -> None:
    """On PostgreSQL the key of the table includes the time of receipt."""
    opened(log).add(entry(BOB), entry(BOB))
    log.sign()
    if log.database.is_sqlite:
        log.tamper(
            "CREATE TABLE copy AS SELECT * FROM records",
            "DROP TABLE records",
            "ALTER TABLE copy RENAME TO records",
        )
    columns = "id, action, outcome, status, service, user_id, actor, resource, timestamp, origin, details"
    later = "received" if log.database.is_sqlite else "received + interval '1 microsecond'"
    again = f"SELECT seq, {later}, {columns} FROM records WHERE seq = 1"
    log.tamper(f"INSERT INTO records (seq, received, {columns}) {again}")

    assert [look(log) for look in LOOKS] == ["tampered"] * 3


def test_erasure_of_an_account_in_other_letters_is_found(sqlite_log: Log) -> None:
    """A column may compare text without case, so that the erasure of one id finds the records of another."""
    opened(sqlite_log).add(entry(BOB), deletion(BOB.upper()))
    sqlite_log.sign()
    with sqlite_log.database.engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA writable_schema=ON")
        connection.exec_driver_sql(
            "UPDATE sqlite_master SET sql = replace(sql, 'user_id TEXT', 'user_id TEXT COLLATE NOCASE')"
        )
        connection.exec_driver_sql("PRAGMA writable_schema=RESET")
    sqlite_log.database.close()
    with Log(sqlite_log.settings) as log:
        log.tamper("REINDEX")
        erase(log, BOB.upper())
        log.sign()
        with log.database.engine.connect() as connection:
            emptied = text("SELECT seq FROM personal WHERE details_salt IS NULL ORDER BY seq")
            assert connection.execute(emptied).scalars().all() == [1, 2], "the attack changes nothing"

        assert [look(log) for look in LOOKS] == ["tampered"] * 3


def test_checkpoint_of_a_longer_copy_does_not_reach_the_anchor(tmp_path: Path) -> None:
    """With it in the anchor, the honest log would be reported as cut off for good."""
    (tmp_path / "copy").mkdir()
    with (
        Log(own_settings(tmp_path, anchor_file=tmp_path / "anchor")) as log,
        Log(own_settings(tmp_path / "copy")) as copy,
    ):
        log.fill(3)
        log.sign()
        copy.fill(50)
        row = {"size": 50, "note": copy.sign(), "created": now()}
        with log.database.transaction() as session:
            insert_rows(session, CHECKPOINTS, [row])
        log.checkpoints.make(whole=True)
        assert by_service(log) == "tampered"
        log.tamper("DELETE FROM checkpoints WHERE size = 50")
        log.fill(1)

        assert by_service(log) == "ok"
        assert [one.size for one in log.checkpoints.anchored(range(100))] == [3, 4]


async def test_copy_that_is_only_read_signs_nothing(settings: Settings) -> None:
    """To verify a backup, a copy starts with the key of the log, but not with its settings.

    With its own retention, it would sign a cut, which the owner of the database could append to the log.
    """
    with Log(settings) as log:
        log.prepare_month(JANUARY)
        log.fill(3)
        async with running(create_app, settings.model_copy(update={"background": "off"})) as copy:
            working = {one.name for one in threading.enumerate()} & {"signs the log", "clears the log"}
            listed = await copy.get("/audit/logs", headers=ADMIN)
            export = await copy.get("/audit/export", headers=ADMIN)
            verified = await copy.get("/audit/verify", headers=ADMIN)

        assert working == set()
        assert (len(listed.json()), export.status_code, verified.status_code) == (3, 404, 404)
        with log.database.transaction(write=False) as session:
            assert session.connection().execute(select(CHECKPOINTS)).all() == []
        assert actions(log) == ["FILE_UPLOAD"] * 3
