"""The mutation script: what it changes, and what it leaves unchanged."""

from tests.mutation import mutants

SOURCE = '''
"""Documentation."""
LIMIT = 4

def first(values: list[int], text: str = "") -> int | None:
    """More of it."""
    log.info("first", number=1)
    if len(values) >= LIMIT and not text:
        values.clear()
        raise ValueError("too many")
    return values[0]
'''


def test_each_place_is_changed_separately_and_docstrings_and_logs_are_not() -> None:
    found = [one.words for one in mutants("a.py", SOURCE)]

    assert found == [
        "4  →  4000",
        "4  →  0",
        "len(values) >= LIMIT and (not text)  →  not (len(values) >= LIMIT and (not text))",
        "len(values) >= LIMIT and (not text)  →  len(values) >= LIMIT or not text",
        "len(values) >= LIMIT  →  len(values) > LIMIT",
        "not text  →  text",
        "values.clear()  →  pass",
        "raise ValueError('too many')  →  pass",
        "return values[0]  →  return None",
        "0  →  1",
    ]


def test_mutated_file_differs_in_only_one_place() -> None:
    (clear,) = [one for one in mutants("a.py", SOURCE) if one.words.startswith("values.clear()")]

    assert "values.clear()" not in clear.source
    assert "raise ValueError('too many')" in clear.source
    assert str(clear) == "a.py:9: values.clear()  →  pass"
