"""The longest tests are the first ones of every worker."""

from pathlib import Path

import pytest

from tests import longest

pytest_plugins = "pytester"

TESTS = """
import pytest

@pytest.mark.parametrize("number", range(20))
def test_short(number): ...

@pytest.mark.long({minutes}{group})
@pytest.mark.parametrize("number", range(2))
def test_long(number): ...
"""


def collected(pytester: pytest.Pytester, group: str = "", **minutes: float) -> list[pytest.Item]:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\nmarkers =\n  long")
    files = {
        f"test_{name}": TESTS.format(minutes=number, group=f", group='{group}'" if group else "")
        for name, number in minutes.items()
    }
    pytester.makepyfile(**files)
    _, calls = pytester.inline_genitems("-p", "no:cacheprovider")
    (finished,) = calls.getcalls("pytest_collection_finish")
    items: list[pytest.Item] = finished.session.items
    return items


def test_each_worker_begins_with_the_same_share_of_the_long_tests(pytester: pytest.Pytester) -> None:
    items = collected(pytester, a=1, b=3, c=2)
    ordered = longest.dealt(items, 2)
    middle = len(items) // 2
    parts = ordered[:middle], ordered[middle:]

    assert sorted(map(str, ordered)) == sorted(map(str, items))
    fronts = [[item.path.stem for item in part if longest.minutes(item)] for part in parts]
    assert fronts == [["test_b"] * 2, ["test_c"] * 2 + ["test_a"] * 2]
    assert [longest.minutes(part[len(front)]) for part, front in zip(parts, fronts, strict=True)] == [0, 0]
    short = [item for item in items if not longest.minutes(item)]
    assert [item for item in ordered if item in short] == short, "in their order"


def test_modules_of_a_group_stay_at_one_worker(pytester: pytest.Pytester) -> None:
    items = collected(pytester, group="images", a=1, b=3)
    part = longest.dealt(items, 2)[: len(items) // 2]

    assert [item.path.stem for item in part if longest.minutes(item)] == ["test_a"] * 2 + ["test_b"] * 2


def test_no_test_is_lost_if_the_long_ones_are_more_than_a_part(pytester: pytest.Pytester) -> None:
    items = [item for item in collected(pytester, a=9, b=1) if longest.minutes(item)]

    assert sorted(map(str, longest.dealt(items, 3))) == sorted(map(str, items))


def test_marked_tests_of_a_run_with_workers_come_first(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeconftest("from tests.longest import pytest_collection_modifyitems")
    pytester.syspathinsert(Path(__file__).parents[1])
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "2")

    assert [longest.minutes(item) for item in collected(pytester, a=1)] == [1, 1] + [0] * 20
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "1")
    assert [longest.minutes(item) for item in collected(pytester, a=1)] == [0] * 20 + [1, 1]
