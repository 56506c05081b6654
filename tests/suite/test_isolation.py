"""Access to other users' data is refused, through the gateway and on both databases."""

from typing import Any

import pytest

from tests.suite.accounts import LAPTOP, register, sign_in_admin
from tests.suite.conftest import Suite

FORGED = [
    {"X-User-Id": "{victim}", "X-Role": "admin", "X-Roles": "admin", "X-Email": "admin@example.com"},
    {"x_user_id": "{victim}", "X-Forwarded-User": "admin", "X-Internal-Caller": "auth"},
    {"Connection": "Authorization"},
]


@pytest.mark.parametrize("forged", FORGED, ids=["identity", "look-alikes", "connection-token"])
async def test_orders_and_profiles_of_other_users_cannot_be_read_or_changed(
    each_suite: Suite, forged: dict[str, str]
) -> None:
    async with each_suite.client() as client:
        victim, stranger = await register(client), await register(client)
        order = (await client.post("/orders", json=LAPTOP, headers=victim.headers)).json()
        before = (await client.get("/users/me", headers=victim.headers)).json()
        headers = stranger.headers | {key: value.format(victim=victim.id) for key, value in forged.items()}
        if "Connection" in forged:
            headers["Connection"] = "keep-alive, Authorization"
        attempts: list[tuple[str, str, dict[str, Any] | None]] = [
            ("GET", f"/orders/{order['id']}", None),
            ("PUT", f"/orders/{order['id']}", {"quantity": 7}),
            ("DELETE", f"/orders/{order['id']}", None),
            ("GET", f"/orders/{order['id']}/history", None),
            ("GET", f"/orders/user/{victim.id}", None),
            ("GET", f"/users/{victim.id}", None),
            ("PUT", f"/users/{victim.id}", {"first_name": "Mallory"}),
            ("DELETE", f"/users/{victim.id}", None),
        ]
        for method, path, body in attempts:
            for spelling in ("", "/api", "/api/v1"):
                response = await client.request(method, spelling + path, json=body, headers=headers)
                # That form is for admins only, whoever it is about.
                is_for_admins = spelling == "/api/v1" and path.startswith("/users/")
                refusals = (401, 403 if is_for_admins else 404)
                assert response.status_code in refusals, f"{method} {path}: {response.text}"

        assert (await client.get(f"/orders/{order['id']}", headers=victim.headers)).json() == order
        assert (await client.get("/users/me", headers=victim.headers)).json() == before


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        (
            "POST",
            "/auth/register",
            {"email": "m@example.com", "password": "password123", "role": "admin"},
            "role",
        ),
        ("PUT", "/users/me", {"role": "admin"}, "role"),
        ("PUT", "/users/me", {"status": "active"}, "status"),
        ("PUT", "/users/me", {"id": "1"}, "id"),
        ("POST", "/orders", LAPTOP | {"user_id": "1"}, "user_id"),
        ("POST", "/orders", LAPTOP | {"status": "delivered"}, "status"),
    ],
)
async def test_fields_that_clients_may_not_set_are_refused(
    each_suite: Suite, method: str, path: str, body: dict[str, Any], field: str
) -> None:
    async with each_suite.client() as client:
        person = await register(client)
        response = await client.request(method, path, json=body, headers=person.headers)

    assert response.status_code == 422
    assert field in [error["field"] for error in response.json()["errors"]]


async def test_forged_identity_headers_are_not_trusted(each_suite: Suite) -> None:
    async with each_suite.client() as client:
        admin = await sign_in_admin(client)
        forged = {"X-User-Id": admin.id, "X-Role": "admin"}
        for path in ("/users", "/users/me", "/orders", "/auth/me"):
            assert (await client.get(path, headers=forged)).status_code == 401


async def test_non_admin_account_cannot_use_admin_operations(each_suite: Suite) -> None:
    async with each_suite.client() as client:
        person = await register(client)
        headers = person.headers | {"X-Role": "admin"}
        account = {"email": "x@example.com", "password": "password123"}

        assert (await client.get("/users", headers=headers)).status_code == 403
        assert (await client.post("/users", json=account, headers=headers)).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/internal/accounts",
        "/INTERNAL/accounts",
        "//internal/accounts",
        "/%69nternal/accounts",
        "/auth/../internal/accounts",
        "/auth/%2e%2e/internal/accounts",
        "/api/internal/accounts",
        "/api/v1/internal/accounts",
    ],
)
async def test_internal_api_is_not_reachable(each_suite: Suite, path: str) -> None:
    async with each_suite.client() as client:
        admin = await sign_in_admin(client)
        response = await client.get(path, headers=admin.headers)

    assert response.status_code in (400, 404), response.text
