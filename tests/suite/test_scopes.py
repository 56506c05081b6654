"""Tokens that are limited to some scopes, from auth through the gateway to the services."""

from typing import Any

import httpx
import pytest

from shared.testing import bearer
from tests.auth.oauth.support import ask_token, create_client
from tests.suite.accounts import LAPTOP, Person, register, sign_in_admin
from tests.suite.conftest import Suite

CHALLENGE = 'Bearer error="insufficient_scope", scope="{}"'


async def personal_token(client: httpx.AsyncClient, person: Person, *scopes: str) -> dict[str, str]:
    body = {"name": "report", "scopes": scopes}
    response = await client.post("/auth/me/tokens", json=body, headers=person.headers)
    assert response.status_code == 201, response.text
    return bearer(response.json()["token"])


async def client_token(client: httpx.AsyncClient, *scopes: str) -> dict[str, str]:
    machine = {"grant_types": ["client_credentials"], "redirect_uris": [], "scopes": scopes}
    tokens = await ask_token(client, await create_client(client, **machine), grant_type="client_credentials")
    return bearer(tokens.json()["access_token"])


async def is_refused_for(client: httpx.AsyncClient, call: str, scope: str, **options: Any) -> bool:
    response = await client.request(*call.split(), **options)
    shown = response.status_code, response.json().get("code"), response.headers.get("www-authenticate")
    assert shown == (403, "insufficient_scope", CHALLENGE.format(scope)), response.text
    return bool(response.json()["scope"] == scope)


@pytest.mark.parametrize("kind", ["personal", "client"])
async def test_token_to_read_orders_lists_them_and_does_nothing_else(suite: Suite, kind: str) -> None:
    async with suite.client() as client:
        person = await register(client)
        own = await client.post("/orders", json=LAPTOP, headers=person.headers)
        if kind == "personal":
            headers = await personal_token(client, person, "orders:read")
        else:
            headers = await client_token(client, "orders:read")
        listed = await client.get("/orders", headers=headers)
        shown = await client.get(f"/orders/{own.json()['id']}", headers=headers)

        assert listed.status_code == 200
        assert [order["id"] for order in listed.json()] == ([own.json()["id"]] if kind == "personal" else [])
        assert shown.status_code == (200 if kind == "personal" else 404)
        assert await is_refused_for(client, "POST /orders", "orders:write", json=LAPTOP, headers=headers)
        assert await is_refused_for(
            client, f"DELETE /orders/{own.json()['id']}", "orders:write", headers=headers
        )
        for call, scope in (
            ("GET /users/me", "users:read"),
            ("GET /files", "files:read"),
            ("GET /audit/logs", "audit:read"),
            ("GET /workspaces", "inventory:read"),
            ("GET /terminal", "terminal:read"),
            ("GET /auth/me", "account:read"),
        ):
            assert await is_refused_for(client, call, scope, headers=headers)
        assert (await client.get("/orders", headers=person.headers)).status_code == 200
        assert (await client.post("/orders", json=LAPTOP, headers=person.headers)).status_code == 201


async def test_token_with_the_scope_to_write_orders_places_them(suite: Suite) -> None:
    async with suite.client() as client:
        headers = await personal_token(client, await register(client), "orders:write")
        placed = await client.post("/orders", json=LAPTOP, headers=headers)

        assert placed.status_code == 201
        assert await is_refused_for(client, "GET /orders", "orders:read", headers=headers)


async def test_token_of_an_admin_reads_the_orders_of_others_only_with_the_admin_scope(
    suite: Suite,
) -> None:
    async with suite.client() as client:
        admin, other = await sign_in_admin(client), await register(client)
        order = (await client.post("/orders", json=LAPTOP, headers=other.headers)).json()
        path = f"/orders/{order['id']}"
        narrow = await personal_token(client, admin, "orders:read")
        wide = await personal_token(client, admin, "orders:read", "admin:orders")
        whole = await personal_token(client, admin, "full_access")
        boast = await personal_token(client, await register(client), "orders:read", "admin:orders")

        assert (await client.get(path, headers=admin.headers)).status_code == 200
        statuses = [
            (await client.get(path, headers=each)).status_code for each in (narrow, wide, whole, boast)
        ]
        assert statuses == [404, 200, 200, 404]
        assert await is_refused_for(client, "GET /users", "admin:users", headers=wide)


async def test_document_names_the_scope_of_every_operation_that_requires_one(suite: Suite) -> None:
    async with suite.client() as client:
        paths = (await client.get("/openapi.json")).json()["paths"]

    scopes = {
        f"{method.upper()} {path}": operation["security"][0]
        for path, item in paths.items()
        for method, operation in item.items()
        if isinstance(operation, dict) and operation.get("security")
    }
    [orders] = scopes["POST /orders"].values()
    assert orders == ["orders:write"]
    assert all("403" in paths[call.split()[1]][call.split()[0].lower()]["responses"] for call in scopes)
