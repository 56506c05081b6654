"""Tampering by the owner of the database is found by the service, and by the verifier in an export."""

from pathlib import Path

import pytest
from sqlalchemy import select

from services.audit.checkpoints import Checkpoints
from services.audit.log import append_own, grow
from services.audit.models import CHECKPOINTS
from services.audit.proofs import leaf_of
from services.audit.queries import read_range
from services.audit.statements import HOLD_PLACED, Fault
from tests.audit.support import BOB, Log

COUNT = 600
SALT = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def filled(log: Log) -> Log:
    log.fill(COUNT)
    log.sign()
    return log


def found(log: Log, *kept: str) -> tuple[Fault, Fault]:
    """Return the first faults that the service and the verifier find."""
    inside = log.verify().verification.faults
    outside = log.check(log.lines(), *kept).faults
    assert inside, "the service does not notice"
    assert outside, "the verifier does not notice"
    return inside[0], outside[0]


class TestContent:
    @pytest.mark.parametrize(
        "change",
        [
            *(
                f"UPDATE records SET {column} = 'other' WHERE seq = 300"
                for column in "id action outcome service user_id actor resource request_id trace_id origin"
                " details".split()
            ),
            "UPDATE records SET status = 204 WHERE seq = 300",
            "UPDATE records SET request_id = NULL WHERE seq = 300",
            *(
                f"UPDATE personal SET {column} = 'other' WHERE seq = 300"
                for column in "ip user_agent origin_salt details_salt".split()
            ),
            "UPDATE personal SET metadata = '{}' WHERE seq = 300",
            "UPDATE records SET user_id = NULL WHERE seq = 300",
            "UPDATE personal SET ip = NULL, user_agent = NULL WHERE seq = 300",
            "UPDATE personal SET origin_salt = NULL WHERE seq = 300",
            "UPDATE personal SET origin_erased_by = 1 WHERE seq = 300",
            "UPDATE personal SET details_erased_by = 1 WHERE seq = 300",
            "DELETE FROM personal WHERE seq = 300",
        ],
    )
    def test_changed_record_is_found_at_its_position(self, filled: Log, change: str) -> None:
        filled.tamper(change)

        for fault in found(filled):
            assert fault.kind in {"changed", "malformed"}
            assert fault.seq == 300

    def test_changed_time_of_a_record_is_found(self, filled: Log) -> None:
        text = "2001-01-01T00:00:00.000000+00:00"
        filled.tamper(f"UPDATE records SET timestamp = '{text}' WHERE seq = 300")

        assert {fault[:2] for fault in found(filled)} == {("changed", 300)}

    def test_time_in_another_notation_is_found(self, sqlite_log: Log) -> None:
        """Only SQLite stores text: filters by time compare it."""
        sqlite_log.fill(2)
        sqlite_log.tamper("UPDATE records SET timestamp = replace(timestamp, '+00:00', 'Z') WHERE seq = 1")

        assert {fault[:2] for fault in found(sqlite_log)} == {("changed", 1)}

    @pytest.mark.parametrize("time", ["infinity", "20000-01-01 00:00:00Z", "0044-03-15 00:00:00Z BC"])
    def test_time_that_only_the_database_can_represent_is_found(self, log: Log, time: str) -> None:
        log.fill(2)
        log.sign()
        log.tamper(f"UPDATE records SET timestamp = '{time}' WHERE seq = 1")

        assert log.verify().verification.faults[0].kind in ("changed", "malformed")

    def test_erasure_without_a_statement_is_found(self, filled: Log) -> None:
        filled.tamper(
            "UPDATE personal SET ip = NULL, user_agent = NULL, origin_salt = NULL,"
            " origin_erased_by = 5 WHERE seq = 300"
        )

        assert {fault[:2] for fault in found(filled)} == {("erased", 300)}


