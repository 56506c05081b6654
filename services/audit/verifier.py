"""Checks an export of the audit log, without asking whoever made it.

    python audit-verifier.py export.ndjson --key KEY [--checkpoint FILE]

KEY is the log's public key, or a file that holds it, had from GET /audit/key at a time you trusted the log.
FILE holds checkpoints you kept (GET /audit/checkpoint, or an anchor file); each one proves that nothing
older than it was changed since. GET /audit/verifier hands this out as one file that needs Python 3.11 and
the package `cryptography`, so that an auditor can read it and run it anywhere. Exit code: 0 as it was,
1 tampered with, 2 cannot be checked.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from services.audit.proofs import (
    FORMAT,
    Checkpoint,
    Erasure,
    Frontier,
    Key,
    NotAnExport,
    canonical,
    commitment,
    end_text,
    leaf_of,
    notes_in,
    origin_text,
    parsed,
    root_by_inclusion,
    signed_text,
)

LINE_BYTES_MAX = 1024 * 1024
FAULTS_MAX = 100
LOG_ITSELF = "log"  # the actor of what the log records about itself
PERSON_ERASED, RETENTION_CUT = "PERSON_ERASED", "RETENTION_CUT"
RECORD_FIELDS = frozenset(
    "type seq received id timestamp user_id actor action resource outcome status service ip user_agent"
    " metadata request_id trace_id origin origin_salt origin_erased_by details details_salt details_erased_by"
    " leaf".split()
)
PARTIAL_FIELDS = RECORD_FIELDS | {"number", "proof"}


class Fault(NamedTuple):
    """What is wrong, and where: the sequence number of the first record concerned, if it is about one."""

    kind: str
    seq: int | None
    detail: str


class Verification:
    """Takes the parts of an export in their order, and gathers what is wrong with them.

    `kept` are checkpoints from elsewhere. A range is checked without what only the whole can show: that
    what is missing at its beginning was cut, and what is empty was erased, as the log itself says.
    """

    def __init__(
        self,
        keys: Sequence[Key],
        kept: Iterable[Checkpoint] = (),
        *,
        is_range: bool = False,
        metadata_text: Callable[[Any], str] = canonical,
    ) -> None:
        self.faults: list[Fault] = []
        self.remarks: list[str] = []
        self.records = self.emptied = 0
        self.checkpoint: Checkpoint | None = None
        self.keys, self._is_range, self._metadata_text = keys, is_range, metadata_text
        self._kept = sorted(kept)
        self._tree = Frontier()
        self._follows = True  # whether every record so far was there, so that the tree can be compared
        self._first = self._next = self._proven = self._proven_by_kept = self._last_seq = 0
        self._gaps: list[range] = []
        self._partial = False
        self._erasures: dict[int, Erasure] = {}
        self._said_by_log: dict[int, tuple[str, Mapping[str, Any]]] = {}

    def begin(self, header: Mapping[str, Any]) -> None:
        """The first line: what the export holds, and the checkpoint that it ends with."""
        if header.get("type") != "header" or header.get("format") != FORMAT:
            raise NotAnExport(f"the first line is no header of format {FORMAT}")
        try:
            self._partial, self._first = header["partial"] is True, int(header["first"])
            hashes = [bytes.fromhex(one) for one in header["frontier"]]
            self._tree = Frontier(0 if self._partial else self._first, hashes)
            self.checkpoint = Checkpoint.of(header["checkpoint"], self.keys)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise NotAnExport(f"the header cannot be read: {error!r}") from error
        self._next = 1 if self._partial else self._first
        self._last_seq = -1
        self._proven = self._proven_by_kept = self._first
        if self.checkpoint is None:
            self.report("foreign_key", None, "the checkpoint is not signed by the key that was given")
            return
        if not self._partial:
            self._compare_kept()
        for kept in self._kept:
            if kept.size > self.checkpoint.size:
                known = f"{self.checkpoint.size}, and a checkpoint that was kept knows {kept.size}"
                self.report("rolled_back", self.checkpoint.size, f"it has {known} records")
            elif self._partial and kept.size == self.checkpoint.size and kept.root != self.checkpoint.root:
                self.report("rewritten", None, "its checkpoint is not the one of the same size that was kept")
            elif self._partial and kept.size < self.checkpoint.size:
                self.remarks.append(
                    f"only a full export can be compared with the checkpoint of {kept.size} records"
                )

    def add_record(self, record: Mapping[str, Any]) -> None:
        seq, place = record.get("seq"), record.get("number" if self._partial else "seq")
        if type(place) is not int or type(seq) is not int:
            self.report("malformed", self.place, "it does not say its place")
            return
        if not self._in_place(place, seq):
            return
        try:
            self._check_content(record, seq)
            leaf = bytes.fromhex(record["leaf"])
            if self._partial:
                self._check_proof(record, seq, leaf)
            else:
                self._grow(leaf)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            self.report("malformed", seq, f"it cannot be read: {error!r}")
            self._follows = False
        self.records += 1

    def _in_place(self, place: int, seq: int) -> bool:
        if place == self._next:
            self._next += 1
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
            self._gaps.append(range(self._next, place))
            self._next, self._last_seq = place + 1, seq
            return True
        gap = next((gap for gap in self._gaps if place in gap), None)
        if gap is None:
            self.report("duplicated", seq, "it is there twice")
        else:
            self._came_late(gap, seq)
        return False

    def _came_late(self, gap: range, seq: int) -> None:
        """It had been taken for removed."""
        found = Fault("reordered", seq, f"it stands after record {self._last_seq}")
        for index, fault in enumerate(self.faults):
            if fault.kind == "removed" and (self._partial or fault.seq == gap.start):
                self.faults[index] = found
                return
        self.report(*found)

    def _check_content(self, record: Mapping[str, Any], seq: int) -> None:
        wanted = PARTIAL_FIELDS if self._partial else RECORD_FIELDS
        if record.keys() != wanted:
            odd = ", ".join(sorted(record.keys() ^ wanted))
            self.report("changed", seq, f"fields were added or taken away: {odd[:200]}")
            return
        if self._is_kept(record, "origin", ("ip", "user_agent")):
            text = origin_text(record)
            if commitment(record["origin_salt"], text) != record["origin"]:
                self.report("changed", seq, "ip or user_agent is not what was recorded")
        if self._is_kept(record, "details", ("metadata",)):
            text = self._metadata_text(record["metadata"])
            if commitment(record["details_salt"], text) != record["details"]:
                self.report("changed", seq, "metadata is not what was recorded")
            elif record["actor"] == LOG_ITSELF and record["service"] == "audit":
                self._said_by_log[seq] = (record["action"], json.loads(text))
        if leaf_of(record).hexdigest() != record["leaf"]:
            self.report("changed", seq, "the record is not what its hash in the tree was made of")

    def _is_kept(self, record: Mapping[str, Any], part: str, names: Sequence[str]) -> bool:
        """Whether a part of a record is there; if not, whose erasure it says has emptied it."""
        seq, by = record["seq"], record[f"{part}_erased_by"]
        if record[f"{part}_salt"] is not None:
            if by is not None:
                self.report("changed", seq, f"it says that its {part} was erased, and has it")
            return True
        if type(by) is not int or any(record[name] is not None for name in names):
            self.report("changed", seq, f"its salt ({part}_salt) was taken away")
        else:
            self._erasures.setdefault(by, Erasure(seq)).add(seq, part)
            self.emptied += 1
        return False

    def _check_proof(self, record: Mapping[str, Any], seq: int, leaf: bytes) -> None:
        if self.checkpoint is None:
            return
        proof = [bytes.fromhex(one) for one in record["proof"]]
        if root_by_inclusion(leaf, seq, self.checkpoint.size, proof) != self.checkpoint.root:
            self.report("rewritten", seq, "its proof does not lead to the checkpoint")

    def _grow(self, leaf: bytes) -> None:
        self._tree.add(leaf)
        if self._kept and self._kept[0].size <= self._tree.size:
            self._compare_kept()

    def _compare_kept(self) -> None:
        while self._kept and self._kept[0].size <= self._tree.size:
            kept = self._kept.pop(0)
            if kept.size < self._tree.size:
                self.remarks.append(f"the checkpoint of {kept.size} records is older than the first one here")
            elif self._follows and kept.root != self._tree.root():
                self._diverged(self._proven_by_kept, kept.size, "the checkpoint that was kept")
            self._proven_by_kept = kept.size

    def add_checkpoint(self, note: str) -> Checkpoint | None:
        """A checkpoint between the records, which narrows down where something was changed."""
        said = Checkpoint.of(note, self.keys)
        if said is None:
            self.report(
                "foreign_key", self._tree.size, "the checkpoint there is not signed by the key that was given"
            )
        elif said.size != self._tree.size and self._follows:
            self.report(
                "changed", self._tree.size, f"a checkpoint of {said.size} records does not belong there"
            )
        else:
            self._compare(said)
        return said

    def _compare(self, said: Checkpoint) -> None:
        if not self._follows:
            return
        if said.root != self._tree.root():
            self._diverged(self._proven, said.size, "the checkpoint that was signed then")
        self._proven = said.size

    def _diverged(self, proven: int, size: int, what: str) -> None:
        self._follows = False
        self.report("rewritten", proven, f"among records {proven} to {size - 1}: they do not lead to {what}")

    def finish(self) -> None:
        """After the last record."""
        if not self._partial:
            self._finish_tree()
        if not self._partial and not self._is_range:
            self._finish_cut()
            for by, erasure in sorted(self._erasures.items()):
                self._finish_erasure(by, erasure)

    def _finish_tree(self) -> None:
        if self.checkpoint is None:
            return
        if self._next < self.checkpoint.size:
            missing = f"records {self._next} to {self.checkpoint.size - 1}"
            self.report("truncated", self._next, f"{missing} are missing at the end")
        elif self._next > self.checkpoint.size:
            self.report(
                "changed", self.checkpoint.size, "there are records that the checkpoint does not know"
            )
        else:
            self._compare(self.checkpoint)

    def _finish_cut(self) -> None:
        cuts = [
            said.get("kept_from") for action, said in self._said_by_log.values() if action == RETENTION_CUT
        ]
        if self._first and (not cuts or cuts[-1] != self._first):
            self.report(
                "removed", 0, f"records 0 to {self._first - 1} are missing, and no retention cut them off"
            )

    def _finish_erasure(self, by: int, erasure: Erasure) -> None:
        action, said = self._said_by_log.get(by, ("", {}))
        agrees = (erasure.places, erasure.digest.hexdigest()) == (said.get("places"), said.get("digest"))
        is_cut = isinstance(said.get("first"), int) and said["first"] < self._first
        if self.checkpoint is not None and by >= self.checkpoint.size:
            detail = f"it was emptied, and record {by}, which is to say why, came after this: look again"
            self.report("erased", erasure.first, detail)
        elif action != PERSON_ERASED:
            detail = f"it was emptied, and record {by} does not say that a person was erased"
            self.report("erased", erasure.first, detail)
        elif is_cut:
            self.remarks.append(f"of what record {by} says was erased, a part was cut off: not compared")
        elif not agrees:
            self.report(
                "erased", erasure.first, f"what is empty from here on is not what record {by} says was erased"
            )

    def check_end(self, note: str, digest: bytes) -> None:
        """The last line of a file: a signed digest of all lines before it."""
        text = signed_text(note, self.keys)
        if text is None:
            self.report("foreign_key", None, "the last line is not signed by the key that was given")
        elif text not in {end_text(key.name, self.records, digest) for key in self.keys}:
            self.report(
                "changed", self.place, "somewhere before: the file is not as it was when its end was signed"
            )

    @property
    def place(self) -> int:
        """The record after the last one that was read."""
        return self._last_seq + 1 if self._partial else self._next

    def summary(self) -> str:
        size = self.checkpoint.size if self.checkpoint else 0
        emptied = f", {self.emptied} places emptied when persons were erased" if self.emptied else ""
        return f"{self.records} records{emptied}, proven by the signed checkpoint of {size}"

    def report(self, kind: str, seq: int | None, detail: str) -> None:
        if len(self.faults) < FAULTS_MAX:
            self.faults.append(Fault(kind, seq, detail))


# The file, and the command.


def check_export(lines: Iterable[bytes], verification: Verification) -> None:
    """Read an export line by line; constant memory, however long it is."""
    digest, count, is_ended = hashlib.sha256(), 0, False
    for line in lines:
        document = parsed(line)
        kind = document.get("type")
        if is_ended:
            verification.report("changed", verification.place, "there are lines after the end")
            break
        if not count:
            verification.begin(document)
        elif kind == "record":
            verification.add_record(document)
        elif kind == "checkpoint":
            verification.add_checkpoint(str(document.get("note")))
        elif kind == "end":
            is_ended = True
            verification.check_end(str(document.get("note")), digest.digest())
        else:
            verification.report(
                "changed", verification.place, f"line {count + 1} is none of an export: {kind}"[:200]
            )
        digest.update(line)
        count += 1
    if not count:
        raise NotAnExport("the file is empty")
    if not is_ended:
        verification.report("truncated", verification.place, "the file breaks off before its last line")
    verification.finish()


def _lines(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while line := opened.readline(LINE_BYTES_MAX):
            yield line


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("export", type=Path, help="an export of the audit log as NDJSON")
    parser.add_argument("--key", required=True, help="the public key of the log, or a file that holds it")
    parser.add_argument(
        "--checkpoint", type=Path, action="append", default=[], help="checkpoints that were kept"
    )
    given = parser.parse_args(arguments)
    try:
        key_text = Path(given.key).read_text() if Path(given.key).is_file() else given.key
        keys = [Key.parse(line) for line in key_text.split()]
        verification = Verification(keys, [one for file in given.checkpoint for one in _kept(file, keys)])
        check_export(_lines(given.export), verification)
    except (NotAnExport, OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"cannot be checked: {error}\n")
        return 2
    said = [f"note: {remark}" for remark in verification.remarks]
    for kind, seq, detail in verification.faults:
        said.append(f"TAMPERED: {kind}{'' if seq is None else f' at record {seq}'}: {detail}")
    if not verification.faults:
        said.append(f"OK: {verification.summary()}")
    sys.stdout.write("".join(f"{line}\n" for line in said))
    return 1 if verification.faults else 0


def _kept(file: Path, keys: Sequence[Key]) -> list[Checkpoint]:
    notes = notes_in(file.read_text())
    kept = [one for one in (Checkpoint.of(note, keys) for note in notes) if one is not None]
    if not kept or len(kept) < len(notes):
        raise NotAnExport(
            f"{file} holds {len(notes)} checkpoints, {len(kept)} of them signed by the key given"
        )
    return kept


if __name__ == "__main__":
    sys.exit(main())
