"""Helpers for tests of the inventory service."""

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx
from sqlalchemy import Delete, Insert, Update

from shared.data.database import Database
from shared.ids import new_id
from shared.testing import bearer, token
from tests.inventory.aws import REGION, Double

ADMIN_ID = new_id()
ADMIN, USER = bearer(token(ADMIN_ID, role="admin")), bearer(token())
SECONDS = 180


async def add_account(inventory: httpx.AsyncClient, double: Double, **changes: Any) -> dict[str, Any]:
    body = {"name": "production", "regions": [REGION], "endpoint_url": double.url, **changes}
    response = await inventory.post("/admin/aws-accounts", json=body, headers=ADMIN)
    assert response.status_code == 201, response.text
    account: dict[str, Any] = response.json()
    return account


async def trigger(inventory: httpx.AsyncClient, **body: Any) -> str:
    response = await inventory.post("/sync/trigger", json=body, headers=ADMIN)
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


async def ended(inventory: httpx.AsyncClient, sync_id: str) -> dict[str, Any]:
    """Wait until a sync has ended, and return it."""
    path = f"/sync/{sync_id}"
    async with asyncio.timeout(SECONDS):
        await inventory.get(f"{path}/events", headers=ADMIN)  # its progress, until it has ended
    sync: dict[str, Any] = (await inventory.get(path, headers=ADMIN)).json()
    assert sync["state"] not in ("waiting", "running")
    return sync


async def sync(inventory: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    return await ended(inventory, await trigger(inventory, **body))


async def listed(inventory: httpx.AsyncClient, query: str = "") -> list[dict[str, Any]]:
    """Return the rows of all pages of the list."""
    rows: list[dict[str, Any]] = []
    path = f"/workspaces?limit=200{query and '&' + query}"
    while True:
        response = await inventory.get(path, headers=USER)
        assert response.status_code == 200, response.text
        rows += response.json()
        link = response.links.get("next")
        if link is None:
            return rows
        path = f"/workspaces{link['url']}"


def change(
    database_url: str, statement: Update | Insert | Delete, rows: Sequence[dict[str, Any]] = ()
) -> None:
    """Change, insert or delete rows directly in the service's database."""
    database = Database(database_url, pool_size=1)
    try:
        with database.transaction() as session:
            session.connection().execute(statement, [*rows] or None)
    finally:
        database.close()
