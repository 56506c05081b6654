"""Checks an export of the audit log without trusting its origin.

    python audit-verifier.py export.ndjson --key KEY [--checkpoint FILE] [--consistency FILE]

KEY is the log's public key, or a file that holds it; get it from GET /audit/key while you trust the log.
FILE holds checkpoints that you kept (GET /audit/checkpoint, or an anchor file); each one proves that nothing
older than it has changed since. If the records of a checkpoint were cut off, or the export is a part of
the log, add the response of GET /audit/proof/consistency: --consistency names a file of such responses. GET
/audit/verifier serves this program as one file that needs Python 3.11 and the package `cryptography`, so that
an auditor can read it and run it anywhere. Exit codes: 0 intact, 1 tampered with, 2 cannot be checked, 3 no
fault found, but not everything is proven.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from services.audit.checking import (
    Verification,
)
from services.audit.kept import (
    Consistency,
)
from services.audit.proofs import (
    Checkpoint,
    Key,
    NotAnExport,
    is_torn,
    notes_in,
    parsed,
)

LINE_BYTES_MAX = 16 * 1024 * 1024
END_FIELDS = {"type", "note"}
REMEMBERED_MAX = 1_000_000  # statements, deletions and months of erasures, in up to 1.6 GB


def check_export(lines: Iterable[bytes], verification: Verification) -> None:
    """Check an export line by line, in bounded memory."""
    digest, count, is_ended = hashlib.sha256(), 0, False
    for line in lines:
        document = parsed(line)
        kind = document.get("type")
        if is_ended:
            verification.report("changed", verification.place, "there are lines after the last one")
            break
        if not count:
            verification.begin(document)
        elif kind == "record":
            verification.add_record(document)
        elif kind == "checkpoint":
            verification.add_checkpoint(str(document.get("note")))
        elif kind == "statement" and verification.is_partial:
            verification.add_statement(document)
        elif kind == "end":
            is_ended = True
            _check_end(document, verification, digest.digest())
        else:
            verification.report(
                "changed", verification.place, f"line {count + 1} has a type that no export has: {kind}"[:200]
            )
        digest.update(line)
        count += 1
    if not count:
        raise NotAnExport("the file is empty")
    if not is_ended:
        verification.report("truncated", verification.place, "the file ends before its last line")
    verification.finish()


def _check_end(document: dict[str, Any], verification: Verification, digest: bytes) -> None:
    if document.keys() != END_FIELDS:  # its signature does not cover its own line
        verification.report("changed", verification.place, "the last line has fields that no export has")
    verification.check_end(str(document.get("note")), digest)


def _lines(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while line := opened.readline(LINE_BYTES_MAX):
            yield line


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("export", type=Path, help="an export of the audit log as NDJSON")
    parser.add_argument("--key", required=True, help="the public key of the log, or a file that holds it")
    parser.add_argument(
        "--checkpoint", type=Path, action="append", default=[], help="a file of checkpoints that you kept"
    )
    parser.add_argument(
        "--consistency", type=Path, action="append", default=[], help="a file of consistency proofs"
    )
    parser.add_argument(
        "--remember",
        type=int,
        default=REMEMBERED_MAX,
        metavar="N",
        help=f"how many erasures and deletions to hold in memory, {REMEMBERED_MAX} by default",
    )
    given = parser.parse_args(arguments)
    try:
        key_text = Path(given.key).read_text() if Path(given.key).is_file() else given.key
        keys = _keys(key_text)
        remarks = list[str]()
        kept = [one for file in given.checkpoint for one in _kept(file, keys, remarks)]
        proofs = _proofs(given.consistency)
        verification = Verification(keys, kept, consistency=proofs, remembered_max=given.remember)
        verification.remarks += remarks
        check_export(_lines(given.export), verification)
    except (NotAnExport, OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"cannot be checked: {_harmless(str(error))}\n")
        return 2
    sys.stdout.write("".join(f"{_harmless(line)}\n" for line in _said(verification)))
    return 1 if verification.faults else 3 if verification.unproven else 0


def _said(verification: Verification) -> Iterator[str]:
    for remark in verification.remarks:
        yield f"note: {remark}"
    for found, word in ((verification.faults, "TAMPERED: "), (verification.unproven, "")):
        for kind, seq, detail in found:
            what = f"{word}{kind if word else kind.upper()}"
            yield f"{what}{'' if seq is None else f' at record {seq}'}: {detail}"
    if not verification.faults:
        yield f"{'NOT ALL PROVEN' if verification.unproven else 'OK'}: {verification.summary()}"


def _harmless(line: str) -> str:
    """Escape control characters, which may affect the terminal, and what its encoding does not have."""
    shown = "".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in line)
    encoding = sys.stdout.encoding or "utf-8"
    return shown.encode(encoding, errors="backslashreplace").decode(encoding)


def _keys(text: str) -> list[Key]:
    keys = [Key.parse(line) for line in text.split()]
    if not keys:  # as after a failed download, which is no sign of tampering
        raise NotAnExport("there is no public key")
    return keys


def _kept(file: Path, keys: Sequence[Key], remarks: list[str]) -> list[Checkpoint]:
    # A crash may have cut the last line anywhere, also within a character.
    notes = notes_in(file.read_text(encoding="utf-8", errors="replace") + "\n")
    found = [(note, Checkpoint.of(note, keys)) for note in notes]
    kept = [one for _, one in found if one is not None]
    torn = sum(one is None and is_torn(note) for note, one in found)
    if torn:
        remarks.append(f"{file}: {torn} checkpoints were not written completely, and are not compared")
    if not kept or len(kept) + torn < len(notes):
        raise NotAnExport(f"{file}: {len(kept)} of {len(notes)} checkpoints are signed by the given key")
    return kept


def _proofs(files: Iterable[Path]) -> Consistency:
    """Read responses of GET /audit/proof/consistency; the verification trusts nothing in them."""
    found = dict[tuple[int, int], list[bytes]]()
    for file in files:
        text, decoder = file.read_text(encoding="utf-8").strip(), json.JSONDecoder()
        while text:
            try:
                one, end = decoder.raw_decode(text)
                found[one["size_before"], one["size"]] = [bytes.fromhex(each) for each in one["proof"]]
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise NotAnExport(f"{file}: it is not a consistency proof: {error!r}"[:300]) from error
            text = text[end:].lstrip()
    return lambda size, to: found.get((size, to))


if __name__ == "__main__":
    sys.exit(main())
