"""Orders in the console."""

import pytest

from tests.suite.accounts import PASSWORD, register
from tests.suite.console.conftest import Browser
from tests.suite.console.seeding import PLANTED, place_order

pytestmark = pytest.mark.prove

ORDERS = 130
MANY, PORTION = 100_000, 10_000
ELEMENTS_MAX = 400  # in the whole page, however many rows are loaded


async def test_people_order_in_the_console_and_admins_deliver(browser: Browser) -> None:
    async with browser.client() as client:
        person, other = await register(client), await register(client)
        for number in range(ORDERS):
            await place_order(client, other.headers, PLANTED[number % len(PLANTED)])

    seen = await browser.go(
        "orders",
        user=[person.email, PASSWORD],
        other=other.id,
        orders=ORDERS,
        planted=PLANTED,
        many=MANY,
        portion=PORTION,
    )

    assert 20 <= seen["rows"] < 40
    assert seen["blank"] == 0
    assert seen["elements"] < ELEMENTS_MAX
    assert seen["steps"] == [
        "came back after signing in",
        "placed an order by keyboard",
        "cancelled it",
        "kept the draft over an expired session",
        "scrolled through all orders",
        f"scrolled through {MANY} orders",
        "confirmed an order, and was told that it had changed",
        "was told of a new order above the others",
        "asked again for a list that had not changed",
        "saw the service fail and come back",
    ]
