"""The table of `make prove-identity`: the RFC sections that tests prove, with the results of this run.

A test declares its section with `@pytest.mark.conforms(SECTION, MODULE)`. MODULE is the name of the test
module of the OpenID Foundation's conformance suite that checks the same, if there is one. A test that runs a
program with steps of its own records each with `record_property("conforms", (SECTION, STEP))`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable

import pytest

OUTCOMES = ("failed", "error", "skipped", "passed")  # the worst first


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--conformance-table", action="store_true", help="print what the tests prove, by RFC")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for marker in item.iter_markers("conforms"):
            section, module = (*marker.args, "")[:2]
            item.user_properties.append(("conforms", (section, module)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not config.getoption("--conformance-table"):
        return
    reports = [
        (outcome, report)
        for outcome in OUTCOMES
        for report in terminalreporter.stats.get(outcome, ())
        if hasattr(report, "user_properties")
    ]
    terminalreporter.section("conformance")
    for line in table(
        (outcome, *value)
        for outcome, report in reports
        for name, value in report.user_properties
        if name == "conforms"
    ):
        terminalreporter.line(line)


def table(results: Iterable[tuple[str, str, str]]) -> list[str]:
    """Return the lines of the table: each section and module once, with the worst result and the number."""
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for outcome, section, module in results:
        found[section, module][outcome] += 1
    rows = [("RFC section", "conformance module", "result")]
    for (section, module), counts in sorted(found.items()):
        number = sum(counts.values())
        worst = next(one for one in OUTCOMES if counts[one])
        tests = "1 test" if number == 1 else f"{number} tests"
        rows.append((section, module or "-", f"{worst} ({tests})"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]
