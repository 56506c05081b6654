"""What the console's tests store before a browser looks at it."""

import asyncio
from collections.abc import Mapping

import httpx

PLANTED = ("<script>window.pwned = 1</script>", '"><img src=x onerror="window.pwned = 1">', "{{7*7}}${7*7}")
PAUSE_SECONDS = 0.1


async def place_order(client: httpx.AsyncClient, headers: Mapping[str, str], product: str) -> str:
    body = {"product_name": product, "quantity": 1, "total_price": 10}
    placed = await client.post("/orders", json=body, headers=headers)
    assert placed.status_code == 201, placed.text
    return str(placed.json()["id"])


async def until_listed(client: httpx.AsyncClient, path: str, headers: Mapping[str, str]) -> None:
    """Wait until a list has a row: events arrive a moment after what caused them."""
    async with asyncio.timeout(60):
        while not (await client.get(path, headers=headers)).json():  # noqa: ASYNC110 - of another process
            await asyncio.sleep(PAUSE_SECONDS)
