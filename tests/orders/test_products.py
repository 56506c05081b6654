"""Products: who sees and changes them, exact prices, search, and the limit of low stock."""

from typing import Any

import httpx

from services.orders.models import EVENTS
from shared.ids import new_id
from shared.testing import bearer, token
from tests.orders.support import ADMIN, add_product, buy, move
from tests.told import events

USER = bearer(token())
NEW = {"sku": "LAPTOP-14", "name": "Laptop", "price": 999.99}


class TestCreateProduct:
    async def test_created_product_is_a_draft_that_only_admins_see(self, orders: httpx.AsyncClient) -> None:
        response = await orders.post("/products", json=NEW, headers=ADMIN)

        assert response.status_code == 201
        assert '"price":999.99,' in response.text
        product, address = response.json(), response.headers["location"]
        assert (product["status"], product["available"], product["version"]) == ("draft", 0, 1)
        assert (await orders.get(address, headers=ADMIN)).json() == product
        assert (await orders.get(address, headers=USER)).status_code == 404
        assert (await orders.get("/products", headers=USER)).json() == []

    async def test_second_product_with_the_same_sku_is_rejected_with_409(
        self, orders: httpx.AsyncClient
    ) -> None:
        await orders.post("/products", json=NEW, headers=ADMIN)
        response = await orders.post("/products", json=NEW, headers=ADMIN)

        assert (response.status_code, response.json()["code"]) == (409, "sku_taken")

    async def test_repeated_request_with_one_key_creates_one_product(self, orders: httpx.AsyncClient) -> None:
        headers = {**ADMIN, "Idempotency-Key": "once"}
        first, second = [await orders.post("/products", json=NEW, headers=headers) for _ in range(2)]

        assert (first.status_code, second.status_code, second.json()) == (201, 201, first.json())

    async def test_malformed_input_is_rejected_with_422(self, catalogue: httpx.AsyncClient) -> None:
        malformed: list[dict[str, Any]] = [
            {"sku": ""},
            {"sku": "-x"},
            {"sku": "x" * 65},
            {"name": " "},
            {"price": -1},
            {"price": 9.999},
            {"price": 1.5, "currency": "JPY"},
            {"price": None},
            {"currency": "XXX"},
            {"tax_rate": 101},
            {"tax_rate": 7.777},
            {"low_at": -1},
            {"status": "sold"},
            {"attributes": {"a": 1}},
            {"description": "a\x00b"},
            {"stock": 7},
        ]
        for changes in malformed:
            response = await catalogue.post("/products", json=NEW | changes, headers=ADMIN)

            assert response.status_code == 422, (changes, response.text)
            fields = [error["field"].split(".")[0] for error in response.json()["errors"]]
            assert fields == [next(iter(changes))]

    async def test_users_may_not_manage_products(self, catalogue: httpx.AsyncClient) -> None:
        operations: list[tuple[str, str, Any]] = [
            ("POST", "", NEW),
            ("PUT", f"/{new_id()}", {"price": 1}),
            ("DELETE", f"/{new_id()}", None),
            ("GET", f"/{new_id()}/stock", None),
            ("GET", f"/{new_id()}/stock/moves", None),
            ("POST", f"/{new_id()}/stock/moves", {"kind": "receive", "quantity": 1}),
            ("POST", "/import", None),
        ]
        for method, suffix, body in operations:
            address = f"/products{suffix}"

            assert (await catalogue.request(method, address, json=body, headers=USER)).status_code == 403
            assert (await catalogue.request(method, address, json=body)).status_code == 401


class TestChangeProduct:
    async def test_changed_product_has_a_new_version_and_stale_changes_are_rejected(
        self, orders: httpx.AsyncClient
    ) -> None:
        address = f"/products/{(await add_product(orders))['id']}"
        change = {"price": 5, "attributes": {"colour": "red"}, "status": "archived"}
        first = await orders.put(address, json=change, headers=ADMIN | {"If-Match": '"1"'})

        assert first.json() | change == first.json()
        assert first.headers["etag"] == '"2"'
        stale = ADMIN | {"If-Match": '"1"'}
        assert (await orders.put(address, json=change, headers=stale)).status_code == 412
        assert (await orders.delete(address, headers=stale)).status_code == 412

    async def test_change_that_is_no_change_or_no_price_is_rejected_with_422(
        self, catalogue: httpx.AsyncClient
    ) -> None:
        address = f"/products/{(await add_product(catalogue))['id']}"
        changes: list[dict[str, Any]] = [{}, {"price": None}, {"id": "x"}, {"currency": "JPY"}]
        for change in changes:
            assert (await catalogue.put(address, json=change, headers=ADMIN)).status_code == 422, change

    async def test_sku_of_another_product_is_rejected_with_409(self, orders: httpx.AsyncClient) -> None:
        one, other = await add_product(orders), await add_product(orders)
        response = await orders.put(f"/products/{one['id']}", json={"sku": other["sku"]}, headers=ADMIN)

        assert (response.status_code, response.json()["code"]) == (409, "sku_taken")

    async def test_unknown_product_is_404(self, catalogue: httpx.AsyncClient) -> None:
        address = f"/products/{new_id()}"
        for method, suffix, body in [
            ("GET", "", None),
            ("PUT", "", {"price": 1}),
            ("DELETE", "", None),
            ("GET", "/stock", None),
            ("GET", "/stock/moves", None),
            ("POST", "/stock/moves", {"kind": "receive", "quantity": 1}),
        ]:
            response = await catalogue.request(method, address + suffix, json=body, headers=ADMIN)
            assert response.status_code == 404, (method, suffix)


