"""The orders service: access to own orders only, exact money, the life cycle."""

import asyncio
from typing import Any

import httpx
import pytest

from shared.ids import new_id
from shared.testing import bearer, token

LAPTOP = {"product_name": "Laptop", "quantity": 1, "total_price": 999.99}


async def place(orders: httpx.AsyncClient, headers: dict[str, str], **changes: Any) -> dict[str, Any]:
    response = await orders.post("/orders", json=LAPTOP | changes, headers=headers)
    assert response.status_code == 201, response.text
    placed: dict[str, Any] = response.json()
    return placed


class TestPlaceOrder:
    async def test_placed_order_is_returned_with_201(self, orders: httpx.AsyncClient) -> None:
        user_id = new_id()
        response = await orders.post("/orders", json=LAPTOP, headers=bearer(token(user_id)))

        assert response.status_code == 201
        order = response.json()
        assert order["user_id"] == user_id
        assert order["status"] == "pending"
        assert order["currency"] == "USD"
        assert '"total_price":999.99,' in response.text
        assert response.headers["location"] == f"/orders/{order['id']}"
        assert response.headers["etag"] == '"1"'

    async def test_request_without_token_is_rejected_with_401(self, orders: httpx.AsyncClient) -> None:
        response = await orders.post("/orders", json=LAPTOP)

        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.json()["code"] == "unauthenticated"

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"quantity": 0}, "quantity"),
            ({"quantity": "1"}, "quantity"),
            ({"quantity": True}, "quantity"),
            ({"quantity": 10**30}, "quantity"),
            ({"product_name": ""}, "product_name"),
            ({"product_name": "x" * 201}, "product_name"),
            ({"product_name": "a\x00b"}, "product_name"),
            ({"total_price": -1}, "total_price"),
            ({"total_price": 10**13}, "total_price"),
            ({"total_price": 9.999}, "total_price"),
            ({"total_price": 9.9, "currency": "JPY"}, "total_price"),
            ({"total_price": 9e99}, "total_price"),
            ({"total_price": None}, "total_price"),
            ({"currency": "XXX"}, "currency"),
            ({"status": "delivered"}, "status"),
            ({"user_id": new_id()}, "user_id"),
            ({"role": "admin"}, "role"),
        ],
    )
    async def test_malformed_input_is_rejected_with_422(
        self, orders: httpx.AsyncClient, changes: dict[str, Any], field: str
    ) -> None:
        response = await orders.post("/orders", json=LAPTOP | changes, headers=bearer(token()))

        assert response.status_code == 422, response.text
        assert field in [error["field"] for error in response.json()["errors"]]

    @pytest.mark.parametrize(
        ("amount", "currency"),
        [("0.01", "USD"), ("0.1", "USD"), ("9999999999.99", "EUR"), ("1234567", "JPY"), ("0.125", "KWD")],
    )
    async def test_amounts_are_returned_exactly(
        self, orders: httpx.AsyncClient, amount: str, currency: str
    ) -> None:
        headers = bearer(token())
        body = f'{{"product_name":"x","quantity":1,"total_price":{amount},"currency":"{currency}"}}'
        json = {"Content-Type": "application/json"}
        placed = await orders.post("/orders", content=body, headers=headers | json)
        shown = await orders.get(placed.headers["location"], headers=headers)

        assert f'"total_price":{float(amount)!r},' in shown.text
        assert f'"total_price":{float(amount)!r},' in placed.text


