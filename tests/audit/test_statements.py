"""When an erased account must have a record of its deletion in the rest of the log."""

from typing import Any

import pytest

from services.audit.statements import PERSON_ERASED, RETENTION_CUT, Ledger, Statement


def ignore(*_: Any) -> None:
    """Discard reports."""


@pytest.mark.parametrize(
    ("before", "erased", "is_wanted"),
    [
        (None, "2026-02-01T00:00:00.000000Z", True),
        ("2026-02-01T00:00:00.000000Z", "2026-02-04T23:59:59.999999Z", False),
        ("2026-02-01T00:00:00.000000Z", "2026-02-05T00:00:00.000000Z", True),
    ],
)
def test_deletion_may_be_missing_only_shortly_after_a_cut(
    before: str | None, erased: str, *, is_wanted: bool
) -> None:
    ledger = Ledger(ignore, ignore)
    ledger.state(Statement(7, PERSON_ERASED, "account", erased, {}, is_signed=True))
    if before is not None:
        ledger.state(Statement(9, RETENTION_CUT, "audit", erased, {"before": before}, is_signed=True))

    assert [one.seq for one in ledger.erased_but_not_deleted()] == [7] * is_wanted
