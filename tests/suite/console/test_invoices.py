"""Invoices in the console."""

import pytest

from tests.suite.accounts import PASSWORD, register, sign_in_admin
from tests.suite.console.conftest import Browser
from tests.suite.console.seeding import PLANTED, place_order

pytestmark = pytest.mark.prove


async def test_people_get_invoices_and_credit_notes(browser: Browser) -> None:
    async with browser.client() as client:
        person, admin = await register(client), await sign_in_admin(client)
        order = await place_order(client, person.headers, PLANTED[0])
        step = await client.put(f"/orders/{order}", json={"status": "confirmed"}, headers=admin.headers)
        assert step.status_code == 200, step.text

    seen = await browser.go("invoices", user=[person.email, PASSWORD], id=person.id, planted=PLANTED)

    assert seen["steps"] == [
        "issued an invoice and downloaded it",
        "cancelled the order, and got a credit note",
        "found the credit note, and saw the service fail and come back",
    ]
