"""Every row of the checklist of identity has tests, which name it at the end of their own name."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
# Accounts, sessions and browsers, OAuth, tokens and keys, second factors.
ROWS = {"A": 11, "B": 7, "O": 14, "J": 6, "M": 4}
EVERY = {f"{part}{number}" for part, last in ROWS.items() for number in range(1, last + 1)}
_TESTS = re.compile(r"^ *(?:async )?def (test_\w+)\(", re.MULTILINE)
_NAMED = re.compile(r"(?:_[ABOJM][0-9]+)+$")


def rows_named_by(name: str) -> set[str]:
    found = _NAMED.search(name)
    return set() if found is None else {*found[0].strip("_").split("_")}


def test_every_row_of_the_checklist_has_a_test() -> None:
    named: set[str] = set()
    for file in TESTS.rglob("test_*.py"):
        for name in _TESTS.findall(file.read_text()):
            named |= rows_named_by(name)

    assert sorted(EVERY - named) == []
    assert sorted(named - EVERY) == []


def test_rows_are_read_from_the_end_of_a_name() -> None:
    assert rows_named_by("test_code_is_stored_as_a_hash_O4_O6") == {"O4", "O6"}
    assert rows_named_by("test_request_without_S256_is_refused") == set()