class TestIdempotency:
    async def test_fifty_parallel_posts_with_one_key_create_one_order(
        self, orders: httpx.AsyncClient
    ) -> None:
        headers = bearer(token()) | {"Idempotency-Key": "once"}
        responses = await asyncio.gather(
            *[orders.post("/orders", json=LAPTOP, headers=headers) for _ in range(50)]
        )

        assert {response.status_code for response in responses} == {201}
        assert len({response.json()["id"] for response in responses}) == 1
        assert len((await orders.get("/orders", headers=headers)).json()) == 1
        assert sum("idempotency-replayed" in response.headers for response in responses) == 49

    async def test_another_body_with_the_same_key_is_rejected_with_422(
        self, orders: httpx.AsyncClient
    ) -> None:
        headers = bearer(token()) | {"Idempotency-Key": "k"}
        await orders.post("/orders", json=LAPTOP, headers=headers)
        response = await orders.post("/orders", json=LAPTOP | {"quantity": 2}, headers=headers)

        assert response.status_code == 422
        assert response.json()["code"] == "idempotency_key_reused"

    async def test_two_callers_may_use_the_same_key(self, orders: httpx.AsyncClient) -> None:
        key = {"Idempotency-Key": "k"}
        first = await orders.post("/orders", json=LAPTOP, headers=bearer(token()) | key)
        second = await orders.post("/orders", json=LAPTOP, headers=bearer(token()) | key)

        assert first.json()["id"] != second.json()["id"]

    async def test_key_that_is_too_long_is_rejected_with_400(self, orders: httpx.AsyncClient) -> None:
        headers = bearer(token()) | {"Idempotency-Key": "k" * 256}
        response = await orders.post("/orders", json=LAPTOP, headers=headers)

        assert response.status_code == 400


class TestListOrders:
    async def test_pages_contain_all_own_orders(self, orders: httpx.AsyncClient) -> None:
        mine, other = bearer(token()), bearer(token())
        await place(orders, other)
        placed = [(await place(orders, mine))["id"] for _ in range(5)]

        seen, address = [], "/orders?limit=2"
        while address:
            response = await orders.get(address, headers=mine)
            seen += [order["id"] for order in response.json()]
            following = response.links.get("next")
            address = "/orders" + following["url"] if following else ""
        assert seen == placed[::-1]

    async def test_admins_see_the_orders_of_everybody(self, orders: httpx.AsyncClient) -> None:
        first = await place(orders, bearer(token()))
        second = await place(orders, bearer(token()))
        response = await orders.get("/orders", headers=bearer(token(role="admin")))

        assert [order["id"] for order in response.json()] == [second["id"], first["id"]]

    async def test_orders_of_one_account_are_listed_for_it_and_for_admins(
        self, orders: httpx.AsyncClient
    ) -> None:
        user_id = new_id()
        placed = await place(orders, bearer(token(user_id)))
        address = f"/orders/user/{user_id}"

        assert [o["id"] for o in (await orders.get(address, headers=bearer(token(user_id)))).json()] == [
            placed["id"]
        ]
        assert (await orders.get(address, headers=bearer(token()))).status_code == 404
        assert (await orders.get(address, headers=bearer(token(role="admin")))).status_code == 200

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("limit=0", "limit"),
            ("limit=201", "limit"),
            ("limit=x", "limit"),
            ("limit=1&limit=2", "limit"),
            ("cursor=%00", "cursor"),
            ("cursor=AAAA", "cursor"),
            ("cursor=%F0%9F%98%80", "cursor"),
            ("status=lost", "status"),
            ("user_id=%27", "user_id"),
            ("sort=name", "sort"),
        ],
    )
    async def test_malformed_input_is_rejected_with_422(
        self, orders: httpx.AsyncClient, query: str, field: str
    ) -> None:
        response = await orders.get(f"/orders?{query}", headers=bearer(token()))

        assert response.status_code == 422
        assert [error["field"] for error in response.json()["errors"]] == [field]


