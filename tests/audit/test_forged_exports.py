"""Lines of an export that programs read differently, or that leave out the reason of an erasure."""

import json
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest

from services.audit.statements import PERSON_ERASED
from tests.audit.attacks import deletion, erase
from tests.audit.support import ALICE, BOB, Log, changed, entry

NAME = unicodedata.normalize("NFC", "Amélie.pdf")
DETAILS = {"filename": NAME, "size": 2**53 - 1, "share": 0.25}


@pytest.fixture
def log(sqlite_log: Log) -> Log:
    one = sqlite_log
    one.add(entry(BOB, metadata=DETAILS), entry(BOB, resource=ALICE), entry(BOB), deletion(ALICE))
    erase(one, ALICE)
    return one


def findings(log: Log, lines: list[bytes]) -> tuple[list[Any], list[Any]]:
    """Return the faults, without that of the signature at the end, which any change causes."""
    checked = log.check(lines)
    faults = [one[:2] for one in checked.faults if "the end of the file had been signed" not in one.detail]
    return faults, [one[:2] for one in checked.unproven]


def swapped(old: str, new: str) -> Callable[[bytes], bytes]:
    def change(line: bytes) -> bytes:
        assert old.encode() in line, "the attack changes nothing"
        return line.replace(old.encode(), new.encode(), 1)

    return change


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "a number as a string": swapped('"status":200', '"status":"200"'),
    "a number with a fraction": swapped('"status":200', '"status":200.0'),
    "a number as true": swapped('"status":200', '"status":true'),
    "a duplicate name": swapped('{"type"', '{"action":"HARMLESS","type"'),
    "a duplicate name in metadata": swapped('"share":0.25', '"share":0.25,"share":0.5'),
    "not a number": swapped('"share":0.25', '"share":NaN'),
    "an infinite number": swapped('"share":0.25', '"share":1e999'),
    "a number with too many digits": swapped(str(2**53 - 1), "9" * 5000),
    "a number one larger": swapped(str(2**53 - 1), str(2**53)),
    "the same letters in another normalisation": swapped(NAME, unicodedata.normalize("NFD", NAME)),
    "a lone surrogate": swapped(NAME, "\\ud800"),
    "a position as a string": swapped('"seq":0', '"seq":"0"'),
    "a position as false": swapped('"seq":0', '"seq":false'),
    "another encoding": lambda line: line.decode().encode("utf-16"),
    "a list instead of an object": lambda line: b"[" + line.rstrip() + b"]\n",
    "deep nesting": swapped('"share":0.25', '"share":' + "[" * 100_000 + "]" * 100_000),
    "a long salt": lambda line: changed(line, details_salt=json.loads(line)["details_salt"] + "0"),
    "no salt": lambda line: changed(line, details_salt="", metadata={}),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("is_partial", [False, True])
def test_ambiguous_line_is_found(log: Log, change: str, *, is_partial: bool) -> None:
    lines = log.lines(log.partial(BOB)) if is_partial else log.lines()
    place = next(index for index, line in enumerate(lines) if b'"type":"record"' in line)
    if is_partial:
        assert [json.loads(line)["type"] for line in lines[:3]] == ["header", "statement", "record"]
    lines[place] = CHANGES[change](lines[place])

    assert findings(log, lines)[0]


class TestStatementInAPartialExport:
    """The statement explains why fields of a record are cleared."""

    @pytest.fixture
    def part(self, log: Log) -> list[bytes]:
        return log.lines(log.partial(BOB))

    def test_statement_explains_the_cleared_record(self, log: Log, part: list[bytes]) -> None:
        assert findings(log, part) == ([], [])

    def test_record_without_its_statement_is_unproven(self, log: Log, part: list[bytes]) -> None:
        assert findings(log, [part[0], *part[2:]]) == ([], [("unproven", 1)])

    @pytest.mark.parametrize(
        "fields",
        [{"resource": BOB}, {"seq": 3}, {"action": "NOTHING"}, {"proof": []}, {"details_salt": None}],
    )
    def test_changed_statement_is_found(self, log: Log, part: list[bytes], fields: dict[str, Any]) -> None:
        lines = [part[0], changed(part[1], **fields), *part[2:]]

        assert findings(log, lines)[0]

    def test_duplicated_statement_is_found(self, log: Log, part: list[bytes]) -> None:
        assert findings(log, [part[0], part[1], part[1], *part[2:]])[0]

    def test_statement_line_in_a_full_export_is_found(self, log: Log, part: list[bytes]) -> None:
        whole = log.lines()

        assert findings(log, [whole[0], part[1], *whole[1:]])[0]

    def test_statement_of_another_record_does_not_explain_it(self, log: Log) -> None:
        log.tamper("UPDATE personal SET details_erased_by = 2 WHERE seq = 1")
        lines = log.lines(log.partial(BOB))

        assert PERSON_ERASED not in b"".join(lines).decode()
        assert findings(log, lines) == ([], [("unproven", 1)])
