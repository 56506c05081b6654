"""POST /auth/register."""

import asyncio
from typing import Any

import httpx
import pytest

from services.auth.models import Account
from shared.testing import bearer
from tests.auth.support import PASSWORD, login, register, rows

ANN = {"email": "ann@example.com", "password": PASSWORD, "username": "ann"}


class TestRegister:
    async def test_registration_creates_an_account_and_signs_in(self, auth: httpx.AsyncClient) -> None:
        names = {"first_name": " Ann ", "last_name": "Ødegård"}
        response = await auth.post("/auth/register", json=ANN | names)

        assert response.status_code == 201
        assert response.headers["cache-control"] == "no-store"
        answer = response.json()
        assert answer["token_type"] == "Bearer"
        assert answer["expires_in"] == 900
        user = answer["user"]
        assert (user["email"], user["username"], user["role"]) == ("ann@example.com", "ann", "user")
        assert (user["first_name"], user["last_name"], user["status"]) == ("Ann", "Ødegård", "active")
        assert user["created"].endswith("Z")
        me = await auth.get("/auth/me", headers=bearer(answer["token"]))
        assert me.json() == user | {"impersonated_by": None, "port_start": 3000, "port_end": 3009}

    @pytest.mark.parametrize(
        "body",
        [
            '{"email": "user@example.com", "password": "password123", "username": "testuser"}',
            '{"email": "user@example.com", "password": "securepassword123"}',
            '{"email": "user@example.com", "password": "Passw0rd!", "first_name": "A", "last_name": "B"}',
        ],
    )
    async def test_bodies_of_existing_clients_are_accepted(self, auth: httpx.AsyncClient, body: str) -> None:
        json = {"Content-Type": "application/json"}
        response = await auth.post("/auth/register", content=body, headers=json)

        assert response.status_code == 201
        assert response.json()["token"].count(".") == 2

    async def test_email_address_is_stored_in_lower_case(self, auth: httpx.AsyncClient) -> None:
        registered = await register(auth, email="  Ann@Example.COM ")

        assert registered["user"]["email"] == "ann@example.com"
        assert (await login(auth, "ANN@example.com")).status_code == 200

    async def test_registration_as_admin_is_refused_A11(self, auth: httpx.AsyncClient) -> None:
        response = await auth.post("/auth/register", json=ANN | {"role": "admin"})

        assert response.status_code == 422
        assert response.json()["errors"][0]["field"] == "role"

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"username": "other"}, "email_taken"),
            ({"email": "ANN@EXAMPLE.COM", "username": None}, "email_taken"),
            ({"email": "other@example.com"}, "username_taken"),
            ({"email": "username@example.com", "username": "aNN"}, "username_taken"),
        ],
    )
    async def test_taken_name_is_refused_with_409(
        self, auth: httpx.AsyncClient, changes: dict[str, Any], code: str
    ) -> None:
        await register(auth, **ANN)
        response = await auth.post("/auth/register", json=ANN | changes)

        assert response.status_code == 409
        assert response.json()["code"] == code

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"email": "ann"}, "email"),
            ({"email": "ann@localhost"}, "email"),
            ({"email": "a b@example.com"}, "email"),
            ({"email": "ann@example.com\nbcc: x@example.com"}, "email"),
            ({"email": f"ann@{'x' * 250}.com"}, "email"),
            ({"email": "änn@example.com"}, "email"),
            ({"email": None}, "email"),
            ({"email": 1}, "email"),
            ({"username": "an"}, "username"),
            ({"username": "a" * 33}, "username"),
            ({"username": "ann@example.com"}, "username"),
            ({"username": "ann smith"}, "username"),
            ({"username": "ann\n"}, None),
            ({"password": "1234567"}, "password"),
            ({"password": "x" * 1025}, "password"),
            ({"password": "Ann@example.com"}, "password"),
            ({"password": "ann-the-first", "username": "Ann-The-First"}, "password"),
            ({"password": 12345678}, "password"),
            ({"password": None}, "password"),
            ({"first_name": ""}, "first_name"),
            ({"first_name": "x" * 101}, "first_name"),
            ({"last_name": "a\x00b"}, "last_name"),
            ({"id": "7"}, "id"),
        ],
    )
    async def test_malformed_body_is_refused_with_422(
        self, auth: httpx.AsyncClient, changes: dict[str, Any], field: str | None
    ) -> None:
        response = await auth.post("/auth/register", json=ANN | changes)

        if field is None:  # whitespace around a name is stripped
            assert response.json()["user"]["username"] == "ann"
            return
        assert response.status_code == 422, response.text
        assert [error["field"] for error in response.json()["errors"]] == [field]
        assert str(changes.get("password")) not in response.text

    @pytest.mark.parametrize("body", ["", "{", "[]", '{"email": "\\ud800@example.com"}', "null"])
    async def test_body_that_is_not_a_json_object_is_refused_B3(
        self, auth: httpx.AsyncClient, body: str
    ) -> None:
        json = {"Content-Type": "application/json"}
        response = await auth.post("/auth/register", content=body, headers=json)

        assert response.status_code in (400, 422)

    async def test_one_of_fifty_concurrent_registrations_of_an_address_wins(
        self, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        bodies = [
            {"email": "ann@example.com", "password": PASSWORD, "username": f"ann{n}"} for n in range(50)
        ]
        responses = await asyncio.gather(*[auth.post("/auth/register", json=body) for body in bodies])

        assert sorted(response.status_code for response in responses) == [201] + [409] * 49
        assert {r.json()["code"] for r in responses if r.status_code == 409} == {"email_taken"}
        accounts = [row for row in rows(database_url, Account) if row["email"] == "ann@example.com"]
        assert len(accounts) == 1
