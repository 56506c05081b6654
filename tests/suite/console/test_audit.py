"""The audit explorer of the console."""

import pytest

from tests.suite.accounts import PASSWORD, register
from tests.suite.console.conftest import Browser
from tests.suite.console.seeding import place_order, until_listed

pytestmark = pytest.mark.prove


async def test_people_see_their_records_and_admins_follow_things(browser: Browser) -> None:
    async with browser.client() as client:
        person, other = await register(client), await register(client)
        for one in (person, other):
            await place_order(client, one.headers, "Chair")
            await until_listed(client, "/audit/logs?action=PLACE_ORDER", one.headers)

    seen = await browser.go("audit", user=[person.email, PASSWORD])

    assert seen["steps"] == [
        "saw their own records",
        "followed a thing through the audit log",
        "saw a record proven, and changed ones in red",
    ]
