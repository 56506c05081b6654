"""Test users, registered through the gateway."""

from dataclasses import dataclass
from typing import Any

import httpx

from shared.ids import new_id
from shared.testing import bearer

PASSWORD = "correct horse battery"
LAPTOP = {"product_name": "Laptop", "quantity": 1, "total_price": 999.99}


@dataclass(frozen=True)
class Person:
    id: str
    email: str
    headers: dict[str, str]
    refresh_token: str


async def register(client: httpx.AsyncClient, name: str = "") -> Person:
    email = f"{name}{new_id()}@example.com"
    response = await client.post("/auth/register", json={"email": email, "password": PASSWORD})
    assert response.status_code == 201, response.text
    return _person(email, response.json())


async def sign_in_admin(client: httpx.AsyncClient) -> Person:
    response = await client.post("/auth/login", json={"username": "admin", "password": "admin123"})
    assert response.status_code == 200, response.text
    return _person(response.json()["user"]["email"], response.json())


async def register_admin(client: httpx.AsyncClient) -> Person:
    """Register an account that the first admin makes an admin, and sign it in."""
    return await promote(client, await register(client))


async def promote(client: httpx.AsyncClient, made: Person) -> Person:
    """Make an account an admin, and sign it in again."""
    first = await sign_in_admin(client)
    change = {"role": "admin", "reason": "role_changed"}
    changed = await client.patch(f"/auth/accounts/{made.id}", json=change, headers=first.headers)
    assert changed.status_code == 200, changed.text
    response = await client.post("/auth/login", json={"email": made.email, "password": PASSWORD})
    assert response.status_code == 200, response.text
    return _person(made.email, response.json())


def _person(email: str, answer: dict[str, Any]) -> Person:
    return Person(answer["user"]["id"], email, bearer(answer["token"]), answer["refresh_token"])
