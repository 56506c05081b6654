"""Whether somebody has bought a product, as other services ask on their behalf."""

import httpx
import pytest

from shared.ids import new_id
from shared.testing import bearer, token
from tests.orders.support import ADMIN, add_product, buy, step


async def purchase(orders: httpx.AsyncClient, product_id: str, who: dict[str, str]) -> httpx.Response:
    return await orders.get(f"/orders/purchases/{product_id}", headers=who)


@pytest.mark.parametrize(
    ("steps", "is_bought"),
    [
        ((), False),
        (("cancelled",), False),
        (("confirmed", "cancelled"), False),
        (("confirmed",), True),
        (("confirmed", "shipped", "delivered"), True),
        (("confirmed", "shipped", "delivered", "returned"), True),
    ],
)
async def test_a_product_is_bought_once_an_order_with_it_is_confirmed(
    orders: httpx.AsyncClient, steps: tuple[str, ...], is_bought: bool
) -> None:
    product, other, me = await add_product(orders, 5), await add_product(orders, 5), bearer(token())
    order = (await buy(orders, me, (product, 1))).json()
    if steps:
        await step(orders, order["id"], *steps)
    response = await purchase(orders, product["id"], me)

    assert response.status_code == (200 if is_bought else 404)
    if is_bought:
        assert response.json() == {
            "product_id": product["id"],
            "order_id": order["id"],
            "status": steps[-1],
        }
    assert (await purchase(orders, other["id"], me)).status_code == 404


async def test_purchases_of_others_are_not_shown_not_even_to_admins(orders: httpx.AsyncClient) -> None:
    product, me = await add_product(orders, 5), bearer(token())
    order = (await buy(orders, me, (product, 1))).json()
    await step(orders, order["id"], "confirmed")

    for who in (bearer(token()), ADMIN):
        assert (await purchase(orders, product["id"], who)).status_code == 404
    assert (await orders.get(f"/orders/purchases/{product['id']}")).status_code == 401


async def test_a_purchase_is_asked_for_by_the_id_of_a_product(orders: httpx.AsyncClient) -> None:
    response = await purchase(orders, "laptop", bearer(token()))
    assert response.status_code == 422
    assert (await purchase(orders, new_id(), bearer(token()))).status_code == 404
