"""The dashboard of the console, and what a first visit may cost."""

import pytest

from tests.suite.accounts import PASSWORD, register
from tests.suite.console.conftest import Browser
from tests.suite.console.seeding import place_order

pytestmark = pytest.mark.prove

BYTES_MAX, REQUESTS_MAX = 60_000, 25


async def test_dashboard_stands_while_a_service_is_down_and_is_small(browser: Browser) -> None:
    async with browser.client() as client:
        person = await register(client)
        await place_order(client, person.headers, "Chair")

    seen = await browser.go("dashboard", user=[person.email, PASSWORD])

    assert seen["steps"] == ["saw a service fail and come back"]
    for place, load in seen["loads"].items():
        assert load["bytes"] <= BYTES_MAX, place
        assert load["requests"] <= REQUESTS_MAX, place
    assert set(seen["loads"]) == {"/console", "/console/orders"}
