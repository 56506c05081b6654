"""The review queue in the console."""

import httpx
import pytest

from shared.ids import new_id
from tests.suite.accounts import Person, register, sign_in_admin
from tests.suite.console.conftest import Browser
from tests.suite.console.seeding import PLANTED

pytestmark = pytest.mark.prove


async def test_staff_decides_about_reviews(browser: Browser) -> None:
    async with browser.client() as client:
        person, admin = await register(client), await sign_in_admin(client)
        for title in reversed(PLANTED[:2]):  # the newest is first in the list
            await _write_review(client, person, admin, title)

    seen = await browser.go("reviews", planted=PLANTED)

    assert seen["steps"] == [
        "approved a review by keyboard",
        "rejected a review that somebody else had approved",
        "hid a review, and took it back",
        "saw the service fail and come back",
    ]


async def _write_review(client: httpx.AsyncClient, person: Person, admin: Person, title: str) -> None:
    """Review a product that was bought and delivered."""
    product = {"sku": new_id()[-12:], "name": title, "price": 5, "currency": "USD", "status": "active"}
    made = await client.post("/products", json={**product, "track_stock": False}, headers=admin.headers)
    assert made.status_code == 201, made.text
    lines = {"lines": [{"product_id": made.json()["id"], "quantity": 1}]}
    order = (await client.post("/orders", json=lines, headers=person.headers)).json()["id"]
    for status in ("confirmed", "shipped", "delivered"):
        step = await client.put(f"/orders/{order}", json={"status": status}, headers=admin.headers)
        assert step.status_code == 200, step.text
    review = {"resource_type": "product", "resource_id": made.json()["id"], "rating": 4, "title": title}
    body = {**review, "content": "I use it every day."}
    written = await client.post("/reviews", json=body, headers=person.headers)
    assert written.status_code == 201, written.text
