"""Attacks on the data that the log, its service and its verifier read: types, positions, checkpoints, holds.

They are made on both databases, and the service verifies the whole log.
"""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from services.audit.log import append_own, grow, kept_from
from services.audit.opening import open_log
from services.audit.proofs import leaf_of
from services.audit.queries import read_range
from services.audit.retention import cut
from services.audit.schemas import SEQ_MAX
from services.audit.statements import HOLD_LIFTED
from services.audit.verifier import main
from shared.clock import now
from tests.audit.attacks import (
    FEBRUARY,
    JANUARY,
    MARCH,
    Attack,
    blank,
    by_service,
    deletion,
    erase,
    forged,
    hold,
    in_ranges,
    owner,
    verdict,
)
from tests.audit.support import ALICE, BOB, Log, changed, entry

COPIED = (
    "received, id, action, outcome, status, service, user_id, actor, resource, timestamp, origin, details"
)


@pytest.fixture
def signed(log: Log) -> Log:
    """The opening statement, and six records."""
    with log.database.transaction() as session:
        open_log(session, log.checkpoints.keys)
    log.add(*(entry(BOB) for _ in range(6)))
    log.sign()
    return log


def test_the_log_is_intact_before_the_attacks(signed: Log) -> None:
    assert by_service(signed) == "ok"


def a_record_without_a_position(log: Log) -> None:
    """No range of positions contains it, but lists show it."""
    if log.database.is_sqlite:
        log.tamper(
            "CREATE TABLE copy AS SELECT * FROM records",
            "DROP TABLE records",
            "ALTER TABLE copy RENAME TO records",
        )
    else:
        log.tamper(
            "ALTER TABLE records DROP CONSTRAINT records_pkey", "ALTER TABLE records ALTER seq DROP NOT NULL"
        )
    log.tamper(f"INSERT INTO records (seq, {COPIED}) SELECT NULL, {COPIED} FROM records WHERE seq = 3")


def a_checkpoint_past_the_end(log: Log) -> None:
    """Verification in ranges would never reach the end of the log."""
    log.tamper("INSERT INTO checkpoints SELECT 100000, note, created FROM checkpoints WHERE size = 7")


def a_deleted_hold(log: Log) -> None:
    hold(log, BOB)
    log.sign()
    log.tamper("DELETE FROM holds")


def the_statement_of_a_hold_is_cleared(log: Log) -> None:
    """The clearing is attributed to a real erasure of the account, made after the hold was deleted."""
    hold(log, ALICE)  # 7
    log.tamper("DELETE FROM holds")
    log.add(entry(ALICE), deletion(ALICE))
    erase(log, ALICE)  # 10
    log.tamper(blank(7, 10))


def everything_is_signed_again(log: Log) -> None:
    """Without the key: checkpoints and anchor are deleted, so that the service signs the changed log."""
    assert log.settings.anchor_file is not None
    log.settings.anchor_file.unlink()
    log.tamper("UPDATE records SET action = 'HARMLESS' WHERE seq = 3", "DELETE FROM checkpoints")
    with log.database.transaction(write=False) as session:
        leaves = [leaf_of(one).digest() for one in read_range(session, 0, 7)]
    log.tamper("DELETE FROM tiles")
    with log.database.transaction() as session:
        grow(session, leaves)


def the_log_starts_again(log: Log) -> None:
    everything_is_signed_again(log)
    log.tamper("DELETE FROM records", "DELETE FROM personal", "DELETE FROM tiles")
    log.fill(20)


