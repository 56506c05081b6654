"""The gateway in the console."""

import pytest

from tests.suite.accounts import PASSWORD, register
from tests.suite.console.conftest import Browser

pytestmark = pytest.mark.prove


async def test_admins_see_the_gateway_and_ask_why_it_refuses(browser: Browser) -> None:
    async with browser.client() as client:
        person = await register(client)

    seen = await browser.go("gateway", user=[person.email, PASSWORD])

    assert seen["steps"] == [
        "asked why a request is refused, and kept the question in the address",
        "found a route",
        "looked at targets, limits and errors",
        "saw it fail and come back",
        "is not there for users",
    ]
