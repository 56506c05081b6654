"""The first steps of an admin, on a suite that is empty."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.suite.conftest import Suite, running_suite
from tests.suite.console.conftest import Browser
from tests.suite.console.test_dashboard import BYTES_MAX, REQUESTS_MAX

pytestmark = pytest.mark.prove


async def test_admin_of_an_empty_suite_sees_what_to_do_next(
    browser_of: Callable[[Suite], Browser], tmp_path: Path
) -> None:
    with running_suite(tmp_path) as suite:
        seen = await browser_of(suite).go("first_steps")

    assert seen["steps"] == [
        "placed the first order",
        "started the first shell, and ended it",
        "put the hint away",
    ]
    assert set(seen["loads"]) == {"/console", "/console/start"}
    for place, load in seen["loads"].items():
        assert load["bytes"] <= BYTES_MAX, place
        assert load["requests"] <= REQUESTS_MAX, place
