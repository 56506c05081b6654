"""Bulk actions of the console."""

import pytest

from shared.ids import new_id
from tests.suite.accounts import register, sign_in_admin
from tests.suite.console.conftest import Browser
from tests.suite.console.seeding import place_order

pytestmark = pytest.mark.prove


async def test_admins_change_many_rows_and_see_which_ones_failed(browser: Browser) -> None:
    mark = f"bulk-{new_id()[-12:]}"
    async with browser.client() as client:
        person, admin = await register(client), await sign_in_admin(client)
        orders = [await place_order(client, person.headers, f"Bulk {number}") for number in range(4)]
        products = []
        for number in range(3):
            body = {
                "sku": f"{mark}-{number}".upper(),
                "name": f"{mark} {number}",
                "price": 5,
                "status": "active",
            }
            made = await client.post("/products", json=body, headers=admin.headers)
            assert made.status_code == 201, made.text
            products.append(made.json()["id"])
        for number in range(2):
            ticket = {"subject": f"{mark} {number}", "description": "Something to look at together."}
            opened = await client.post("/tickets", json=ticket, headers=person.headers)
            assert opened.status_code == 201, opened.text

    seen = await browser.go(
        "bulk", person=person.id, email=person.email, mark=mark, orders=orders, products=products
    )

    assert seen["steps"] == [
        "cancelled orders, and was told which one had changed",
        "archived products",
        "assigned and resolved tickets",
        "suspended an account",
    ]
