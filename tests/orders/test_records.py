"""Records of the actions on orders."""

import httpx
import pytest

from services.orders.models import EVENTS
from shared.ids import new_id
from shared.testing import bearer, token
from tests.told import records

LAPTOP = {"product_name": "Laptop of Ada", "quantity": 1, "total_price": 999.99}
ME, ROOT = new_id(), new_id()
OWNER, STRANGER, ADMIN = bearer(token(ME)), bearer(token()), bearer(token(ROOT, role="admin"))


@pytest.mark.parametrize(
    ("method", "path", "body", "action", "metadata"),
    [
        ("PUT", "/orders/{id}", {"quantity": 2}, "CHANGE_ORDER", {"fields": ["quantity"]}),
        (
            "PUT",
            "/orders/{id}",
            {"status": "confirmed"},
            "CHANGE_ORDER",
            {"fields": ["status"], "status": {"before": "pending", "after": "confirmed"}},
        ),
        ("DELETE", "/orders/{id}", None, "DELETE_ORDER", {}),
        ("GET", "/orders/{id}", None, "SHOW_ORDER", {}),
        ("GET", "/orders/{id}/history", None, "LIST_ORDER_HISTORY", {}),
    ],
)
async def test_actions_of_admins_and_refusals_of_others_are_recorded(
    orders: httpx.AsyncClient,
    database_url: str,
    method: str,
    path: str,
    body: dict[str, object] | None,
    action: str,
    metadata: dict[str, object],
) -> None:
    order = (await orders.post("/orders", json=LAPTOP, headers=OWNER)).json()["id"]
    for headers in (STRANGER, ADMIN):
        await orders.request(method, path.format(id=order), json=body, headers=headers)

    placed, refused, done = records(database_url, EVENTS)
    assert (placed["action"], placed["user_id"], placed["resource"]) == ("PLACE_ORDER", ME, order)
    assert (refused["action"], refused["outcome"], refused["status"]) == (action, "refused", 404)
    assert (done["action"], done["outcome"], done["user_id"]) == (action, "success", ROOT)
    assert (refused["resource"], done["resource"]) == (order, order)
    assert (refused["metadata"], done["metadata"]) == ({}, metadata)


@pytest.mark.parametrize(
    ("path", "action"),
    [("/orders", "LIST_ORDERS"), (f"/orders/user/{ME}", "LIST_ORDERS_OF_USER")],
    ids=["own", "of_a_user"],
)
async def test_lists_read_by_admins_are_recorded(
    orders: httpx.AsyncClient, database_url: str, path: str, action: str
) -> None:
    await orders.get(path, headers=OWNER)
    await orders.get(path, headers=ADMIN)
    await orders.get(path)

    told = [(one["action"], one["outcome"], one["user_id"]) for one in records(database_url, EVENTS)]
    assert told == [(action, "success", ROOT), (action, "refused", None)]


async def test_records_of_an_impersonating_admin_name_the_admin(
    orders: httpx.AsyncClient, database_url: str
) -> None:
    acting = bearer(token(ME, act={"sub": ROOT}))
    order = (await orders.post("/orders", json=LAPTOP, headers=acting)).json()["id"]
    await orders.get(f"/orders/{order}", headers=acting)
    await orders.get(f"/orders/{new_id()}", headers=acting)

    told = records(database_url, EVENTS)
    assert [one["action"] for one in told] == ["PLACE_ORDER", "SHOW_ORDER", "SHOW_ORDER"]
    assert [one["outcome"] for one in told] == ["success", "success", "refused"]
    assert {one["user_id"] for one in told} == {ME}
    assert {one["metadata"].get("impersonated_by") for one in told} == {ROOT}


@pytest.mark.parametrize("act", ["x", 7, [], {}, {"sub": 7}, None])
async def test_malformed_actor_is_ignored(orders: httpx.AsyncClient, database_url: str, act: object) -> None:
    await orders.post("/orders", json=LAPTOP, headers=bearer(token(ME, act=act)))

    (record,) = records(database_url, EVENTS)
    assert "impersonated_by" not in record["metadata"]