class TestShowOrder:
    @pytest.mark.parametrize(
        ("method", "suffix"), [("GET", ""), ("PUT", ""), ("DELETE", ""), ("GET", "/history")]
    )
    async def test_resource_of_another_account_is_404(
        self, orders: httpx.AsyncClient, method: str, suffix: str
    ) -> None:
        order = await place(orders, bearer(token()))
        body = {"quantity": 2} if method == "PUT" else None
        address = f"/orders/{order['id']}{suffix}"
        forged = {"X-User-Id": order["user_id"], "X-Role": "admin"}
        response = await orders.request(method, address, json=body, headers=bearer(token()) | forged)

        assert response.status_code == 404
        assert response.json()["code"] == "not_found"

    @pytest.mark.parametrize(
        ("method", "suffix"), [("GET", ""), ("PUT", ""), ("DELETE", ""), ("GET", "/history")]
    )
    async def test_unknown_id_is_404(self, orders: httpx.AsyncClient, method: str, suffix: str) -> None:
        body = {"quantity": 2} if method == "PUT" else None
        address = f"/orders/{new_id()}{suffix}"
        response = await orders.request(method, address, json=body, headers=bearer(token()))

        assert response.status_code == 404

    @pytest.mark.parametrize(
        ("method", "suffix"), [("GET", ""), ("PUT", ""), ("DELETE", ""), ("GET", "/history")]
    )
    async def test_request_without_token_is_rejected_with_401(
        self, orders: httpx.AsyncClient, method: str, suffix: str
    ) -> None:
        body = {"quantity": 2} if method == "PUT" else None
        response = await orders.request(method, f"/orders/{new_id()}{suffix}", json=body)

        assert response.status_code == 401

    async def test_malformed_id_is_rejected_with_422(self, orders: httpx.AsyncClient) -> None:
        response = await orders.get("/orders/7", headers=bearer(token()))

        assert response.status_code == 422
        assert response.json()["errors"][0]["field"] == "order_id"

    async def test_order_is_shown_to_its_owner(self, orders: httpx.AsyncClient) -> None:
        headers = bearer(token())
        order = await place(orders, headers)
        response = await orders.get(f"/orders/{order['id']}", headers=headers)

        assert response.json() == order


class TestChangeOrder:
    async def test_pending_order_is_changed(self, orders: httpx.AsyncClient) -> None:
        headers = bearer(token())
        order = await place(orders, headers)
        changes = {"quantity": 3, "total_price": 2999.97}
        response = await orders.put(f"/orders/{order['id']}", json=changes, headers=headers)

        assert response.status_code == 200
        assert response.json()["quantity"] == 3
        assert response.json()["total_price"] == 2999.97
        assert response.headers["etag"] == '"2"'

    @pytest.mark.parametrize("field", ["user_id", "role", "id", "created", "version"])
    async def test_fields_that_cannot_be_changed_are_rejected_with_422(
        self, orders: httpx.AsyncClient, field: str
    ) -> None:
        headers = bearer(token())
        order = await place(orders, headers)
        response = await orders.put(f"/orders/{order['id']}", json={field: "1"}, headers=headers)

        assert response.status_code == 422
        assert response.json()["errors"][0]["field"] == field

    async def test_price_of_a_confirmed_order_cannot_be_changed(self, orders: httpx.AsyncClient) -> None:
        owner, admin = bearer(token()), bearer(token(role="admin"))
        address = f"/orders/{(await place(orders, owner))['id']}"
        await orders.put(address, json={"status": "confirmed"}, headers=admin)
        for headers in (owner, admin):
            response = await orders.put(address, json={"total_price": 1}, headers=headers)

            assert response.status_code == 409
            assert response.json()["code"] == "order_locked"

    async def test_currency_that_does_not_fit_the_amount_is_rejected_with_422(
        self, orders: httpx.AsyncClient
    ) -> None:
        headers = bearer(token())
        order = await place(orders, headers)
        response = await orders.put(f"/orders/{order['id']}", json={"currency": "JPY"}, headers=headers)

        assert response.status_code == 422

    async def test_stale_version_is_rejected_with_412(self, orders: httpx.AsyncClient) -> None:
        headers = bearer(token())
        address = f"/orders/{(await place(orders, headers))['id']}"
        await orders.put(address, json={"quantity": 2}, headers=headers)
        stale = headers | {"If-Match": '"1"'}

        assert (await orders.put(address, json={"quantity": 3}, headers=stale)).status_code == 412
        assert (await orders.delete(address, headers=stale)).status_code == 412
        current = headers | {"If-Match": '"2"'}
        assert (await orders.put(address, json={"quantity": 3}, headers=current)).status_code == 200

    async def test_of_twenty_parallel_changes_from_one_version_one_wins(
        self, orders: httpx.AsyncClient
    ) -> None:
        headers = bearer(token())
        address = f"/orders/{(await place(orders, headers))['id']}"
        conditional = headers | {"If-Match": '"1"'}
        responses = await asyncio.gather(
            *[orders.put(address, json={"quantity": n}, headers=conditional) for n in range(1, 21)]
        )

        assert sorted(response.status_code for response in responses) == [200] + [412] * 19


