"""Checks the records of the log one by one, in the order of an export: content, position and tree.

Together with verifier.py this is what an auditor downloads.
"""

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from services.audit.kept import (
    NEVER,
    Consistency,
    KeptCheckpoints,
    no_proof,
)
from services.audit.proofs import (
    FORMAT,
    Checkpoint,
    Frontier,
    Key,
    NotAnExport,
    canonical,
    commitment,
    end_text,
    is_time,
    leaf_of,
    origin_text,
    root_before,
    root_by_inclusion,
    signed_text,
)
from services.audit.statements import (
    LOG_ITSELF,
    LOG_SERVICE,
    MONTH,
    NO_LIMIT,
    WHOLE,
    Fault,
    Ledger,
    Statement,
)

FAULTS_MAX = 100
SALT_CHARACTERS = 32
RECORD_FIELDS = frozenset(
    "type seq received id timestamp user_id actor action resource outcome status service ip user_agent"
    " metadata request_id trace_id origin origin_salt origin_erased_by details details_salt details_erased_by"
    " leaf".split()
)
_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, RecursionError)
PARTIAL_FIELDS = RECORD_FIELDS | {"number", "proof"}
STATEMENT_FIELDS = RECORD_FIELDS | {"proof"}
Root = Callable[[], bytes]
FUTURE_MAX = timedelta(days=1)  # by how much the clocks of the service and of a verifier may differ


