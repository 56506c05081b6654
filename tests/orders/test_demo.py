"""The orders of the demo company: backdated, and removed without a trace among the orders of others."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import httpx
from sqlmodel import Session

from contracts.demo import MARK
from contracts.events import SUBSCRIBERS
from services.orders import demo
from services.orders.models import EVENTS
from services.orders.settings import Settings
from shared.data.database import Database
from shared.events import Events
from shared.ids import new_id
from shared.peers.client import HttpClient
from shared.testing import bearer, token
from tests.orders.conftest import LISTENER
from tests.orders.support import ADMIN, add_product, buy, ledger_faults, step, stock_of
from tests.told import told

DAYS = 100


@contextmanager
def own(database_url: str) -> Iterator[Session]:
    database = Database(database_url, pool_size=1)
    try:
        Events(EVENTS, {}, {**SUBSCRIBERS, "listener": LISTENER}).attach(
            Settings(database_url=database_url), database, HttpClient()
        )
        with database.transaction() as session:
            yield session
    finally:
        database.close()


async def listed(orders: httpx.AsyncClient, path: str) -> list[dict[str, object]]:
    response = await orders.get(path, headers=ADMIN)
    assert response.status_code == 200, response.text
    found: list[dict[str, object]] = response.json()
    return found


async def test_demo_is_dated_back_once_and_removed_without_others(
    orders_with_listener: httpx.AsyncClient, database_url: str
) -> None:
    orders = orders_with_listener
    person, other = new_id(), new_id()
    product = await add_product(orders, pieces=50, sku="DEMO-DESK", attributes=MARK)
    unsold = await add_product(orders, pieces=3, sku="DEMO-LAMP", attributes=MARK)
    kept = await add_product(orders, pieces=50, sku="DESK-DEMO-1")
    others = [
        await add_product(orders, pieces=7, sku=sku, **fields)
        for sku, fields in {"DEMO-OTHER": {"attributes": MARK}, "demo-desk": {}, "DEMO-CHAIR": {}}.items()
    ]
    mine = [(await buy(orders, bearer(token(person)), (product, 1), (kept, 1))).json() for _ in range(4)]
    for order in mine[:3]:
        await step(orders, order["id"], "confirmed", "shipped", "delivered")
    await orders.post(f"/orders/{mine[0]['id']}/invoice", headers=ADMIN)
    real = (await buy(orders, bearer(token(other)), (product, 2))).json()

    for _ in range(2):
        with own(database_url) as session:
            demo.move_back(session, [person], DAYS)

    rows = await listed(orders, f"/orders?user_id={person}")
    placed = [datetime.fromisoformat(str(one["created"])) for one in rows]
    assert placed == sorted(placed, reverse=True)
    assert timedelta(days=DAYS - 25) < datetime.now(UTC) - placed[-1] < timedelta(days=DAYS)
    history = await listed(orders, f"/orders/{mine[0]['id']}/history")
    times = [datetime.fromisoformat(str(one["timestamp"])) for one in history]
    assert times == sorted(times)
    assert times[0] == placed[-1]
    assert (await listed(orders, f"/orders?user_id={other}"))[0]["created"] == real["created"]

    with own(database_url) as session:
        removed = demo.remove(session, [person], ["DEMO-DESK", "DEMO-LAMP", "DEMO-CHAIR"])

    assert removed == len(mine)
    assert [one["id"] for one in await listed(orders, "/orders")] == [real["id"]]
    left = {one["sku"]: one["status"] for one in await listed(orders, "/products")}
    assert left == {
        "DEMO-DESK": "archived",  # somebody else has ordered it
        "DESK-DEMO-1": "active",
        "DEMO-OTHER": "active",
        "demo-desk": "active",
        "DEMO-CHAIR": "active",
    }
    assert [await stock_of(orders, one["id"]) for one in others] == [(7, 0)] * len(others)
    assert [len(await listed(orders, f"/products/{one['id']}/stock/moves")) for one in others] == [1, 1, 1]
    gone = [one.data["product_id"] for one in told(database_url, EVENTS) if one.topic == "product.deleted"]
    assert gone == [unsold["id"]]
    shown = await orders.get(f"/orders/{real['id']}", headers=ADMIN)
    assert shown.json()["lines"][0]["name"] == product["name"]
    assert ledger_faults(database_url) == []
