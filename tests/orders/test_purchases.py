"""Whether somebody has bought a product, as other services ask on their behalf."""

from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.orders.handlers.purchases import show_purchase
from services.orders.models import LINES, ORDERS
from services.orders.settings import Settings
from shared.caller import Caller
from shared.clock import now
from shared.data.bulk import insert_rows
from shared.data.database import Database
from shared.data.migrate import upgrade
from shared.errors import NotFound
from shared.ids import new_id
from shared.testing import bearer, token
from tests.orders.support import ADMIN, add_product, buy, step
from tests.plans import STEPS, Watched

LINES_OF_OTHERS = 5_000


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


def test_the_cost_does_not_grow_with_the_lines_of_others(make_settings: Callable[..., Any]) -> None:
    url = make_settings(Settings).database_url
    upgrade(url, Path("services/orders/migrations"))  # without statistics, like every new database
    product, others, me = new_id(), [new_id() for _ in range(LINES_OF_OTHERS)], new_id()
    mine = [new_id() for _ in range(5)]
    with closing(Database(url)) as database:
        with database.transaction() as session:
            insert_rows(session, ORDERS, [order(one, new_id()) for one in others])
            insert_rows(session, ORDERS, [order(one, me) for one in mine])
            insert_rows(session, LINES, [line(one, product) for one in [*others, mine[0]]])
        watched, found = Watched(database.engine), list[str]()
        for user_id in (new_id(), me):
            with database.transaction(write=False) as session:
                driver: Any = session.connection().connection.driver_connection
                driver.set_progress_handler(watched.step, STEPS)
                with suppress(NotFound):
                    caller = Caller(user_id, "user", None, None, None, frozenset(), 0.0)
                    found.append(show_purchase(product, caller, session).order_id)
                driver.set_progress_handler(None, 0)

    assert found == [mine[0]]
    assert watched.steps < LINES_OF_OTHERS


def order(order_id: str, user_id: str) -> dict[str, Any]:
    what = {"product_name": "Laptop", "quantity": 1, "total_minor": 1, "currency": "USD", "line_count": 1}
    state = {"status": "confirmed", "version": 1, "created": now(), "updated": now(), "reserved_until": None}
    return {"id": order_id, "user_id": user_id, **what, **state}


def line(order_id: str, product_id: str) -> dict[str, Any]:
    ids = {"id": new_id(), "order_id": order_id, "line": 1, "product_id": product_id}
    money = {"unit_minor": 1, "tax_basis_points": 0, "tax_minor": 0, "total_minor": 1}
    return {**ids, "sku": "SKU-1", "name": "Laptop", "quantity": 1, **money}
