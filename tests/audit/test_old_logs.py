"""Logs of versions with unsigned statements: erasures name no account, and can still be verified."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlmodel import Session

from services.audit.erasure import ask_for_erasure, erase_due
from services.audit.keys import LogKeys
from services.audit.log import append
from services.audit.opening import open_log
from services.audit.retention import cut
from services.audit.statements import PERSON_ERASED
from shared.clock import now
from tests.audit.attacks import append_without_root, blank, forged, in_ranges, legacy, opened, verdict
from tests.audit.support import ALICE, BOB, Log, entry

JANUARY, MARCH = (datetime(2026, month, 10, tzinfo=UTC) for month in (1, 3))


def append_as_before(session: Session, _keys: LogKeys, action: str, _about: str, said: dict[str, Any]) -> int:
    said = {name: value for name, value in said.items() if name != "months"}
    return append(
        session, [entry(None, action, service="audit", actor="log", resource="audit", metadata=said)]
    )


@pytest.fixture
def old(sqlite_log: Log, monkeypatch: pytest.MonkeyPatch) -> Log:
    """Records 0 and 1 of January, 2 to 5 of March, and 6, the erasure of 0, 2 and 5 (details only)."""
    log = sqlite_log
    log.tamper()  # drops the current triggers
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


def verdicts(log: Log) -> list[str]:
    return [verdict(log.check(log.lines())), verdict(log.verify().verification)]


def test_old_log_is_intact_with_a_remark_on_old_erasures(old: Log) -> None:
    verification = old.check(old.lines())

    assert verdicts(old) == ["ok", "ok"]
    assert verification.remarks == [
        "5 fields were cleared by 1 erasures of an older version, which did not name the account"
    ]


def test_old_erasure_is_unproven_after_a_partial_cut(old: Log) -> None:
    cut(old.checkpoints, MARCH, months=1)

    assert verdicts(old) == ["unproven", "unproven"]
    assert [fault.seq for fault in old.check(old.lines()).unproven] == [2]


def test_old_erasure_is_unproven_in_a_partial_export(old: Log) -> None:
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
def test_another_cleared_field_that_names_the_erasure_is_found(
    old: Log, statement: str, *, is_cut: bool
) -> None:
    if is_cut:
        cut(old.checkpoints, MARCH, months=1)
    old.tamper(statement)

    assert verdicts(old) == ["tampered", "tampered"]
    assert in_ranges(old) == "tampered"


def test_more_cleared_fields_than_were_erased_are_found_even_after_a_cut(old: Log) -> None:
    """All of them are of one account, so only their number gives this away."""
    cut(old.checkpoints, MARCH, months=1)
    old.tamper(*(blank(seq, 6, part) for seq in (2, 3, 4, 5) for part in ("origin", "details")))

    assert verdicts(old) == ["tampered", "tampered"]


def test_unsigned_statement_after_the_first_signed_one_is_forged(old: Log) -> None:
    by = forged(old, "PERSON_ERASED", "audit", legacy(8, "details"))
    old.tamper(blank(8, by))
    verification = old.check(old.lines())

    assert next(fault[:2] for fault in verification.faults) == ("forged", by)


@pytest.mark.parametrize("is_upgraded", [True, False])
def test_part_of_the_log_says_that_an_erasure_is_of_an_older_version(
    sqlite_log: Log, *, is_upgraded: bool
) -> None:
    """After the upgrade, an erasure must name the deletion."""
    append_without_root(sqlite_log, "LOG_OPENED", "audit", {"statements": "signed"})
    if not is_upgraded:
        opened(sqlite_log)
    at = sqlite_log.add(entry(BOB))
    said = legacy(at, "details")
    month = {name: said[name] for name in ("places", "digest")}
    by = append_without_root(sqlite_log, PERSON_ERASED, BOB, {**said, "months": {f"{now():%Y-%m}": month}})
    sqlite_log.tamper(blank(at, by))
    opened(sqlite_log).sign()
    found = sqlite_log.check(sqlite_log.lines(sqlite_log.partial(BOB)))

    assert verdict(found) == ("ok" if is_upgraded else "unproven")
    assert any("by an older version" in one for one in found.remarks) == is_upgraded
