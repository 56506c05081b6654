"""Starts the longest tests first: otherwise a run ends with one of them, and all other workers idle.

`--dist worksteal` gives each worker an equal part of the list, and later hands over tests from the end of a
part. So each part begins with long tests, and the short ones behind them fill the time of other workers.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice

import pytest


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around all others, which select and group the tests
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    yield
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers > 1:
        items[:] = dealt(items, workers)


def dealt(items: Sequence[pytest.Item], workers: int) -> list[pytest.Item]:
    """Begin each worker's part of the list with as many minutes of long tests."""
    others = iter([item for item in items if minutes(item) == 0])
    ordered: list[pytest.Item] = []
    for number, long_ones in enumerate(_shares(items, workers)):
        part = (len(items) - len(ordered)) // (workers - number)
        ordered += [*long_ones, *islice(others, max(0, part - len(long_ones)))]
    return [*ordered, *others]


def minutes(item: pytest.Item) -> float:
    marker = item.get_closest_marker("long")
    return 0 if marker is None else float(marker.args[0])


def _shares(items: Sequence[pytest.Item], workers: int) -> list[list[pytest.Item]]:
    """Divide the long tests among the workers; those of a group stay together and share what they start."""
    groups: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        marker = item.get_closest_marker("long")
        if marker is not None:
            groups[marker.kwargs.get("group", str(item.path))].append(item)
    shares: list[list[pytest.Item]] = [[] for _ in range(workers)]
    for group in sorted(groups.values(), key=_sum, reverse=True):
        min(shares, key=_sum).extend(group)
    return shares


def _sum(items: Sequence[pytest.Item]) -> float:
    return sum(map(minutes, items))
