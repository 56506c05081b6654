"""Exports that are made to stop, to slow down or to crash the verifier."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from services.audit import proofs
from services.audit.checking import FAULTS_MAX, Verification
from services.audit.export import PartialExport
from services.audit.feed import pinned
from services.audit.proofs import SIGNATURES_MAX, Checkpoint, Key
from services.audit.retention import cut
from services.audit.schemas import FilterLogs
from services.audit.statements import UNSIGNED_CHARACTERS_MAX
from services.audit.verifier import check_export, main
from tests.audit.attacks import JANUARY, MARCH, deletion, erase
from tests.audit.support import ALICE, BOB, Log, changed, entry
from tests.audit.test_tampering import recomputed


@pytest.fixture
def run(sqlite_log: Log, tmp_path: Path) -> Callable[[list[bytes]], int]:
    def run(lines: list[bytes]) -> int:
        export = tmp_path / "export.ndjson"
        export.write_bytes(b"".join(lines))
        return main([str(export), "--key", sqlite_log.keys[0].text])

    return run


def test_filter_that_the_terminal_cannot_show_does_not_stop_the_verifier(
    sqlite_log: Log, run: Callable[[list[bytes]], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception would end it with exit code 1, which means tampering."""
    sqlite_log.add(entry(action="上传"))
    sqlite_log.sign()
    with sqlite_log.database.transaction(write=False) as session:
        export = PartialExport(pinned(session), FilterLogs(action="上传"), None)
    shown = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr("sys.stdout", shown)

    assert run(sqlite_log.lines(export)) == 0
    shown.seek(0)
    assert "action \\u4e0a\\u4f20\nOK: 1 records" in shown.read()