class TestBytesThatAreNotText:
    """SQLite accepts such bytes, and its driver cannot read them. PostgreSQL refuses them."""

    @pytest.mark.parametrize(
        ("table", "column"),
        [
            *(("records", name) for name in "id action user_id resource timestamp received details".split()),
            *(("personal", name) for name in "ip user_agent origin_salt metadata details_salt".split()),
        ],
    )
    def test_bytes_in_a_record_are_found_at_its_position(
        self, sqlite_log: Log, table: str, column: str
    ) -> None:
        sqlite_log.fill(COUNT)
        sqlite_log.tamper(f"UPDATE {table} SET {column} = CAST(X'61ff62' AS TEXT) WHERE seq = 300")

        checked = sqlite_log.verify()
        faults = checked.verification.faults
        assert Fault("malformed", 300, "it contains bytes that are not text") in faults
        assert faults[0].seq == 300
        assert checked.verification.records == COUNT, "the others are checked as well"

    def test_bytes_in_a_checkpoint_are_reported_as_foreign_key(self, sqlite_log: Log) -> None:
        sqlite_log.fill(COUNT)
        sqlite_log.sign()
        sqlite_log.tamper("UPDATE checkpoints SET note = CAST(X'ff' || note AS TEXT)")

        kinds = {fault.kind for fault in sqlite_log.verify().verification.faults}
        assert kinds == {"foreign_key"}

    def test_bytes_in_a_statement_are_found_in_a_later_range(self, sqlite_log: Log) -> None:
        with sqlite_log.database.transaction() as session:
            append_own(session, sqlite_log.checkpoints.keys, HOLD_PLACED, BOB, {"first": None})
        sqlite_log.fill(COUNT)
        sqlite_log.sign()
        sqlite_log.tamper("UPDATE personal SET metadata = CAST(X'ff' || metadata AS TEXT) WHERE seq = 0")

        assert sqlite_log.verify(first=300).verification.faults[0][:2] == ("malformed", 0)


class TestOrder:
    def test_deleted_record_is_found(self, filled: Log) -> None:
        filled.tamper("DELETE FROM records WHERE seq = 300")

        assert {fault[:2] for fault in found(filled)} == {("removed", 300)}

    def test_swapped_records_are_found(self, filled: Log) -> None:
        filled.tamper(
            *(
                f"UPDATE {table} SET seq = {to} WHERE seq = {seq}"
                for table in ("records", "personal")
                for seq, to in ((300, 10**6), (301, 300), (10**6, 301))
            )
        )

        assert {fault[:2] for fault in found(filled)} == {("changed", 300)}

    def test_truncated_log_is_found(self, filled: Log) -> None:
        filled.tamper("DELETE FROM records WHERE seq >= 590", "DELETE FROM personal WHERE seq >= 590")

        assert {fault[:2] for fault in found(filled)} == {("truncated", 590)}

    def test_missing_beginning_without_a_retention_cut_is_found(self, filled: Log) -> None:
        filled.tamper(
            "DELETE FROM records WHERE seq < 100",
            "DELETE FROM personal WHERE seq < 100",
            "UPDATE horizon SET kept_from = 100",
        )

        assert {fault[:2] for fault in found(filled)} == {("removed", 0)}