class TestDeleteProduct:
    async def test_product_without_a_past_is_deleted_and_another_one_is_archived(
        self, orders: httpx.AsyncClient
    ) -> None:
        fresh, used = await add_product(orders), await add_product(orders, pieces=1)
        untracked = await add_product(orders, track_stock=False)
        assert (await buy(orders, USER, (untracked, 1))).status_code == 201
        addresses = [f"/products/{one['id']}" for one in (fresh, used, untracked)]
        for address in addresses:
            assert (await orders.delete(address, headers=ADMIN)).status_code == 204

        shown = [await orders.get(address, headers=ADMIN) for address in addresses]
        assert [one.status_code for one in shown] == [404, 200, 200]
        assert [one.json()["status"] for one in shown[1:]] == ["archived", "archived"]


class TestListProducts:
    async def test_filters_and_search_find_products(self, orders: httpx.AsyncClient) -> None:
        names: dict[str, str] = {}
        added: dict[str, dict[str, Any]] = {
            "Grüne Lampe": {},
            "Rote Lampe": {"low_at": 5},
            "Stuhl": {"status": "draft"},
        }
        for name, fields in added.items():
            names[(await add_product(orders, pieces=5, name=name, **fields))["id"]] = name

        async def found(query: str, headers: dict[str, str]) -> list[str]:
            response = await orders.get(f"/products?{query}", headers=headers)
            assert response.status_code == 200, response.text
            return [names[one["id"]] for one in response.json()]

        assert await found("", ADMIN) == ["Stuhl", "Rote Lampe", "Grüne Lampe"]
        assert await found("", USER) == ["Rote Lampe", "Grüne Lampe"]
        assert await found("search=LAMPE", USER) == ["Rote Lampe", "Grüne Lampe"]
        assert await found("search=grü", USER) == ["Grüne Lampe"]
        assert await found("search=stuhl", USER) == []
        assert await found("status=draft", ADMIN) == ["Stuhl"]
        assert await found("low=true", USER) == ["Rote Lampe"]
        assert await found("low=false", ADMIN) == ["Stuhl", "Grüne Lampe"]
        assert await found("low=true&search=grün", ADMIN) == []
        assert await found("low=true&search=lampe", ADMIN) == ["Rote Lampe"]
        assert (await orders.get("/products?status=draft", headers=USER)).status_code == 404
        assert (await orders.get("/products?status=sold", headers=USER)).status_code == 422
        for text in ("%00", "lampe%00"):  # PostgreSQL cannot store this character
            refused = await orders.get(f"/products?search={text}", headers=USER)
            assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "search")

    async def test_pages_contain_all_products_with_their_free_pieces(self, orders: httpx.AsyncClient) -> None:
        added = [(await add_product(orders, pieces=number + 1))["id"] for number in range(5)]
        seen, address = [], "/products?limit=2"
        while address:
            response = await orders.get(address, headers=USER)
            seen += [(one["id"], one["available"]) for one in response.json()]
            following = response.links.get("next")
            address = "/products" + following["url"] if following else ""

        assert seen == [(one, number + 1) for number, one in enumerate(added)][::-1]


async def low_events(database_url: str) -> list[tuple[int, int]]:
    told = [one.data for one in events(database_url, EVENTS) if one.topic == "stock.low"]
    return [(one["available"], one["low_at"]) for one in told]


async def test_low_stock_is_emitted_once_per_crossing(
    orders_with_listener: httpx.AsyncClient, database_url: str
) -> None:
    orders = orders_with_listener
    product = await add_product(orders, pieces=10, low_at=5)
    address = f"/products/{product['id']}"
    for quantity in (4, 1, 1):  # 6, 5, 4 are left
        await buy(orders, USER, (product, quantity))
    assert await low_events(database_url) == [(5, 5)]
    await move(orders, product["id"], "receive", 10)  # 14
    assert (await orders.get(address, headers=USER)).json()["low"] is False
    await move(orders, product["id"], "adjust", -10)  # 4
    await orders.put(address, json={"low_at": 3}, headers=ADMIN)
    assert (await orders.get(address, headers=USER)).json()["low"] is False
    await orders.put(address, json={"low_at": 4}, headers=ADMIN)

    assert await low_events(database_url) == [(5, 5), (4, 5), (4, 4)]
    assert (await orders.get("/products?low=true", headers=USER)).json()[0]["id"] == product["id"]
