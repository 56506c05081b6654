"""Tickets in the console."""

import pytest

from tests.suite.accounts import PASSWORD, register
from tests.suite.console.conftest import Browser
from tests.suite.console.seeding import PLANTED

pytestmark = pytest.mark.prove


async def test_people_and_staff_talk_in_a_ticket(browser: Browser) -> None:
    async with browser.client() as client:
        person = await register(client)

    seen = await browser.go("tickets", user=[person.email, PASSWORD], planted=PLANTED)

    assert seen["steps"] == [
        "opened a ticket with a file",
        "replied by keyboard",
        "took a step back",
        "tagged it",
        "answered with a note for staff, and resolved it",
        "found it again, and saw the service fail and come back",
        "rated the answer and reopened the ticket",
    ]
