"""The table of RFC sections contains the real results of the tests."""

import pytest

from tests.conformance import table

pytest_plugins = ["pytester"]
TESTS = """
import pytest

@pytest.mark.conforms("RFC 6749 6", "oidcc-refresh-token")
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_refresh(database):
    pass

@pytest.mark.conforms("RFC 7009 2.1")
def test_revoke():
    assert False

@pytest.mark.conforms("RFC 9126 4")
def test_push():
    pytest.skip("no node")

def test_program(record_property):
    record_property("conforms", ("OIDC Core 5.3", "userinfo"))
"""


@pytest.mark.parametrize(
    "workers",
    [pytest.param([], id="alone"), pytest.param(["-n", "1"], id="in workers", marks=pytest.mark.prove)],
)
def test_table_shows_the_result_of_every_test(pytester: pytest.Pytester, workers: list[str]) -> None:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\nmarkers =\n  conforms")
    pytester.makepyfile(TESTS)
    done = pytester.runpytest("-p", "tests.conformance", "--conformance-table", *workers)

    done.stdout.re_match_lines_random(
        [
            r"OIDC Core 5\.3 +userinfo +passed \(1 test\)",
            r"RFC 6749 6 +oidcc-refresh-token +passed \(2 tests\)",
            r"RFC 7009 2\.1 +- +failed \(1 test\)",
            r"RFC 9126 4 +- +skipped \(1 test\)",
        ]
    )
    assert done.ret == pytest.ExitCode.TESTS_FAILED


def test_one_failure_decides_the_row() -> None:
    section = ("RFC 6749 6", "oidcc-refresh-token")
    lines = table([("passed", *section), ("failed", *section), ("skipped", *section)])

    assert lines[-1].endswith("failed (3 tests)")