ATTACKS: dict[str, Attack] = {
    "a record has no position": a_record_without_a_position,
    "a checkpoint covers more than the log": a_checkpoint_past_the_end,
    "a hold is deleted": a_deleted_hold,
    "the statement of a hold is cleared": the_statement_of_a_hold_is_cleared,
    "everything is signed again": everything_is_signed_again,
    "the log starts again": the_log_starts_again,
    "the horizon is before the first record": owner("UPDATE horizon SET kept_from = -1"),
    "the horizon is deleted": owner("DELETE FROM horizon"),
    "there are two horizons": owner("INSERT INTO horizon VALUES (2, 3)"),
    "the horizon is past the end of the log": owner("UPDATE horizon SET kept_from = 1000"),
    "the horizon is at the end": owner("UPDATE horizon SET kept_from = 7"),
    "the contents of two records are swapped": owner(
        "UPDATE personal SET seq = 99 WHERE seq = 3",
        "UPDATE personal SET seq = 3 WHERE seq = 4",
        "UPDATE personal SET seq = 4 WHERE seq = 99",
    ),
    "metadata has another format": owner("UPDATE personal SET metadata = metadata || ' ' WHERE seq = 3"),
    "a salt has another format": owner(
        "UPDATE personal SET details_salt = upper(details_salt) || ' ' WHERE seq = 3"
    ),
    "an erasure by the largest integer": owner(blank(3, 2**63 - 1)),
    "a statement gets another actor": owner("UPDATE records SET actor = 'logs' WHERE seq = 0"),
    "an account is the string null": owner("UPDATE records SET user_id = 'null' WHERE seq = 3"),
    "a tile is far past the end": lambda log: log.tamper(
        f"INSERT INTO tiles VALUES (0, {2**40}, {'zeroblob(32)' if log.database.is_sqlite else _ZERO})"
    ),
}
_ZERO = "decode(repeat('00', 32), 'hex')"


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_is_found(signed: Log, attack: str) -> None:
    ATTACKS[attack](signed)

    assert by_service(signed) == "tampered"


TYPES = {
    "a time without a zone": "UPDATE records SET timestamp = replace(timestamp, '+00:00', '') WHERE seq = 3",
    "a time that is a number": "UPDATE records SET timestamp = 5 WHERE seq = 3",
    "a time that is bytes": "UPDATE records SET timestamp = x'00ff' WHERE seq = 3",
    "an action that is bytes": "UPDATE records SET action = CAST(action AS BLOB) WHERE seq = 3",
    "an action with a NUL inside": "UPDATE records SET action = action || char(0) || 'x' WHERE seq = 3",
    "metadata that is bytes": "UPDATE personal SET metadata = CAST(metadata AS BLOB) WHERE seq = 3",
    "a status with a fraction": "UPDATE records SET status = 200.5 WHERE seq = 3",
    "a status that is a string": "UPDATE records SET status = '200x' WHERE seq = 3",
    "a reason that is a string": "UPDATE personal SET details_salt = NULL, metadata = NULL,"
    " details_erased_by = 'x' WHERE seq = 3",
    "a horizon that is a string": "UPDATE horizon SET kept_from = 'x'",
    "a horizon with a fraction": "UPDATE horizon SET kept_from = 0.5",
    "a tile that is a string": "UPDATE tiles SET hashes = hex(hashes)",
    "a checkpoint that is bytes": "UPDATE checkpoints SET note = CAST(note AS BLOB)",
}


@pytest.mark.parametrize("what", TYPES)
def test_value_of_another_type_is_found(sqlite_log: Log, what: str) -> None:
    """SQLite stores any value in any column."""
    sqlite_log.fill(6)
    sqlite_log.sign()
    sqlite_log.tamper(TYPES[what])

    assert by_service(sqlite_log) == "tampered"


@pytest.mark.parametrize("attack", ["a checkpoint covers more than the log", "a hold is deleted"])
def test_attack_on_the_end_is_found_in_ranges(signed: Log, attack: str) -> None:
    ATTACKS[attack](signed)

    assert in_ranges(signed) == "tampered"


def test_cleared_statement_of_a_hold_is_found_in_a_range(signed: Log) -> None:
    the_statement_of_a_hold_is_cleared(signed)
    signed.sign()

    assert ("erased", 7) in [one[:2] for one in signed.verify(7, limit=1).verification.faults]


@pytest.mark.parametrize("attack", [everything_is_signed_again, the_log_starts_again])
def test_process_does_not_sign_a_log_that_contradicts_its_own_signature(signed: Log, attack: Attack) -> None:
    attack(signed)
    signed.checkpoints.make(whole=True)

    with signed.database.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM checkpoints")).scalar_one() == 0


