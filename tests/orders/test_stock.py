"""Stock: the moves that sum to it, and what orders reserve, release, ship and return."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from contracts.events import SUBSCRIBERS, AccountDeleted
from services.orders import app
from services.orders.models import EVENTS, MAIN, ORDERS
from services.orders.settings import Settings
from services.orders.stock.moves import Portion, spread
from shared.clock import now
from shared.data.database import Database
from shared.events.event import Sealed
from shared.ids import new_id
from shared.testing import bearer, internal_token, running, token
from tests.orders.conftest import LISTENER
from tests.orders.support import ADMIN, add_product, buy, ledger_faults, move, step, stock_of
from tests.told import events

LAPTOP = {"product_name": "Laptop", "quantity": 1, "total_price": 999.99}
SECONDS = 30.0
BUYER_ID = new_id()
BUYER = bearer(token(BUYER_ID))


class TestMoves:
    async def test_moves_sum_to_the_stock_of_each_location(
        self, orders: httpx.AsyncClient, database_url: str
    ) -> None:
        product_id = (await add_product(orders))["id"]
        first = await move(orders, product_id, "receive", 10)
        assert first.status_code == 201
        await move(orders, product_id, "receive", 5, "annex")
        await move(orders, product_id, "adjust", -3)
        last = await move(orders, product_id, "adjust", 1, "annex")

        places = [{"location": "annex", "on_hand": 6}, {"location": "main", "on_hand": 7}]
        assert last.json() == {
            "product_id": product_id,
            "on_hand": 13,
            "reserved": 0,
            "available": 13,
            "locations": [{**one, "reserved": 0, "available": one["on_hand"]} for one in places],
        }
        moves = (await orders.get(f"/products/{product_id}/stock/moves", headers=ADMIN)).json()
        assert [(one["kind"], one["quantity"], one["location"]) for one in moves] == [
            ("adjust", 1, "annex"),
            ("adjust", -3, "main"),
            ("receive", 5, "annex"),
            ("receive", 10, "main"),
        ]
        assert ledger_faults(database_url) == []

    async def test_adjustment_below_the_free_pieces_of_a_location_is_rejected_with_409(
        self, orders: httpx.AsyncClient, database_url: str
    ) -> None:
        product = await add_product(orders, pieces=5)
        await move(orders, product["id"], "receive", 5, "annex")
        await buy(orders, BUYER, (product, 2))
        for quantity, location, available in [
            (-4, MAIN, 3),
            (-6, "annex", 5),
            (-1, "cellar", 0),
            (-99, MAIN, 8),
        ]:
            refused = await move(orders, product["id"], "adjust", quantity, location)
            assert (refused.status_code, refused.json()["code"]) == (409, "not_enough_stock")
            assert refused.json()["available"] == available

        assert (await move(orders, product["id"], "adjust", -3)).status_code == 201
        assert await stock_of(orders, product["id"]) == (7, 2)
        assert ledger_faults(database_url) == []

    async def test_repeated_move_with_one_key_happens_once(self, orders: httpx.AsyncClient) -> None:
        product_id = (await add_product(orders))["id"]
        headers = ADMIN | {"Idempotency-Key": "delivery"}
        body = {"kind": "receive", "quantity": 7}
        sent = [
            orders.post(f"/products/{product_id}/stock/moves", json=body, headers=headers) for _ in range(5)
        ]

        assert {one.status_code for one in await asyncio.gather(*sent)} == {201}
        assert await stock_of(orders, product_id) == (7, 0)

    async def test_malformed_moves_are_rejected_with_422(self, catalogue: httpx.AsyncClient) -> None:
        product_id = (await add_product(catalogue))["id"]
        malformed: list[tuple[dict[str, Any], str]] = [
            ({"quantity": 0}, "quantity"),
            ({"quantity": -1}, "quantity"),
            ({"quantity": 10**12}, "quantity"),
            ({"quantity": "1"}, "quantity"),
            ({"kind": "ship"}, "kind"),
            ({"location": "Main Hall"}, "location"),
            ({"location": "x" * 41}, "location"),
            ({"reason": ""}, "reason"),
            ({"order_id": new_id()}, "order_id"),
        ]
        for changes, field in malformed:
            body = {"kind": "receive", "quantity": 1} | changes
            response = await catalogue.post(f"/products/{product_id}/stock/moves", json=body, headers=ADMIN)

            assert response.status_code == 422, changes
            assert field in [error["field"] for error in response.json()["errors"]]

    async def test_twenty_concurrent_moves_lose_no_piece(
        self, orders: httpx.AsyncClient, database_url: str
    ) -> None:
        product_id = (await add_product(orders, pieces=10))["id"]
        moving = [move(orders, product_id, "adjust", -1) for _ in range(15)]
        moving += [move(orders, product_id, "receive", 2, "annex") for _ in range(5)]
        statuses = [one.status_code for one in await asyncio.gather(*moving)]

        assert sorted(statuses) == [201] * 15 + [409] * 5
        assert await stock_of(orders, product_id) == (10, 0)
        assert ledger_faults(database_url) == []


class TestOrdersOfProducts:
    async def test_lines_take_name_price_and_tax_from_the_products(self, orders: httpx.AsyncClient) -> None:
        laptop = await add_product(orders, pieces=5, name="Laptop", price=999.99, tax_rate=25.5)
        mouse = await add_product(orders, pieces=5, name="Mouse", price=0.1, tax_rate=0)
        response = await buy(orders, BUYER, (laptop, 2), (mouse, 3))

        assert response.status_code == 201, response.text
        order = response.json()
        assert (order["product_name"], order["quantity"]) == ("Laptop and 1 more", 5)
        assert '"total_price":2510.27,' in response.text  # 1999.98 + 509.9949, and 0.30
        assert [(one["unit_price"], one["tax"], one["total"]) for one in order["lines"]] == [
            (999.99, 509.99, 2509.97),
            (0.1, 0, 0.3),
        ]
        assert (await orders.get(response.headers["location"], headers=BUYER)).json() == order
        (listed,) = (await orders.get("/orders", headers=BUYER)).json()
        assert (listed["id"], listed["line_count"]) == (order["id"], 2)
        await orders.put(f"/products/{laptop['id']}", json={"price": 1}, headers=ADMIN)
        assert (await orders.get(response.headers["location"], headers=BUYER)).json() == order

    async def test_order_of_more_than_there_is_reserves_nothing(
        self, orders: httpx.AsyncClient, database_url: str
    ) -> None:
        many, few = await add_product(orders, pieces=9), await add_product(orders, pieces=2)
        none = await add_product(orders)
        refused = await buy(orders, BUYER, (many, 3), (few, 3), (none, 1))

        assert (refused.status_code, refused.json()["code"]) == (409, "out_of_stock")
        short = sorted(refused.json()["lines"], key=lambda line: -int(line["quantity"]))
        assert short == [
            {"product_id": few["id"], "quantity": 3, "available": 2},
            {"product_id": none["id"], "quantity": 1, "available": 0},
        ]
        assert [await stock_of(orders, one["id"]) for one in (many, few)] == [(9, 0), (2, 0)]
        assert (await orders.get("/orders", headers=BUYER)).json() == []
        assert ledger_faults(database_url) == []

    async def test_pieces_are_taken_from_several_locations_if_none_has_enough(
        self, orders: httpx.AsyncClient, database_url: str
    ) -> None:
        product = await add_product(orders, pieces=2)
        await move(orders, product["id"], "receive", 3, "annex")
        order = (await buy(orders, BUYER, (product, 4))).json()
        assert (await step(orders, order["id"], "confirmed", "shipped")).status_code == 200

        shown = (await orders.get(f"/products/{product['id']}/stock", headers=ADMIN)).json()
        assert [one["on_hand"] for one in shown["locations"]] == [1, 0]
        assert (shown["on_hand"], shown["reserved"]) == (1, 0)
        assert ledger_faults(database_url) == []

    async def test_steps_of_an_order_release_ship_and_return_its_pieces(
        self, orders: httpx.AsyncClient, database_url: str
    ) -> None:
        product = await add_product(orders, pieces=10)
        kept, cancelled, late, deleted = [
            (await buy(orders, BUYER, (product, 2))).json()["id"] for _ in range(4)
        ]
        assert await stock_of(orders, product["id"]) == (10, 8)
        own = await orders.put(f"/orders/{cancelled}", json={"status": "cancelled"}, headers=BUYER)
        assert own.status_code == 200
        await step(orders, late, "confirmed", "cancelled")
        assert await stock_of(orders, product["id"]) == (10, 4)
        for order_id in (deleted, cancelled):  # one is pending, the other has nothing left to release
            assert (await orders.delete(f"/orders/{order_id}", headers=BUYER)).status_code == 204
        assert await stock_of(orders, product["id"]) == (10, 2)
        await step(orders, kept, "confirmed", "shipped")
        assert await stock_of(orders, product["id"]) == (8, 0)
        await step(orders, kept, "delivered", "returned")

        assert await stock_of(orders, product["id"]) == (10, 0)
        assert ledger_faults(database_url) == []

    async def test_backordered_pieces_ship_once_they_have_arrived(
        self, orders: httpx.AsyncClient, database_url: str
    ) -> None:
        product = await add_product(orders, pieces=1, backorder=True)
        order_id = (await buy(orders, BUYER, (product, 3))).json()["id"]
        assert await stock_of(orders, product["id"]) == (1, 3)
        refused = await step(orders, order_id, "confirmed", "shipped")
        assert (refused.status_code, refused.json()["code"]) == (409, "not_on_hand")
        assert (await orders.get(f"/orders/{order_id}", headers=BUYER)).json()["status"] == "confirmed"
        address = f"/products/{product['id']}"
        owed = await orders.put(address, json={"backorder": False}, headers=ADMIN)
        assert (owed.status_code, owed.json()["code"], owed.json()["owed"]) == (409, "pieces_owed", 2)
        await move(orders, product["id"], "receive", 2)
        assert (await step(orders, order_id, "shipped")).status_code == 200
        assert (await orders.put(address, json={"backorder": False}, headers=ADMIN)).status_code == 200

        assert (await buy(orders, BUYER, (product, 1))).status_code == 409
        assert ledger_faults(database_url) == []

    async def test_untracked_product_is_never_out_of_stock(self, orders: httpx.AsyncClient) -> None:
        product = await add_product(orders, track_stock=False)
        order_id = (await buy(orders, BUYER, (product, 1_000_000))).json()["id"]

        assert (
            await step(orders, order_id, "confirmed", "shipped", "delivered", "returned")
        ).status_code == 200
        assert await stock_of(orders, product["id"]) == (0, 0)
        assert (await orders.get(f"/products/{product['id']}", headers=BUYER)).json()["available"] is None

    async def test_lines_that_cannot_be_ordered_are_rejected_with_422(
        self, orders: httpx.AsyncClient
    ) -> None:
        product = await add_product(orders, pieces=9)
        euro = await add_product(orders, pieces=9, currency="EUR")
        draft = await add_product(orders, pieces=9, status="draft")
        dear = await add_product(orders, pieces=9, price=9_999_999_999.99)

        def line(product_id: str, quantity: Any = 1) -> dict[str, Any]:
            return {"product_id": product_id, "quantity": quantity}

        good = line(product["id"])
        malformed: list[tuple[dict[str, Any], str]] = [
            ({"lines": []}, "lines"),
            ({"lines": [good] * 51}, "lines"),
            ({"lines": None}, "lines"),
            ({"lines": [good, line(new_id())]}, "lines.1.product_id"),
            ({"lines": [good, line(draft["id"])]}, "lines.1.product_id"),
            ({"lines": [good, line(euro["id"])]}, "lines.1.product_id"),
            ({"lines": [good, good]}, "lines.1.product_id"),
            ({"lines": [line(product["id"], 0)]}, "lines.0.quantity"),
            ({"lines": [line(product["id"], 1_000_001)]}, "lines.0.quantity"),
            ({"lines": [line(dear["id"], 2)]}, "lines"),
            ({"lines": [good | {"unit_price": 0.01}]}, "lines.0.unit_price"),
            ({"lines": [good], "total_price": 0.01}, "total_price"),
            ({"lines": [good], "currency": "USD"}, "currency"),
            ({"lines": [good], "product_name": None}, "product_name"),
            (LAPTOP | {"lines": None}, "lines"),
            (LAPTOP | {"currency": None}, "currency"),
        ]
        for body, field in malformed:
            response = await orders.post("/orders", json=body, headers=BUYER)
            assert response.status_code == 422, body
            assert field in [error["field"] for error in response.json()["errors"]], response.text
        assert await stock_of(orders, product["id"]) == (9, 0)

    async def test_content_of_an_order_with_lines_does_not_change(self, orders: httpx.AsyncClient) -> None:
        order_id = (await buy(orders, BUYER, (await add_product(orders, pieces=1), 1))).json()["id"]
        refused = await orders.put(f"/orders/{order_id}", json={"total_price": 0.01}, headers=BUYER)

        assert (refused.status_code, refused.json()["code"]) == (409, "order_has_lines")

    async def test_repeated_order_with_one_key_reserves_once(self, orders: httpx.AsyncClient) -> None:
        product = await add_product(orders, pieces=9)
        headers = BUYER | {"Idempotency-Key": "cart"}
        placed = await asyncio.gather(*[buy(orders, headers, (product, 2)) for _ in range(5)])

        assert {one.status_code for one in placed} == {201}
        assert len({one.json()["id"] for one in placed}) == 1
        assert await stock_of(orders, product["id"]) == (9, 2)

    async def test_orders_of_the_same_products_in_opposite_orders_do_not_deadlock(
        self, orders: httpx.AsyncClient, database_url: str
    ) -> None:
        one, other = await add_product(orders, pieces=30), await add_product(orders, pieces=30)
        pairs = [((one, 1), (other, 1)), ((other, 1), (one, 1))] * 10
        placed = await asyncio.gather(*[buy(orders, BUYER, *pair) for pair in pairs])

        assert {one.status_code for one in placed} == {201}
        assert await stock_of(orders, one["id"]) == await stock_of(orders, other["id"]) == (30, 20)
        assert ledger_faults(database_url) == []


class TestExpiry:
    async def test_pending_orders_whose_time_is_up_are_cancelled_and_release_their_pieces(
        self,
        monkeypatch: pytest.MonkeyPatch,
        make_settings: Callable[..., Any],
        database_url: str,
    ) -> None:
        monkeypatch.setattr(app, "EXPIRE_SECONDS", 0.05)
        monkeypatch.setattr(app, "SUBSCRIBERS", {**SUBSCRIBERS, "listener": LISTENER})
        async with running(app.create_app, make_settings(Settings, database_url=database_url)) as orders:
            product = await add_product(orders, pieces=10)
            late, confirmed, fresh = [(await buy(orders, BUYER, (product, 2))).json()["id"] for _ in range(3)]
            simple = (await orders.post("/orders", json=LAPTOP, headers=BUYER)).json()["id"]
            await step(orders, confirmed, "confirmed")
            end_reservations(database_url, late, confirmed, simple)
            async with asyncio.timeout(SECONDS):
                while await stock_of(orders, product["id"]) != (10, 4):  # noqa: ASYNC110 - another thread does it
                    await asyncio.sleep(0.02)
            shown = [
                (await orders.get(f"/orders/{one}", headers=BUYER)).json()["status"]
                for one in (late, confirmed, fresh, simple)
            ]
            history = (await orders.get(f"/orders/{late}/history", headers=BUYER)).json()

        assert shown == ["cancelled", "confirmed", "pending", "pending"]
        assert history[-1]["by"] == "gatehouse"
        told = [one.data for one in events(database_url, EVENTS) if one.topic == "order.changed"]
        assert [(one["order_id"], one["status_before"]) for one in told if one["status"] == "cancelled"] == [
            (late, "pending")
        ]
        assert ledger_faults(database_url) == []

    async def test_pieces_of_pending_orders_of_a_deleted_account_are_released(
        self, orders: httpx.AsyncClient, database_url: str
    ) -> None:
        one, other = await add_product(orders, pieces=10), await add_product(orders, pieces=10)
        for _ in range(2):
            await buy(orders, BUYER, (one, 1), (other, 2))
        event = Sealed("auth", AccountDeleted(account_id=BUYER_ID, deleted=now())).body
        headers = bearer(internal_token("orders", issuer="auth")) | {"Content-Type": "application/json"}
        delivered = await orders.post("/internal/events", content=f'{{"events":[{event}]}}', headers=headers)

        assert delivered.status_code == 204
        assert [await stock_of(orders, each["id"]) for each in (one, other)] == [(10, 0), (10, 0)]
        assert ledger_faults(database_url) == []


def end_reservations(database_url: str, *order_ids: str) -> None:
    """Let the reservations of these orders end now, if they have any."""
    database = Database(database_url, pool_size=1)
    until = update(ORDERS).where(ORDERS.c.id.in_(order_ids), ORDERS.c.reserved_until.is_not(None))
    with database.transaction() as session:
        session.connection().execute(until.values(reserved_until=now()))
    database.close()


class TestSpread:
    """Which locations the pieces of an order are taken from."""

    @staticmethod
    def places(**free: int) -> list[dict[str, Any]]:
        return [{"location": name, "on_hand": one, "reserved": 0} for name, one in free.items()]

    def test_the_main_location_comes_first(self) -> None:
        assert spread(self.places(annex=9, main=3), 3) == [Portion(MAIN, 3)]

    def test_one_location_with_enough_is_better_than_two(self) -> None:
        assert spread(self.places(annex=2, depot=9, main=2), 3) == [Portion("depot", 3)]

    def test_several_locations_are_used_if_none_has_enough(self) -> None:
        wanted = [Portion(MAIN, 2), Portion("annex", 2), Portion("depot", 1)]
        assert spread(self.places(annex=2, depot=2, empty=0, main=2), 5) == wanted

    def test_the_main_location_owes_what_no_location_has(self) -> None:
        assert spread(self.places(annex=2, main=-4), 5) == [Portion("annex", 2), Portion(MAIN, 3)]
        assert spread([], 5) == [Portion(MAIN, 5)]