def test_position_with_thousands_of_digits_is_malformed(
    sqlite_log: Log, run: Callable[[list[bytes]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Python refuses to print a number of more than 4,300 digits."""
    sqlite_log.fill(2)
    lines = sqlite_log.lines()

    assert run([lines[0], f'{{"type":"record","seq":{"9" * 4300}}}\n'.encode(), *lines[1:]]) == 1
    assert "TAMPERED: malformed at record 0: it has no position" in capsys.readouterr().out


def test_effort_for_records_in_disorder_is_bounded(sqlite_log: Log) -> None:
    """Each missing range is searched for every record that comes late, so their number must not grow."""
    sqlite_log.fill(1)
    disorder = [*range(2, 1000, 2), *range(3, 1000, 2)]
    verification = Verification(sqlite_log.keys)
    check_export(
        [sqlite_log.lines()[0], *(b'{"type":"record","seq":%d}\n' % seq for seq in disorder)], verification
    )

    assert len(verification.faults) == FAULTS_MAX
    assert len(verification._gaps) <= FAULTS_MAX


def test_few_signatures_of_a_note_are_verified(sqlite_log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes 0.2 ms, and a line of an export has room for 130,000."""
    sqlite_log.fill(1)
    note = json.loads(sqlite_log.lines()[0])["checkpoint"]
    text, _, signature = note.rpartition("\n\n")
    verified = []
    verify = proofs._has_signed

    def counted(key: Key, encoded: str, text: str) -> bool:
        verified.append(encoded)
        return verify(key, encoded, text)

    monkeypatch.setattr(proofs, "_has_signed", counted)
    forged = signature[:-8] + "AAAAAA=\n"
    assert Checkpoint.of(f"{text}\n\n{forged}{signature}", sqlite_log.keys) is not None
    assert Checkpoint.of(f"{text}\n\n{forged * 1000}", sqlite_log.keys) is None
    assert len(verified) <= 2 + SIGNATURES_MAX


@pytest.mark.parametrize("received", [None, 5, 1.5, True, [], {}, "", "yesterday"])
def test_statement_with_values_of_other_types_does_not_stop_the_verifier(
    sqlite_log: Log,
    run: Callable[[list[bytes]], int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    received: object,
) -> None:
    """A status that is a string kept the other fields from being hashed, and so from being read as text."""
    for moment in (JANUARY, MARCH):
        monkeypatch.setattr("services.audit.log.now", lambda moment=moment: moment)
        sqlite_log.add(entry(BOB), entry(ALICE))
    sqlite_log.sign()
    cut(sqlite_log.checkpoints, MARCH, months=1)
    lines = sqlite_log.lines()
    place = next(index for index, line in enumerate(lines) if b"RETENTION_CUT" in line)
    lines[place] = changed(lines[place], status="200", received=received)

    assert run(lines) == 1
    assert "TAMPERED: " in capsys.readouterr().out


def test_unsigned_statement_of_any_size_takes_little_memory(sqlite_log: Log) -> None:
    """Its hashes need no key, and each line of an export has room for 16 MiB: 400 MB as objects."""
    sqlite_log.add(entry())
    line, said = sqlite_log.lines()[1], {"kept_from": 1, "before": "9" * 1000, "filler": [{}] * 1000}
    verification = Verification(sqlite_log.keys)
    lines = [
        recomputed(line, seq=seq, actor="log", service="audit", action="x" * 1000, metadata=said)
        for seq in range(3)
    ]
    check_export([sqlite_log.lines()[0], *lines], verification)

    assert len(verification.ledger.statements) == len(lines)
    for one in verification.ledger.statements.values():
        assert one.said == {"kept_from": 1, "before": "9" * UNSIGNED_CHARACTERS_MAX}
        assert len(one.action) == UNSIGNED_CHARACTERS_MAX


def test_accounts_of_any_number_and_length_take_bounded_memory(sqlite_log: Log) -> None:
    """Cleared fields need no key: each can give another reason, in another month, for another account."""
    sqlite_log.add(entry())
    header, line = sqlite_log.lines()[:2]
    empty = {"metadata": None, "details_salt": None}
    lines = []
    for seq in range(0, 300, 3):
        long, month = f"{'x' * 1000}{seq}", f"{2000 + seq}-01-01T00:00:00.000000Z"
        statement = recomputed(line, seq=seq, actor="log", service="audit", metadata={"first": 1})
        gone = {"service": "auth", "action": "DELETE_ACCOUNT", "resource": f"{'x' * (seq % 200)}{seq}"}
        cleared = json.loads(recomputed(line, seq=seq + 2, received=month, user_id=long, resource=long))
        cleared |= empty | {"details_erased_by": 10**6 + seq}
        lines += [statement, recomputed(line, seq=seq + 1, **gone), json.dumps(cleared).encode()]
    limited, unlimited = (Verification(sqlite_log.keys, remembered_max=most) for most in (20, 10**6))
    for verification in (limited, unlimited):
        check_export([header, *lines], verification)

    ledger = limited.ledger
    assert (len(ledger.statements) + len(ledger.deleted) + len(ledger._emptied)) <= 20
    assert [one.detail for one in limited.unproven if "--remember" in one.detail]
    ledger = unlimited.ledger
    assert (len(ledger.statements), len(ledger._emptied)) == (100, 100)
    names = {*ledger.deleted, *(name for one in ledger._emptied.values() for name in one.accounts)}
    assert max(map(len, names)) <= 100


def test_export_with_more_erasures_than_are_remembered_is_not_all_proven(
    sqlite_log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sqlite_log.add(entry(BOB), entry(ALICE), deletion(BOB), deletion(ALICE))
    erase(sqlite_log, BOB, ALICE)
    export = tmp_path / "export.ndjson"
    export.write_bytes(b"".join(sqlite_log.lines()))
    arguments = [str(export), "--key", sqlite_log.keys[0].text, "--remember"]

    assert [main([*arguments, most]) for most in ("6", "5")] == [0, 3]
    assert "repeat with a higher --remember" in capsys.readouterr().out