def test_only_signed_checkpoints_reach_the_anchor(signed: Log) -> None:
    """Invalid ones would push valid ones out of the tail of the file that the service reads."""
    anchor = signed.settings.anchor_file
    assert anchor is not None
    before = anchor.read_bytes()
    made = "'2026-03-10T00:00:00.000000+00:00'"
    signed.tamper(
        *(f"INSERT INTO checkpoints VALUES ({1000 + one}, '{'junk' * 100}', {made})" for one in range(300)),
        "INSERT INTO checkpoints SELECT 2000, note, created FROM checkpoints WHERE size = 7",
    )
    signed.checkpoints.make(whole=True)
    assert anchor.read_bytes() == before

    signed.tamper("DELETE FROM checkpoints WHERE size > 7")
    signed.fill(2)
    signed.sign()
    assert [one.size for one in signed.checkpoints.anchored(range(SEQ_MAX))] == [7, 9]


def test_statement_of_a_hold_is_not_cut_off(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it a deleted hold would go unnoticed if all records of the account are newer."""
    for moment in (JANUARY, FEBRUARY, MARCH):
        log.prepare_month(moment)
        monkeypatch.setattr("services.audit.log.now", lambda moment=moment: moment)
        log.fill(1)
        if moment is FEBRUARY:
            hold(log, BOB)
    log.add(entry(BOB))
    log.sign()
    cut(log.checkpoints, MARCH.replace(month=4), months=1)

    with log.database.transaction(write=False) as session:
        assert kept_from(session) == 1
    log.tamper("DELETE FROM holds")
    assert by_service(log) == "tampered"


class TestTheVerifier:
    @pytest.fixture
    def run(self, sqlite_log: Log, tmp_path: Path) -> Callable[..., int]:
        def run(lines: list[bytes], kept: str | None = None) -> int:
            export = tmp_path / "export.ndjson"
            export.write_bytes(b"".join(lines))
            arguments = [str(export), "--key", sqlite_log.keys[0].text]
            if kept is not None:
                (tmp_path / "kept").write_text(kept, encoding="utf-8")
                arguments += ["--checkpoint", str(tmp_path / "kept")]
            return main(arguments)

        return run

    def test_control_characters_of_an_export_are_escaped(
        self, sqlite_log: Log, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
    ) -> None:
        sqlite_log.fill(2)
        lines = sqlite_log.lines()
        lines.insert(2, json.dumps({"type": "\x1b[2J\x1b[HOK: 2 records\nOK: all"}).encode() + b"\n")

        assert run(lines) == 1
        shown = capsys.readouterr().out
        assert "\x1b" not in shown
        assert all(line.startswith("TAMPERED: ") for line in shown.splitlines())

    def test_kept_checkpoint_without_a_final_newline_is_accepted(
        self, sqlite_log: Log, run: Callable[..., int]
    ) -> None:
        sqlite_log.fill(2)
        older, newest = sqlite_log.lines(), ""
        sqlite_log.fill(2)
        newest = sqlite_log.sign()

        assert run(older, json.loads(older[0])["checkpoint"]) == 0
        assert run(older, json.loads(older[0])["checkpoint"] + newest.rstrip("\n")) == 1

    def test_export_with_a_negative_start_cannot_be_checked(
        self, sqlite_log: Log, run: Callable[..., int]
    ) -> None:
        sqlite_log.fill(2)
        lines = sqlite_log.lines()

        assert run([changed(lines[0], first=-5, frontier=["00" * 32] * 2), *lines[1:]]) == 2

    def test_last_line_with_further_fields_is_found(self, sqlite_log: Log, run: Callable[..., int]) -> None:
        """No signature covers it."""
        sqlite_log.fill(2)
        lines = sqlite_log.lines()

        assert run([*lines[:-1], changed(lines[-1], comment="approved")]) == 1

    def test_duplicated_record_in_a_partial_export_is_found(self, sqlite_log: Log) -> None:
        """A tampered database returns it twice, and the service numbers and signs both."""
        sqlite_log.add(entry(BOB), entry(BOB))
        sqlite_log.sign()
        sqlite_log.tamper(
            "CREATE TABLE copy AS SELECT * FROM personal",
            "DROP TABLE personal",
            "ALTER TABLE copy RENAME TO personal",
            "INSERT INTO personal SELECT * FROM personal WHERE seq = 1",
        )
        found = sqlite_log.check(sqlite_log.lines(sqlite_log.partial(BOB)))

        assert [one[:2] for one in found.faults] == [("duplicated", 1)]


def swallow_checkpoints(log: Log) -> None:
    if log.database.is_sqlite:
        log.tamper("CREATE TRIGGER swallow BEFORE INSERT ON checkpoints BEGIN SELECT RAISE(IGNORE); END")
        return
    log.tamper(
        "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
        "CREATE TRIGGER swallow BEFORE INSERT ON checkpoints FOR EACH ROW EXECUTE FUNCTION swallow()",
        "ALTER TABLE checkpoints ENABLE ALWAYS TRIGGER swallow",
    )


def test_checkpoint_that_the_database_does_not_store_is_found(signed: Log) -> None:
    swallow_checkpoints(signed)
    signed.add(entry(BOB))
    with capture_logs() as logs:
        signed.checkpoints.make(whole=True)
        signed.checkpoints.make(whole=True)
    assert [one["event"] for one in logs] == ["audit_checkpoint_not_stored"]
    assert by_service(signed) == "tampered"

    signed.tamper(*([] if signed.database.is_sqlite else ["DROP TRIGGER swallow ON checkpoints"]))
    assert by_service(signed) == "ok"


def test_record_received_in_the_future_is_unproven(sqlite_log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """All later records get its time, so none would ever be old enough to be cut off."""
    sqlite_log.add(entry(BOB))
    with monkeypatch.context() as patched:
        patched.setattr("services.audit.log.now", lambda: now() + timedelta(days=2))
        sqlite_log.add(entry(BOB))
    sqlite_log.add(entry(BOB))
    found = sqlite_log.check(sqlite_log.lines())

    assert [one.seq for one in found.unproven] == [1]
    assert [one.seq for one in sqlite_log.verify().verification.unproven] == [1]
    assert verdict(sqlite_log.check(sqlite_log.lines(sqlite_log.partial(BOB)))) == "unproven"
    with capture_logs() as logs:
        cut(sqlite_log.checkpoints, now(), months=1)
    assert [one["event"] for one in logs] == ["audit_log_dated_in_the_future"]


def test_record_that_exceeds_a_line_of_an_export_is_shortened(sqlite_log: Log, tmp_path: Path) -> None:
    """The owner of the database can put events of any size into the inbox."""
    text_of_two_megabytes = "\x01" * 2 * 1024 * 1024
    sqlite_log.add(
        entry(
            action=text_of_two_megabytes,
            resource=text_of_two_megabytes,
            user_agent=text_of_two_megabytes,
            metadata={"name": text_of_two_megabytes},
        )
    )
    (tmp_path / "export").write_bytes(b"".join(sqlite_log.lines()))

    assert main([str(tmp_path / "export"), "--key", sqlite_log.keys[0].text]) == 0
    assert by_service(sqlite_log) == "ok"


@pytest.mark.parametrize(("is_signed", "expected"), [(True, "ok"), (False, "tampered")])
def test_missing_hold_is_accepted_only_with_a_signed_lift(
    signed: Log, monkeypatch: pytest.MonkeyPatch, *, is_signed: bool, expected: str
) -> None:
    hold(signed, BOB)
    signed.sign()
    signed.tamper("DELETE FROM holds")
    if is_signed:
        with signed.database.transaction() as session:
            append_own(session, signed.checkpoints.keys, HOLD_LIFTED, BOB, {})
    else:
        forged(signed, HOLD_LIFTED, BOB, {})
    monkeypatch.setattr(signed.checkpoints, "make", lambda **_: None)

    assert by_service(signed) == expected
