"""`make test` and `make prove` together run every test on both databases."""

from pathlib import Path

import pytest

pytest_plugins = "pytester"

TESTS = """
import pytest

@pytest.fixture(params=["sqlite", "postgresql"])
def database(request):
    return request.param

@pytest.mark.parametrize("number", range(20))
def test_on_both(database, number): ...

@pytest.mark.parametrize("only", ["postgresql"])
def test_on_one(only): ...

@pytest.mark.prove
def test_that_takes_minutes(database): ...

def test_on_none(): ...
"""


def selected(pytester: pytest.Pytester, marker: str) -> set[str]:
    result = pytester.runpytest_inprocess("--collect-only", "-q", "-m", marker, "-p", "no:cacheprovider")
    return {line.partition("::")[2] for line in result.outlines if "::" in line}


def test_make_test_runs_each_test_on_one_database_and_make_prove_on_the_other(
    pytester: pytest.Pytester,
) -> None:
    pytester.makeconftest("from tests.halves import pytest_collection_modifyitems")
    pytester.makeini(
        "[pytest]\nasyncio_default_fixture_loop_scope = function\nmarkers =\n  prove\n  other_database"
    )
    pytester.makepyfile(TESTS)
    pytester.syspathinsert(Path(__file__).parents[1])
    soon, later = (
        selected(pytester, marker)
        for marker in ("not prove and not other_database", "prove or other_database")
    )

    both = {
        f"test_on_both[{database}-{number}]" for database in ("sqlite", "postgresql") for number in range(20)
    }
    minutes = {f"test_that_takes_minutes[{database}]" for database in ("sqlite", "postgresql")}
    assert soon | later == both | minutes | {"test_on_one[postgresql]", "test_on_none"}
    assert soon & later == set()
    assert minutes == later - both
    assert {name.partition("[")[2].partition("-")[2] for name in soon & both} == {f"{n}]" for n in range(20)}
    assert 5 < sum("sqlite" in name for name in soon & both) < 15
