"""Logs from before statements were signed: their erasures name no account, and can still be verified."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlmodel import Session

from services.audit.erasure import ask_for_erasure, erase_due
from services.audit.keys import LogKeys
from services.audit.log import append
from services.audit.opening import open_log
from services.audit.retention import cut
from tests.audit.support import ALICE, BOB, Log, entry
from tests.audit.test_attacks import blank, forged, in_pieces, legacy, verdict

JANUARY, MARCH = (datetime(2026, month, 10, tzinfo=UTC) for month in (1, 3))


def append_as_before(session: Session, _keys: LogKeys, action: str, _about: str, said: dict[str, Any]) -> int:
    said = {name: value for name, value in said.items() if name != "months"}
    return append(
        session, [entry(None, action, service="audit", actor="log", resource="audit", metadata=said)]
    )


@pytest.fixture
def old(sqlite_log: Log, monkeypatch: pytest.MonkeyPatch) -> Log:
    """Places 0 and 1 of January, 2 to 5 of March, and 6 that says what was erased: 0, 2 and 5 (details)."""
    log = sqlite_log
    log.tamper()  # without the triggers of today
    monkeypatch.setattr("services.audit.log.now", lambda: JANUARY)
    log.add(entry(ALICE), entry(BOB))
    log.sign()
    monkeypatch.setattr("services.audit.log.now", lambda: MARCH)
    log.add(entry(ALICE), entry(BOB), entry(BOB), entry(BOB, resource=ALICE))
    with monkeypatch.context() as patched:
        patched.setattr("services.audit.erasure.append_own", append_as_before)
        with log.database.transaction() as session:
            ask_for_erasure(session, [ALICE])
        erase_due(log.database, log.checkpoints.keys)
    with log.database.transaction() as session:
        open_log(session, log.checkpoints.keys)  # 7: the upgrade
    log.add(entry(BOB))
    log.sign()
    return log


def looks(log: Log) -> list[str]:
    return [verdict(log.check(log.lines())), verdict(log.verify().verification)]


def test_it_is_intact_and_says_what_is_older_than_the_rule(old: Log) -> None:
    verification = old.check(old.lines())

    assert looks(old) == ["ok", "ok"]
    assert verification.remarks == [
        "5 places were emptied by 1 erasures from before the log named the account that it erased"
    ]


def test_of_which_a_part_was_cut_off_is_not_proven(old: Log) -> None:
    cut(old.checkpoints, MARCH, months=1)

    assert looks(old) == ["unproven", "unproven"]
    assert [fault.seq for fault in old.check(old.lines()).unproven] == [2]


def test_in_the_trail_of_one_account_it_is_not_proven(old: Log) -> None:
    assert verdict(old.check(old.lines(old.partial(ALICE)))) == "unproven"


@pytest.mark.parametrize(
    "statement",
    [
        blank(3, 6),
        blank(3, 6, "origin"),
        blank(8, 6),
        blank(5, 6, "origin"),
        "UPDATE personal SET details_salt = NULL, details_erased_by = 9 WHERE seq = 2",
    ],
)
@pytest.mark.parametrize("is_cut", [False, True])
def test_another_place_that_names_its_erasure_is_found(old: Log, statement: str, *, is_cut: bool) -> None:
    if is_cut:
        cut(old.checkpoints, MARCH, months=1)
    old.tamper(statement)

    assert looks(old) == ["tampered", "tampered"]
    assert in_pieces(old) == "tampered"


def test_more_places_than_were_erased_are_found_even_after_a_cut(old: Log) -> None:
    """All of them are of one account, so that only their number tells."""
    cut(old.checkpoints, MARCH, months=1)
    old.tamper(*(blank(seq, 6, part) for seq in (2, 3, 4, 5) for part in ("origin", "details")))

    assert looks(old) == ["tampered", "tampered"]


def test_no_statement_of_the_old_kind_comes_after_the_first_signed_one(old: Log) -> None:
    by = forged(old, "PERSON_ERASED", "audit", legacy(8, "details"))
    old.tamper(blank(8, by))
    verification = old.check(old.lines())

    assert next(fault[:2] for fault in verification.faults) == ("forged", by)
