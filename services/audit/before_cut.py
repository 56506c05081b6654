"""The check before a retention cut, which cannot be undone."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.audit.checking import Verification
from services.audit.checkpoints import Checkpoints
from services.audit.export import FullExport
from services.audit.feed import check, pinned
from services.audit.holds import held_accounts, stated_accounts
from services.audit.proofs import Checkpoint, Key
from services.audit.queries import checked_metadata
from services.audit.schemas import SEQ_MAX


class _BeforeCut(Verification):
    """Takes the time and the account of each record from its verified content, not from a query."""

    def __init__(
        self, keys: Sequence[Key], kept: Sequence[Checkpoint], cut: range, before: str, held: set[str]
    ) -> None:
        super().__init__(keys, kept, metadata_text=checked_metadata)
        self._cut, self._before, self._held = cut, before, held

    def add_record(self, record: Mapping[str, Any]) -> None:
        super().add_record(record)
        if record["seq"] not in self._cut:
            return
        if record["received"] >= self._before:
            self.report("changed", record["seq"], "it is not old enough to be cut off")
        if record["user_id"] in self._held:
            self.report("changed", record["seq"], "it belongs to an account under a hold")

    def finish(self) -> None:
        super().finish()
        for account, first in self.ledger.held_from.items():
            if account not in self._held or first in self._cut:
                self.report("changed", self.ledger.holds[account], "the hold that it placed was hidden")


def checked_before_cut(
    checkpoints: Checkpoints, first: int, end: int, before: str
) -> tuple[Verification, int]:
    """Check the whole log before its first records are cut off; return the result, and what was checked.

    The whole log, because any record may be the hold that forbids the cut.
    """
    database = checkpoints.database
    checkpoints.make(whole=True)
    # Read before the log: checkpoints signed while the log is read would otherwise look like a rollback.
    kept = checkpoints.anchored(range(first + 1, SEQ_MAX), checkpoints.anchor_bytes())
    with database.transaction(write=False) as session:
        newest = pinned(session)
        held = held_accounts(session) | stated_accounts(session, checkpoints.keys, first)
    found = _BeforeCut(checkpoints.keys.known, kept, range(first, end), before, held)
    check(database, FullExport(newest, first), found, newest.size)
    if newest.size < end:
        found.report("changed", newest.size, "records that are to be cut off are not signed")
    return found, newest.size