class TestTheTree:
    def test_changed_leaf_of_the_tree_is_found(self, filled: Log) -> None:
        filled.tamper(_swap_leaves(filled, level=0, number=1))

        assert {fault[:2] for fault in found(filled)} == {("changed", 256)}

    def test_changed_tile_of_a_higher_level_is_found(self, filled: Log) -> None:
        filled.tamper(_swap_leaves(filled, level=1, number=0))

        inside = filled.verify().verification.faults
        assert (inside[0].kind, inside[0].detail) == (
            "changed",
            "the hashes of the tree are not those that were signed",
        )

    def test_missing_tile_of_the_tree_is_found(self, filled: Log) -> None:
        filled.tamper("DELETE FROM tiles WHERE level = 0 AND number = 1")

        assert filled.verify().verification.faults[0].kind == "removed"

    def test_changed_record_with_recomputed_tree_is_found(self, filled: Log) -> None:
        """Then everything is consistent except the signed checkpoints."""
        _rewrite(filled, 300)

        assert {fault[:2] for fault in found(filled)} == {("rewritten", 256)}

    def test_log_signed_again_with_the_right_key_is_found_by_a_kept_checkpoint(self, filled: Log) -> None:
        """Then only a checkpoint outside reveals it: the anchor, or one that an auditor kept."""
        filled.checkpoints.make(whole=True)
        with filled.database.transaction(write=False) as session:
            kept = list(session.connection().execute(select(CHECKPOINTS.c.note)).scalars())
        _rewrite(filled, 300)
        filled.tamper("DELETE FROM checkpoints")
        elsewhere = filled.settings.model_copy(update={"anchor_file": None})
        Checkpoints(elsewhere, filled.database).make(whole=True)

        assert {fault[:2] for fault in found(filled, *kept)} == {("rewritten", 256)}

    def test_restored_older_log_is_found(self, filled: Log) -> None:
        kept = filled.sign()
        leaves = "substr(hashes, 1, 88 * 32)"
        filled.tamper(
            "DELETE FROM records WHERE seq >= 600 - 256",
            "DELETE FROM personal WHERE seq >= 600 - 256",
            "DELETE FROM checkpoints WHERE size > 256",
            "DELETE FROM tiles WHERE level = 0 AND number = 2",
            f"UPDATE tiles SET hashes = {leaves} WHERE level = 0 AND number = 1",
            "UPDATE tiles SET hashes = substr(hashes, 1, 32) WHERE level = 1",
        )

        inside, outside = found(filled, kept)
        assert inside.kind == outside.kind == "rolled_back"
        assert inside.seq == outside.seq == 256, "the records since then are not signed"

    def test_altered_checkpoint_is_reported_as_foreign_key(self, filled: Log, tmp_path: Path) -> None:
        note = filled.sign().replace("gatehouse/audit\n600", "gatehouse/audit\n601")
        filled.tamper(f"UPDATE checkpoints SET note = '{note}' WHERE size = 600")

        assert {fault[:2] for fault in found(filled)} == {("foreign_key", None)}


def _swap_leaves(log: Log, *, level: int, number: int) -> str:
    """Swap the first two hashes of a tile."""
    swapped = "substr(hashes, 33, 32) || substr(hashes, 1, 32) || substr(hashes, 65)"
    binary = f"CAST({swapped} AS {'BLOB' if log.database.is_sqlite else 'bytea'})"
    return f"UPDATE tiles SET hashes = {binary} WHERE level = {level} AND number = {number}"


def _rewrite(log: Log, seq: int) -> None:
    """Change a record and recompute the tree, as an attacker without the key can."""
    log.tamper(f"UPDATE records SET action = 'HARMLESS' WHERE seq = {seq}")
    with log.database.transaction(write=False) as session:
        leaves = [leaf_of(record).digest() for record in read_range(session, 0, COUNT)]
    log.tamper("DELETE FROM tiles")
    with log.database.transaction() as session:
        grow(session, leaves)


class TestRanges:
    def test_whole_log_is_verified_in_ranges(self, log: Log) -> None:
        log.fill(COUNT, user_id=BOB)
        first, ranges = 0, []
        while first < COUNT:
            checked = log.verify(first, limit=100)
            assert checked.verification.faults == []
            ranges.append((checked.first, checked.end))
            first = checked.end

        assert ranges == [(0, 256), (256, 512), (512, 600)]

    def test_only_the_range_with_the_fault_reports_it(self, log: Log) -> None:
        log.fill(COUNT)
        log.sign()
        log.tamper("UPDATE records SET action = 'HARMLESS' WHERE seq = 300")

        assert log.verify(0, 256).verification.faults == []
        assert [fault.seq for fault in log.verify(256, 256).verification.faults] == [300]
        assert log.verify(512, 256).verification.faults == []

    def test_empty_log_has_no_faults(self, log: Log) -> None:
        assert log.verify().verification.faults == []
        assert log.faults() == []
