"""Many buyers and few pieces: each piece is sold once, even when the service is killed at random."""

import asyncio
import random
from typing import Any

import httpx
import psycopg
import pytest

from shared.ids import new_id
from shared.testing import bearer, token
from tests.orders.replicas import Request, Shop
from tests.orders.support import ADMIN, add_product, buy, ledger_faults, move, step, stock_of

BUYERS, PIECES, CANCELLED = 200, 100, 40
STEPS = 150


async def test_forty_buyers_buy_exactly_twenty_pieces(orders: httpx.AsyncClient, database_url: str) -> None:
    product = await add_product(orders, pieces=12)
    await move(orders, product["id"], "receive", 8, "annex")
    placed = await asyncio.gather(*[buy(orders, bearer(token()), (product, 1)) for _ in range(40)])

    assert sorted(one.status_code for one in placed) == [201] * 20 + [409] * 20
    assert await stock_of(orders, product["id"]) == (20, 20)
    assert ledger_faults(database_url) == []


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # writers of SQLite do not overlap
async def test_order_that_waited_for_a_release_gets_the_pieces(
    orders: httpx.AsyncClient, database_url: str
) -> None:
    first, second = [await add_product(orders, pieces=5) for _ in range(2)]
    assert (await buy(orders, ADMIN, (first, 5))).status_code == 201
    waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    connect = psycopg.AsyncConnection.connect
    async with (
        await connect(database_url) as other,
        await connect(database_url, autocommit=True) as watching,
        asyncio.timeout(30),
    ):
        for table in ("stock_levels", "stock"):
            await other.execute(
                f"UPDATE {table} SET reserved = 0 WHERE product_id = %s",
                [first["id"]],
            )
        buying = asyncio.create_task(buy(orders, ADMIN, (first, 1), (second, 1)))
        while await (await watching.execute(waiting)).fetchone() is None:  # noqa: ASYNC110 - the server waits
            await asyncio.sleep(0.01)
        await other.commit()

    assert (await buying).status_code == 201


async def test_moves_sum_to_the_stock_after_any_sequence_of_moves_and_orders(
    orders: httpx.AsyncClient, database_url: str
) -> None:
    chance = random.Random(7)
    products = [await add_product(orders, pieces=20, backorder=number == 0) for number in range(3)]
    placed: list[str] = []
    statuses = set[int]()
    for _ in range(STEPS):
        action = chance.choice(["move", "move", "buy", "buy", "step", "step", "step", "delete"])
        if action == "move":
            quantity, location = chance.randint(-8, 8) or 1, chance.choice(["main", "annex"])
            response = await move(orders, chance.choice(products)["id"], "adjust", quantity, location)
        elif action == "buy" or not placed:
            wanted = [(one, chance.randint(1, 9)) for one in chance.sample(products, chance.randint(1, 3))]
            response = await buy(orders, ADMIN, *wanted)
            placed += [response.json()["id"]] if response.status_code == 201 else []
        elif action == "step":
            status = chance.choice(["confirmed", "shipped", "cancelled", "delivered", "returned"])
            response = await step(orders, chance.choice(placed), status)
        else:
            response = await orders.delete(f"/orders/{chance.choice(placed)}", headers=ADMIN)
        statuses.add(response.status_code)

    assert statuses == {200, 201, 204, 404, 409}  # 404: of deleted orders
    assert ledger_faults(database_url) == []


@pytest.mark.prove
async def test_two_hundred_buyers_buy_exactly_a_hundred_pieces_while_replicas_are_killed(
    shop: Shop, database_url: str
) -> None:
    steady, mortal = shop.replicas
    steady.start()
    async with httpx.AsyncClient(base_url=steady.url, timeout=30) as client:
        rare, common = await add_product(client, PIECES), await add_product(client, 10 * PIECES)
    lines = [{"product_id": one["id"], "quantity": 1} for one in (rare, common)]
    placed: list[httpx.Response] = []
    for dies_at in ("emit: before", "emit: after"):
        # It dies within the first order it receives, when the pieces are reserved and nothing is committed.
        await asyncio.to_thread(mortal.start, dies_at)
        placed += await shop.all_of(buyers(lines, BUYERS // 5))
        await asyncio.to_thread(mortal.wait_until_killed)
    assert shop.repeated >= 2
    await asyncio.to_thread(mortal.start)
    kill = asyncio.to_thread(shop.kill_when_more_are_placed, steady, shop.number_placed())
    answers, _ = await asyncio.gather(shop.all_of(buyers(lines, BUYERS - len(placed))), kill)
    placed += answers
    sold = [one.json()["id"] for one in placed if one.status_code == 201]

    assert sorted(one.status_code for one in placed) == [201] * PIECES + [409] * (BUYERS - PIECES)
    assert len(set(sold)) == shop.number_placed() == PIECES
    assert ledger_faults(database_url) == []

    # Some cancel, and others try to buy at the same moment; in the end all released pieces are sold again.
    cancelling: list[Request] = [
        ("PUT", f"/orders/{one}", {"status": "cancelled"}, ADMIN) for one in sold[:CANCELLED]
    ]
    await asyncio.gather(shop.all_of([*cancelling, *buyers(lines, BUYERS)]), asyncio.to_thread(mortal.kill))
    await shop.all_of(buyers(lines, CANCELLED))

    async with httpx.AsyncClient(base_url=steady.url, timeout=30) as client:
        assert await stock_of(client, rare["id"]) == (PIECES, PIECES)
    assert shop.number_placed() == PIECES + CANCELLED
    assert ledger_faults(database_url) == []


def buyers(lines: list[dict[str, Any]], number: int) -> list[Request]:
    """Return orders of different buyers, half of them with the lines in the opposite order.

    A repeated request of a buyer is recognised by its key.
    """
    return [
        (
            "POST",
            "/orders",
            {"lines": lines[:: 1 if one % 2 else -1]},
            bearer(token()) | {"Idempotency-Key": new_id()},
        )
        for one in range(number)
    ]
