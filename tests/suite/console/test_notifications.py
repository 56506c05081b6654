"""Notifications in the console."""

import pytest

from tests.suite.accounts import PASSWORD, register
from tests.suite.console.conftest import Browser
from tests.suite.console.seeding import place_order, until_listed

pytestmark = pytest.mark.prove


async def test_people_go_from_a_notification_to_its_order(browser: Browser) -> None:
    async with browser.client() as client:
        person = await register(client)
        await place_order(client, person.headers, "Chair")
        await until_listed(client, "/notifications", person.headers)

    seen = await browser.go("notifications", user=[person.email, PASSWORD])

    assert seen["steps"] == ["went from a notification to its order"]
