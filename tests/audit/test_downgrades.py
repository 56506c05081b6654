"""Attacks that make a log look like one of an older version, whose statements were not signed.

Statements are reported as forged from the first signed one on, so the attacker deletes every signed statement
together with the start of the log, and lets the service open the log again.
"""

import pytest

from services.audit.statements import RETENTION_CUT
from shared.clock import now
from tests.audit.attacks import (
    LOOKS,
    append_without_root,
    by_service,
    deletion,
    erase,
    forged,
    gone,
    legacy,
    opened,
    verdict,
)
from tests.audit.support import ALICE, BOB, Log, checkpoint, entry

KEPT = 4  # records in the checkpoint that an auditor kept
FIRST = 9  # the first record that the attacker leaves, after the last signed statement


@pytest.fixture
def signed(sqlite_log: Log) -> tuple[Log, str]:
    """0 opens the log, 7 erases an account, and 9 is the first record after it; with a kept checkpoint."""
    opened(sqlite_log).add(entry(BOB), entry(ALICE), entry(BOB))
    kept = sqlite_log.sign()
    sqlite_log.add(entry(BOB), entry(BOB), deletion(ALICE))
    erase(sqlite_log, ALICE)
    sqlite_log.add(entry(BOB), entry(BOB))
    sqlite_log.sign()
    return sqlite_log, kept


@pytest.mark.parametrize("is_signed", [False, True])
def test_unsigned_cut_does_not_prove_why_the_start_of_the_log_is_missing(
    signed: tuple[Log, str], *, is_signed: bool
) -> None:
    log, kept = signed
    size = checkpoint(kept, log.keys).size
    said = {"kept_from": FIRST, "before": f"{now():%Y-%m}-01T00:00:00.000000Z"}
    append = append_without_root if is_signed else forged
    append(log, RETENTION_CUT, "audit", said)
    gone(FIRST)(log)
    opened(log).sign()
    export = log.full()
    export.kept = size

    assert [look(log) for look in LOOKS] == ["unproven"] * 3
    assert size == KEPT
    checked = log.check(log.lines(export), kept)
    assert (verdict(checked), [fault.seq for fault in checked.unproven]) == ("unproven", [0])


def test_unsigned_erasure_is_not_accepted_either_once_the_start_is_gone(signed: tuple[Log, str]) -> None:
    log, _ = signed
    said = {"kept_from": FIRST, "before": f"{now():%Y-%m}-01T00:00:00.000000Z"}
    by = forged(log, "PERSON_ERASED", "audit", legacy(FIRST, "details"))
    forged(log, RETENTION_CUT, "audit", said)
    log.tamper(
        f"UPDATE personal SET metadata = NULL, details_salt = NULL, details_erased_by = {by} WHERE seq = 9"
    )
    gone(FIRST)(log)
    opened(log).sign()

    assert by_service(log) == "unproven"
