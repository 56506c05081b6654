"""Which of its two databases a test uses in `make test`; `make prove` runs it on the other one.

Most tests of services can run on SQLite and on PostgreSQL. `make test` runs half of them on SQLite and the
others on PostgreSQL. That takes half the time, and still finds most differences between the databases.
"""

import zlib
from collections import defaultdict
from collections.abc import Hashable, Iterable

import pytest

DATABASES = ("sqlite", "postgresql")


@pytest.hookimpl(tryfirst=True)  # before tests are selected by their markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    pairs: dict[Hashable, dict[str, pytest.Item]] = defaultdict(dict)
    for item in items:
        for name, value in _params(item):
            if value in DATABASES and item.get_closest_marker("prove") is None:
                others = ((one, repr(other)) for one, other in _params(item) if one != name)
                pairs[item.nodeid.partition("[")[0], *others][str(value)] = item
    for pair in pairs.values():
        if len(pair) == len(DATABASES):
            first = pair[DATABASES[0]].nodeid.encode()
            pair[DATABASES[zlib.crc32(first) % 2]].add_marker("other_database")


def _params(item: pytest.Item) -> Iterable[tuple[str, object]]:
    callspec = getattr(item, "callspec", None)
    return () if callspec is None else callspec.params.items()
