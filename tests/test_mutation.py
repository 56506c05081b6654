"""The script that changes code to see whether tests notice: what it changes, and what it leaves as it is."""

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


def test_each_place_is_changed_by_itself_and_what_is_said_stays() -> None:
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


def test_a_changed_file_differs_in_one_place_only() -> None:
    (clear,) = [one for one in mutants("a.py", SOURCE) if one.words.startswith("values.clear()")]

    assert "values.clear()" not in clear.source
    assert "raise ValueError('too many')" in clear.source
    assert str(clear) == "a.py:9: values.clear()  →  pass"
