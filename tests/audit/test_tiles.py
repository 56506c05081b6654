"""Changes of the stored tree that no root shows, because only proofs read those hashes."""

import hashlib
from collections.abc import Callable

import pytest

from services.audit.log import grow
from services.audit.retention import cut
from services.audit.statements import Fault
from services.audit.tiles import check_levels
from services.audit.tree import TileMissing
from tests.audit.attacks import JANUARY, MARCH
from tests.audit.support import Log, entry

CUT_OFF = 600


def hashes(log: Log, expression: str, *, level: int, number: int) -> str:
    as_bytes = "BLOB" if log.database.is_sqlite else "bytea"
    place = f"level = {level} AND number = {number}"
    return f"UPDATE tiles SET hashes = CAST({expression} AS {as_bytes}) WHERE {place}"


def swapped(first: int) -> str:
    """Exchange two adjacent hashes of a tile."""
    one, two = first * 32 + 1, first * 32 + 33
    return (
        f"substr(hashes, 1, {one - 1}) || substr(hashes, {two}, 32)"
        f" || substr(hashes, {one}, 32) || substr(hashes, {two + 32})"
    )


def with_odd_byte(log: Log) -> str:
    return "hashes || " + ("x'00'" if log.database.is_sqlite else "'\\x00'::bytea")


@pytest.fixture
def cut_off(log: Log, monkeypatch: pytest.MonkeyPatch) -> Log:
    """A log whose first 600 records were cut off."""
    for moment, count in ((JANUARY, CUT_OFF), (MARCH, 100)):
        monkeypatch.setattr("services.audit.log.now", lambda moment=moment: moment)
        log.prepare_month(moment)
        log.fill(count)
    log.sign()
    cut(log.checkpoints, MARCH, months=1)
    return log


class TestRecordsThatWereCutOff:
    def test_their_hashes_are_compared(self, cut_off: Log) -> None:
        checked = cut_off.verify()

        assert (checked.first, checked.verification.faults) == (CUT_OFF, [])

    @pytest.mark.parametrize("tile", [0, 1])
    def test_changed_hash_is_found(self, cut_off: Log, tile: int) -> None:
        cut_off.tamper(hashes(cut_off, swapped(254), level=0, number=tile))

        assert [one[:2] for one in cut_off.verify().verification.faults] == [("changed", tile * 256)]

    def test_missing_tile_is_found(self, cut_off: Log) -> None:
        cut_off.tamper("DELETE FROM tiles WHERE level = 0 AND number = 1")

        assert [one[:2] for one in cut_off.verify().verification.faults] == [("changed", 256)]

    def test_the_limit_applies_and_the_check_can_be_continued(self, cut_off: Log) -> None:
        cut_off.tamper(hashes(cut_off, swapped(0), level=0, number=1))
        first, second = (cut_off.verify(start, limit=1).verification for start in (None, 256))

        assert (first.faults, [one[:2] for one in second.faults]) == ([], [("changed", 256)])
        assert [one for one in first.remarks if one.endswith("continue with from=256")]
        assert second.remarks == []


class TestLevels:
    def test_last_hash_of_a_full_tile_is_compared_with_the_tile_above(self, log: Log) -> None:
        """The root over 65,536 records is read from level 2."""
        with log.database.transaction() as session:
            grow(session, [hashlib.sha256(b"%d" % number).digest() for number in range(70_000)])
        faults = list[Fault]()

        def report(kind: str, seq: int | None, detail: str) -> None:
            faults.append(Fault(kind, seq, detail))

        check_levels(log.database, report)
        assert faults == []
        log.tamper(hashes(log, swapped(254), level=1, number=0))
        check_levels(log.database, report)
        assert [one[:2] for one in faults] == [("changed", 0)]

    @pytest.mark.parametrize(
        "change",
        [
            lambda log: (
                f"INSERT INTO tiles VALUES (2, 0, {'zeroblob(32)' if log.database.is_sqlite else _ZERO})"
            ),
            lambda log: hashes(log, with_odd_byte(log), level=1, number=0),
            lambda log: hashes(log, "hashes || substr(hashes, 1, 32)", level=1, number=0),
        ],
        ids=["planted level", "odd byte", "planted hash"],
    )
    def test_hash_that_would_be_read_once_the_tree_has_grown_is_found(
        self, log: Log, change: Callable[[Log], str]
    ) -> None:
        log.fill(300)
        assert log.verify().verification.faults == []
        log.tamper(change(log))

        assert [one.kind for one in log.verify().verification.faults] == ["changed"]


_ZERO = "'\\x" + "00" * 32 + "'"


def test_nothing_is_appended_after_an_odd_byte(log: Log) -> None:
    """The next hash would follow a part of one; a tile can only grow, so no later proof would fit."""
    log.fill(3)
    log.sign()
    log.tamper(hashes(log, with_odd_byte(log), level=0, number=0))

    assert [one.kind for one in log.verify().verification.faults] == ["malformed"]
    with pytest.raises(TileMissing):
        log.add(entry())
    log.tamper(hashes(log, f"substr(hashes, 1, {3 * 32})", level=0, number=0))
    assert log.add(entry()) == 3
    assert log.verify().verification.faults == []
