"""Products in the console."""

import pytest

from shared.ids import new_id
from tests.suite.accounts import PASSWORD, register
from tests.suite.console.conftest import Browser
from tests.suite.console.seeding import PLANTED

pytestmark = pytest.mark.prove


async def test_admins_keep_products_and_people_order_them(browser: Browser) -> None:
    async with browser.client() as client:
        person = await register(client)

    seen = await browser.go("products", user=[person.email, PASSWORD], planted=PLANTED, sku=new_id()[-12:])

    assert seen["steps"] == [
        "added a product by keyboard",
        "changed it after somebody else had",
        "saw what is low, and the service fail and come back",
        "ordered it",
    ]
