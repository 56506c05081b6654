"""Suites that tests share live no longer than these tests."""

from contextlib import ExitStack
from itertools import groupby
from typing import Any, cast

import pytest

from tests import longest
from tests.suite import conftest


def test_tests_that_share_a_suite_run_one_after_another(request: pytest.FixtureRequest) -> None:
    ours = [
        item
        for item in request.session.items
        if conftest.FOLDER in item.path.parents and not longest.minutes(item)
    ]
    databases = [database for database, _ in groupby(map(conftest.shared_by, ours))]

    assert databases == sorted(set(databases), key=conftest.ORDER.index)
    assert databases[-1] is None  # this test


def test_a_suite_ends_before_a_test_that_does_not_use_it(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []
    running: dict[str, Any] = {}
    for database in ("sqlite", "postgresql"):
        stack = ExitStack()
        stack.callback(ended.append, database)
        running[database] = cast("conftest.Suite", None), stack
    monkeypatch.setattr(conftest, "_running", running)
    user = pytest.Function.from_parent(request.node.parent, name="user", callobj=lambda suite: None)

    for following, expected in ((user, ["postgresql"]), (user, ["postgresql"]), (request.node, None)):
        teardown = conftest.pytest_runtest_teardown(following)
        next(teardown)
        assert next(teardown, None) is None
        assert ended == (expected or ["postgresql", "sqlite"])
