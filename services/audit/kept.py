"""Compares a log with the checkpoints that somebody kept elsewhere.

Together with verifier.py this is what an auditor downloads.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from services.audit.proofs import (
    Checkpoint,
    Frontier,
    is_continued,
)
from services.audit.statements import (
    Doubt,
    Report,
)

# Returns the proof that the log of one size begins with the log of another, if there is one.
Consistency = Callable[[int, int], Sequence[bytes] | None]

NEVER = 2**63


def no_proof(_size: int, _to: int) -> None:
    return None


class KeptCheckpoints:
    """Kept checkpoints, and the size up to which they prove the records so far."""

    def __init__(
        self, kept: Iterable[Checkpoint], consistency: Consistency, report: Report, doubt: Doubt
    ) -> None:
        self._kept = sorted(kept)
        self._consistency, self._report, self._doubt = consistency, report, doubt
        self.proven = 0
        self._proofs: Mapping[str, Sequence[bytes]] = {}
        self.due = NEVER  # the size at which the next one is compared

    def begin(
        self, newest: Checkpoint, first: int, proofs: Mapping[str, Sequence[bytes]], *, is_partial: bool
    ) -> None:
        """Compare the kept checkpoints that are newer than all of the records, or older than the first.

        `proofs` are those of the export, by the size of the earlier log.
        """
        self.proven, self._proofs = first, proofs
        here, unknown = list[Checkpoint](), list[int]()
        for kept in self._kept:
            if kept.size > newest.size:
                known = f"{newest.size} records, but a kept checkpoint has {kept.size}"
                self._report("rolled_back", newest.size, f"it has {known}")
            elif not is_partial and kept.size >= first:
                here.append(kept)
            elif not self._is_decided(kept, newest):
                unknown.append(kept.size)
        self._kept = here
        self._find_due()
        if unknown:
            self._doubt(None, _advice(unknown, newest.size, is_partial=is_partial))

    def _is_decided(self, kept: Checkpoint, newest: Checkpoint) -> bool:
        """Whether this could be decided; a difference is reported."""
        proof: Sequence[bytes] | None = ()
        if 0 < kept.size < newest.size:
            proof = self._proofs.get(str(kept.size)) or self._consistency(kept.size, newest.size)
        if proof is not None and not is_continued(kept, newest, proof):
            self._report(
                "rewritten", None, f"it does not continue the kept checkpoint of {kept.size} records"
            )
        return proof is not None

    def differs(self, tree: Frontier) -> int | None:
        """Return the size if a kept checkpoint of exactly these records contradicts them."""
        found = None
        while self._kept and self._kept[0].size <= tree.size:
            kept = self._kept.pop(0)
            if kept.root != tree.root():
                found = kept.size
            else:
                self.proven = kept.size
        self._find_due()
        return found

    def _find_due(self) -> None:
        self.due = self._kept[0].size if self._kept else NEVER


def _advice(sizes: Sequence[int], newest: int, *, is_partial: bool) -> str:
    why = "a part of the log cannot be compared with them" if is_partial else "the first record here is newer"
    many = f"{len(sizes)} kept checkpoints (the largest covers {sizes[-1]} records) are not compared: {why}"
    ask = f"/audit/proof/consistency?from={sizes[-1]}&to={newest}"
    return f"{many}. Export again with kept={sizes[-1]}, or add GET {ask} with --consistency"