class Verification:
    """Reads the parts of an export in order and collects faults.

    `kept` are checkpoints from elsewhere, and `consistency` proves that one log continues another. A range
    may start after the log's beginning or stop before its end; the check cannot tell for the months
    at its edges whether the cleared fields are exactly those that were erased.
    """

    def __init__(
        self,
        keys: Sequence[Key],
        kept: Iterable[Checkpoint] = (),
        *,
        consistency: Consistency = no_proof,
        begins_inside: bool = False,
        ends_inside: bool = False,
        metadata_text: Callable[[Any], str] = canonical,
        remembered_max: int = NO_LIMIT,
    ) -> None:
        self.faults: list[Fault] = []
        self.unproven: list[Fault] = []
        self.remarks: list[str] = []
        self.records = self.emptied = 0
        self.checkpoint: Checkpoint | None = None
        self.keys, self._metadata_text = keys, metadata_text
        self._begins_inside, self._ends_inside = begins_inside, ends_inside
        self._kept = KeptCheckpoints(kept, consistency, self.report, self.doubt)
        self._tree = Frontier()
        self._follows = True  # whether every record so far was present, so that the tree can be compared
        self._first = self._next = self._proven = self._last_seq = 0
        self._gaps: list[range] = []
        self._partial = False
        self._received = [""] * 2  # of the first and of the last record
        self._latest = (datetime.now(UTC) + FUTURE_MAX).isoformat()
        self.ledger = Ledger(self.report, self.doubt, remembered_max)

    def begin(self, header: Mapping[str, Any]) -> None:
        """Read the first line: the content of the export, and the checkpoint at its end."""
        if header.get("type") != "header" or header.get("format") != FORMAT:
            raise NotAnExport(f"the first line is not a header of format {FORMAT}")
        try:
            self._partial, self._first = header["partial"] is True, operator.index(header["first"])
            hashes = [bytes.fromhex(one) for one in header["frontier"]]
            self._tree = Frontier(0 if self._partial else self._first, hashes)
            self.checkpoint = Checkpoint.of(header["checkpoint"], self.keys)
            carried = header.get("consistency", {}).items()
            proofs = {size: [bytes.fromhex(one) for one in proof] for size, proof in carried}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise NotAnExport(f"the header cannot be read: {error!r}") from error
        self._next = 1 if self._partial else self._first
        self.ledger.first = self._first
        self._last_seq = -1
        self._proven = self._first
        if self.checkpoint is None:
            self.report("foreign_key", None, "the checkpoint is not signed by the given key")
            return
        if self._partial:
            self.remarks.append(_asked_for(header.get("filter")))
        self._kept.begin(self.checkpoint, self._first, proofs, is_partial=self._partial)
        self._compare_kept()

    def add_record(self, record: Mapping[str, Any]) -> None:
        seq, place = record.get("seq"), record.get("number" if self._partial else "seq")
        if type(place) is not int or type(seq) is not int or max(place, seq) >= NEVER:
            self.report("malformed", self.place, "it has no position")
            return
        if not self._in_place(place, seq):
            return
        try:
            leaf = bytes.fromhex(record["leaf"])
            if self._partial:
                self._check_content(record, seq, PARTIAL_FIELDS, self._check_proof(record, seq, leaf))
            else:
                self._check_content(record, seq, RECORD_FIELDS, self._tree.root if self._follows else None)
                self._grow(leaf)
        except _UNREADABLE as error:
            self.report("malformed", seq, _why(error))
            self._follows = False
        self.records += 1

    def _in_place(self, place: int, seq: int) -> bool:
        if place == self._next:
            self._next += 1
            if self._partial and seq == self._last_seq:
                self.report("duplicated", seq, "it occurs twice")
            self._last_seq = seq
            return True
        self._follows = False
        if place > self._next:
            what = f"{'number' if self._partial else 'record'} {self._next}"
            after = f" after record {self._last_seq}" if self._partial else ""
            where = self._last_seq + 1 if self._partial else self._next
            self.report(
                "removed", where, f"{what}{f' to {place - 1}' * (place - 1 > self._next)} is missing{after}"
            )
            if len(self._gaps) < FAULTS_MAX:  # every record out of order is searched in each of them
                self._gaps.append(range(self._next, place))
            self._next, self._last_seq = place + 1, seq
            return True
        gap = next((gap for gap in self._gaps if place in gap), None)
        if gap is None:
            self.report("duplicated", seq, "it occurs twice")
        else:
            self._came_late(gap, seq)
        return False

    def _came_late(self, gap: range, seq: int) -> None:
        """Replace the fault `removed` with `reordered`."""
        found = Fault("reordered", seq, f"it comes after record {self._last_seq}")
        for index, fault in enumerate(self.faults):
            if fault.kind == "removed" and (self._partial or fault.seq == gap.start):
                self.faults[index] = found
                return
        self.report(*found)

    def add_statement(self, record: Mapping[str, Any], *, before: Root | None = None) -> None:
        """Add a statement from elsewhere in the log, which explains records here.

        `before` is the root over all earlier records; if it is not given, the statement contains a proof.
        """
        seq = record.get("seq")
        if type(seq) is not int or seq in self.ledger.statements:
            self.report("malformed", self.place, "a statement of the log is unreadable")
            return
        try:
            wanted = RECORD_FIELDS if before is not None else STATEMENT_FIELDS
            if before is None:
                before = self._check_proof(record, seq, bytes.fromhex(record["leaf"]))
            self._check_content(record, seq, wanted, before, is_elsewhere=True)
        except _UNREADABLE as error:
            self.report("malformed", seq, _why(error))

    def _check_content(
        self,
        record: Mapping[str, Any],
        seq: int,
        wanted: frozenset[str],
        before: Root | None,
        *,
        is_elsewhere: bool = False,
    ) -> None:
        if record.keys() != wanted:
            odd = ", ".join(sorted(record.keys() ^ wanted))
            self.report("changed", seq, f"fields were added or removed: {odd[:200]}")
            return
        leaf = leaf_of(record).hexdigest()  # always: it fails for values of another type
        if type(record["status"]) is not int or leaf != record["leaf"]:
            self.report("changed", seq, "the record does not match its hash in the tree")
        elif not (is_time(record["received"]) and is_time(record["timestamp"])):
            self.report("malformed", seq, "it has a time that no log writes")  # lists cannot show it
        elif not is_elsewhere:
            self._check_time(seq, record["received"])
            self.ledger.pass_by(record)
        if self._is_kept(record, "origin", ("ip", "user_agent")):
            text = origin_text(record)
            if commitment(record["origin_salt"], text) != record["origin"]:
                self.report("changed", seq, "ip or user_agent is not what was recorded")
        if self._is_kept(record, "details", ("metadata",)):
            text = self._metadata_text(record["metadata"])
            if commitment(record["details_salt"], text) != record["details"]:
                self.report("changed", seq, "metadata is not what was recorded")
            elif record["actor"] == LOG_ITSELF and record["service"] == LOG_SERVICE:
                self._state(Statement.of(record, text, self.keys), before, is_elsewhere=is_elsewhere)

    def _state(self, statement: Statement, before: Root | None, *, is_elsewhere: bool) -> None:
        if statement.root is not None and before is not None and before().hex() != statement.root:
            what = "the log's key signed it for another log: the records before it differ"
            self.report("forged", statement.seq, what)
        self.ledger.state(statement, is_elsewhere=is_elsewhere)

    def follows(self, received: str) -> None:
        """Set the time at which the record before the first one of a range was received."""
        self._received[1] = received

    def _check_time(self, seq: int, received: str) -> None:
        """The time of receipt never goes backwards; partial exports have another order."""
        if received > self._latest:
            self._latest = "~"  # later records have at least this time
            self.doubt(seq, f"it claims to have been received on {received[:10]}, which is in the future")
        if self._partial:
            return
        if received < self._received[1]:
            self.report("changed", seq, "its time of receipt is before that of the previous record")
        self._received = [self._received[0] or received, max(received, self._received[1])]

    def _is_kept(self, record: Mapping[str, Any], part: str, names: Sequence[str]) -> bool:
        """Whether a part of a record is present; if not, note which erasure cleared it."""
        seq, by, salt = record["seq"], record[f"{part}_erased_by"], record[f"{part}_salt"]
        if salt is not None:
            if by is not None:
                self.report("changed", seq, f"it says that its {part} was erased, but still has it")
            if len(salt) != SALT_CHARACTERS:  # otherwise it could absorb the beginning of the text
                self.report("changed", seq, f"its salt ({part}_salt) does not have {SALT_CHARACTERS} digits")
            return True
        if type(by) is not int or any(record[name] is not None for name in names):
            self.report("changed", seq, f"its salt ({part}_salt) was removed")
        else:
            self.ledger.empty(record, part, by)
            self.emptied += 1
        return False

    def _check_proof(self, record: Mapping[str, Any], seq: int, leaf: bytes) -> Root | None:
        """Return the root over the records before this one, which follows from its proof."""
        if self.checkpoint is None:
            return None
        size, proof = self.checkpoint.size, [bytes.fromhex(one) for one in record["proof"]]
        if root_by_inclusion(leaf, seq, size, proof) != self.checkpoint.root:
            self.report("rewritten", seq, "its proof does not lead to the checkpoint")
        return lambda: root_before(seq, size, proof)

    def _grow(self, leaf: bytes) -> None:
        self._tree.add(leaf)
        if self._tree.size >= self._kept.due:
            self._compare_kept()

    def _compare_kept(self) -> None:
        size = self._kept.differs(self._tree) if self._follows else None
        if size is not None:
            self._diverged(self._kept.proven, size, "the kept checkpoint")

    def add_checkpoint(self, note: str) -> Checkpoint | None:
        """Compare a checkpoint between the records, which narrows down the position of a change."""
        said = Checkpoint.of(note, self.keys)
        if said is None:
            self.report("foreign_key", self._tree.size, "the checkpoint here is not signed by the given key")
        elif said.size != self._tree.size and self._follows:
            self.report(
                "changed", self._tree.size, f"a checkpoint of {said.size} records does not belong here"
            )
        else:
            self._compare(said)
        return said

    def _compare(self, said: Checkpoint) -> None:
        if not self._follows:
            return
        if said.root != self._tree.root():
            self._diverged(self._proven, said.size, "the signed checkpoint")
        self._proven = said.size

    def _diverged(self, proven: int, size: int, what: str) -> None:
        self._follows = False
        self.report("rewritten", proven, f"among records {proven} to {size - 1}: they do not lead to {what}")

    def finish(self) -> None:
        """Check what needs all records, after the last one."""
        if not self._partial:
            self._finish_tree()
        size = self.checkpoint.size if self.checkpoint else 0
        ledger, old = self.ledger, list[int]()
        if ledger.is_full:
            self.doubt(None, "it has too many erasures to compare them: repeat with a higher --remember")
            return
        ledger.finish_statements()
        months = WHOLE if self._partial else self._whole_months()
        ledger.finish_erasures(size, months, is_partial=self._partial, old=old)
        for one in ledger.erased_but_not_deleted(is_partial=self._partial):
            what = f"account {one.resource} was erased, but no record says that it was deleted"
            self.doubt(one.seq, what)
        if ledger.unexplained:
            erased = f"{ledger.unexplained} accounts were erased by an older version"
            self.remarks.append(f"{erased}: only the whole log shows whether they had been deleted")
        if old:
            erasures = f"{sum(old)} fields were cleared by {len(old)} erasures"
            self.remarks.append(f"{erasures} of an older version, which did not name the account")

    def _whole_months(self) -> tuple[str, str]:
        """Return the first month of which every record is here, and the first after it that is incomplete."""
        first, last = (moment[MONTH] for moment in self._received)
        begin = f"{first}~"
        if not self._begins_inside:
            begin = self.ledger.finish_cut(self._first, self._received[0] or None)
        return begin, last if self._ends_inside else WHOLE[1]

    def _finish_tree(self) -> None:
        if self.checkpoint is None:
            return
        if self._next < self.checkpoint.size:
            missing = f"records {self._next} to {self.checkpoint.size - 1}"
            self.report("truncated", self._next, f"{missing} are missing at the end")
        elif self._next > self.checkpoint.size:
            self.report(
                "changed", self.checkpoint.size, "there are records that the checkpoint does not cover"
            )
        else:
            self._compare(self.checkpoint)

    def check_end(self, note: str, digest: bytes) -> None:
        """Check the last line of an export: a signed digest of all lines before it."""
        text = signed_text(note, self.keys)
        if text is None:
            self.report("foreign_key", None, "the last line is not signed by the given key")
        elif text not in {end_text(key.name, self.records, digest) for key in self.keys}:
            self.report(
                "changed",
                self.place,
                "a line before this one was changed after the end of the file had been signed",
            )

    @property
    def is_partial(self) -> bool:
        return self._partial

    @property
    def place(self) -> int:
        """The record after the last one that was read."""
        return self._last_seq + 1 if self._partial else self._next

    def summary(self) -> str:
        size = self.checkpoint.size if self.checkpoint else 0
        emptied = f", {self.emptied} fields cleared when personal data was erased" if self.emptied else ""
        return f"{self.records} records{emptied}, proven by the signed checkpoint over {size}"

    def report(self, kind: str, seq: int | None, detail: str) -> None:
        if len(self.faults) < FAULTS_MAX:
            self.faults.append(Fault(kind, seq, detail))

    def doubt(self, seq: int | None, detail: str) -> None:
        """No fault was found, but not everything is proven."""
        if len(self.unproven) < FAULTS_MAX:
            self.unproven.append(Fault("unproven", seq, detail))


def _why(error: Exception) -> str:
    """Why a record cannot be read; the message of a UnicodeError would quote all of it."""
    is_text = not isinstance(error, UnicodeError)
    return f"it cannot be read: {error!r}" if is_text else "it contains bytes that are not text"


def _asked_for(named: Any) -> str:
    """Return the remark on the filter that selected this part of the log."""
    if not isinstance(named, Mapping):
        return "this part of the log does not name its filter"
    wanted = ", ".join(f"{name} {named[name]}" for name in sorted(named))
    return f"a part of the log, selected by: {wanted[:500]}"