class TestLifeCycle:
    async def test_order_passes_through_its_whole_life_cycle(self, orders: httpx.AsyncClient) -> None:
        owner, admin_id = bearer(token()), new_id()
        address = f"/orders/{(await place(orders, owner))['id']}"
        steps = ["confirmed", "shipped", "delivered", "returned"]
        for status in steps:
            response = await orders.put(
                address, json={"status": status}, headers=bearer(token(admin_id, role="admin"))
            )
            assert response.json()["status"] == status

        history = (await orders.get(f"{address}/history", headers=owner)).json()
        assert [step["status"] for step in history] == ["pending", *steps]
        assert [step["from_status"] for step in history] == [None, "pending", *steps[:-1]]
        assert {step["by"] for step in history[1:]} == {admin_id}

    @pytest.mark.parametrize(
        ("steps", "refused", "allowed"),
        [
            ([], "shipped", ["confirmed", "cancelled"]),
            ([], "pending", ["confirmed", "cancelled"]),
            (["confirmed"], "delivered", ["shipped", "cancelled"]),
            (["confirmed", "shipped"], "cancelled", ["delivered"]),
            (["cancelled"], "confirmed", []),
        ],
    )
    async def test_illegal_step_is_rejected_with_409(
        self, orders: httpx.AsyncClient, steps: list[str], refused: str, allowed: list[str]
    ) -> None:
        admin = bearer(token(role="admin"))
        address = f"/orders/{(await place(orders, bearer(token())))['id']}"
        for status in steps:
            await orders.put(address, json={"status": status}, headers=admin)
        response = await orders.put(address, json={"status": refused}, headers=admin)

        assert response.status_code == 409
        assert response.json()["code"] == "illegal_step"
        assert response.json()["allowed"] == allowed

    async def test_owner_may_cancel_but_not_confirm(self, orders: httpx.AsyncClient) -> None:
        headers = bearer(token())
        address = f"/orders/{(await place(orders, headers))['id']}"
        refused = await orders.put(address, json={"status": "confirmed"}, headers=headers)

        assert refused.status_code == 403
        assert refused.json()["code"] == "step_needs_admin"
        cancelled = await orders.put(address, json={"status": "cancelled"}, headers=headers)
        assert cancelled.json()["status"] == "cancelled"


class TestDeleteOrder:
    async def test_order_is_deleted_with_its_history(self, orders: httpx.AsyncClient) -> None:
        headers = bearer(token())
        address = f"/orders/{(await place(orders, headers))['id']}"

        assert (await orders.delete(address, headers=headers)).status_code == 204
        assert (await orders.get(address, headers=headers)).status_code == 404
        assert (await orders.get(f"{address}/history", headers=headers)).status_code == 404

    async def test_confirmed_order_cannot_be_deleted(self, orders: httpx.AsyncClient) -> None:
        headers = bearer(token())
        address = f"/orders/{(await place(orders, headers))['id']}"
        await orders.put(address, json={"status": "confirmed"}, headers=bearer(token(role="admin")))
        response = await orders.delete(address, headers=headers)

        assert response.status_code == 409
        assert response.json()["allowed"] == ["shipped", "cancelled"]
