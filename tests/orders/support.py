"""A shop for tests: products with stock, orders of them, and a check of the ledger."""

from typing import Any

import httpx
from sqlalchemy import func, select

from services.orders.models import EFFECTS, LEVELS, LINES, MOVES, ORDERS, STOCK, MoveKind
from shared.data.database import Database
from shared.ids import new_id
from shared.testing import bearer, token

ADMIN_ID = new_id()
ADMIN = bearer(token(ADMIN_ID, role="admin"))


async def add_product(orders: httpx.AsyncClient, pieces: int = 0, **fields: Any) -> dict[str, Any]:
    """Add an active product with some pieces at the main location."""
    sku = f"SKU-{new_id()[-12:]}"
    body = {"sku": sku, "name": f"Product {sku}", "price": 9.99, "status": "active", **fields}
    response = await orders.post("/products", json=body, headers=ADMIN)
    assert response.status_code == 201, response.text
    product: dict[str, Any] = response.json()
    if pieces:
        await move(orders, product["id"], "receive", pieces)
    return product


async def move(
    orders: httpx.AsyncClient, product_id: str, kind: str, quantity: int, location: str = "main"
) -> httpx.Response:
    body = {"kind": kind, "quantity": quantity, "location": location}
    return await orders.post(f"/products/{product_id}/stock/moves", json=body, headers=ADMIN)


async def buy(
    orders: httpx.AsyncClient, headers: dict[str, str], *lines: tuple[dict[str, Any], int]
) -> httpx.Response:
    body = {"lines": [{"product_id": product["id"], "quantity": quantity} for product, quantity in lines]}
    return await orders.post("/orders", json=body, headers=headers)


async def step(orders: httpx.AsyncClient, order_id: str, *steps: str) -> httpx.Response:
    """Take an order through these steps, as an admin; return the last response."""
    for status in steps:
        response = await orders.put(f"/orders/{order_id}", json={"status": status}, headers=ADMIN)
    return response


async def stock_of(orders: httpx.AsyncClient, product_id: str) -> tuple[int, int]:
    """Return the pieces on hand and those reserved."""
    response = await orders.get(f"/products/{product_id}/stock", headers=ADMIN)
    assert response.status_code == 200, response.text
    found = response.json()
    return found["on_hand"], found["reserved"]


def ledger_faults(database_url: str) -> list[str]:
    """Compare the moves with the stock, the stock with the levels, and lines with their orders."""
    database = Database(database_url, pool_size=1)
    try:
        with database.transaction(write=False) as session:
            execute = session.connection().execute
            summed: dict[tuple[str, str], tuple[int, int]] = {}
            keys = (MOVES.c.product_id, MOVES.c.location)
            sums = select(*keys, MOVES.c.kind, func.sum(MOVES.c.quantity)).group_by(*keys, MOVES.c.kind)
            for product, location, kind, quantity in execute(sums):
                before, effect = summed.get((product, location), (0, 0)), EFFECTS[MoveKind(kind)]
                changed = (before[0] + effect[0] * int(quantity), before[1] + effect[1] * int(quantity))
                summed[product, location] = changed
            stock = {
                (row.product_id, row.location): (row.on_hand, row.reserved) for row in execute(select(STOCK))
            }
            levels = {row.product_id: (row.on_hand, row.reserved) for row in execute(select(LEVELS))}
            totals = dict.fromkeys(levels, (0, 0))
            for (product, _), (on_hand, reserved) in stock.items():
                totals[product] = (totals[product][0] + on_hand, totals[product][1] + reserved)
            of_lines = select(ORDERS.c.id, ORDERS.c.total_minor, func.sum(LINES.c.total_minor)).join(LINES)
            wrong = [row for row in execute(of_lines.group_by(ORDERS.c.id)) if row[1] != int(row[2])]
    finally:
        database.close()
    faults = [f"moves sum to {summed}, the stock is {stock}"] if summed != stock else []
    faults += [f"the stock sums to {totals}, the levels are {levels}"] if totals != levels else []
    return [*faults, *(f"order {row[0]}: {row[1]} is not {row[2]}" for row in wrong)]
