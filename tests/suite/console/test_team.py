"""The team directory in the console."""

import pytest

from tests.suite.accounts import PASSWORD, register
from tests.suite.console.conftest import Browser
from tests.suite.console.seeding import PLANTED

pytestmark = pytest.mark.prove


async def test_people_write_their_entry_and_decide_who_sees_it(browser: Browser) -> None:
    async with browser.client() as client:
        person, other = await register(client, name="w" * 24), await register(client)

    seen = await browser.go(
        "team",
        user=[person.email, PASSWORD],
        other=[other.email, PASSWORD],
        id=person.id,
        planted=PLANTED,
    )

    assert seen["steps"] == [
        "wrote an entry",
        "made it active, and found it by skill and department",
        "saw the service fail and come back",
        "was not shown the hidden field",
        "left the directory",
    ]
