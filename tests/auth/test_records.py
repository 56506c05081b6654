"""The audit records of auth: sign-ins, failed attempts, and actions of other services."""

from typing import Any

import httpx
import pytest

from services.auth.models import EVENTS
from shared.testing import bearer, internal_token
from tests.auth.support import PASSWORD, register
from tests.told import records

SERVICE = bearer(internal_token("auth", issuer="users"))


async def signed_in(auth: httpx.AsyncClient) -> dict[str, Any]:
    return await register(auth, username="ada")


@pytest.mark.parametrize(
    ("path", "body", "status", "action", "actor"),
    [
        ("/auth/login", {"username": "ada", "password": PASSWORD}, 200, "LOGIN", "user:{id}"),
        ("/auth/login", {"username": "ada", "password": "wrong"}, 401, "LOGIN", "anonymous"),
        ("/auth/refresh", {"refresh_token": "{refresh_token}"}, 200, "REFRESH", "user:{id}"),
        ("/auth/refresh", {"refresh_token": "x" * 43}, 401, "REFRESH", "anonymous"),
        ("/auth/logout", {"refresh_token": "{refresh_token}"}, 204, "LOGOUT", "user:{id}"),
    ],
)
async def test_sign_in_refresh_and_sign_out_are_recorded(
    auth: httpx.AsyncClient,
    database_url: str,
    path: str,
    body: dict[str, str],
    status: int,
    action: str,
    actor: str,
) -> None:
    ada = await signed_in(auth)
    known = {"id": ada["user"]["id"], "refresh_token": ada["refresh_token"]}
    sent = {name: value.format(**known) for name, value in body.items()}
    assert (await auth.post(path, json=sent)).status_code == status

    made, record = records(database_url, EVENTS)
    assert (made["action"], made["user_id"], made["resource"]) == ("REGISTER", known["id"], known["id"])
    assert (record["action"], record["status"]) == (action, status)
    assert record["outcome"] == ("success" if status < 400 else "refused")
    assert record["actor"] == actor.format(**known)
    for secret in (PASSWORD, "wrong", ada["refresh_token"], ada["token"], ada["user"]["email"]):
        assert secret not in f"{made} {record}"


async def test_password_change_is_recorded_without_the_password(
    auth: httpx.AsyncClient, database_url: str
) -> None:
    ada = await signed_in(auth)
    body = {"current_password": PASSWORD, "new_password": "another password"}
    await auth.put("/auth/me/password", json=body, headers=bearer(ada["token"]))

    _, record = records(database_url, EVENTS)
    assert (record["action"], record["user_id"]) == ("CHANGE_PASSWORD", ada["user"]["id"])
    assert "another password" not in str(record)


@pytest.mark.parametrize(
    ("method", "body", "action", "metadata"),
    [
        ("PATCH", {"email": "new@example.com"}, "CHANGE_ACCOUNT", {"fields": ["email"]}),
        (
            "PATCH",
            {"role": "admin"},
            "CHANGE_ACCOUNT",
            {"fields": ["role"], "role": {"before": "user", "after": "admin"}},
        ),
        ("DELETE", None, "DELETE_ACCOUNT", {}),
    ],
)
async def test_actions_of_another_service_are_recorded_with_the_name_of_that_service(
    auth: httpx.AsyncClient,
    database_url: str,
    method: str,
    body: dict[str, str] | None,
    action: str,
    metadata: dict[str, Any],
) -> None:
    account_id = (await signed_in(auth))["user"]["id"]
    await auth.request(method, f"/internal/accounts/{account_id}", json=body, headers=SERVICE)
    await auth.request(method, f"/internal/accounts/{account_id}", json=body)

    done, refused = records(database_url, EVENTS)[1:]
    assert (done["action"], done["actor"], done["resource"]) == (action, "service:users", account_id)
    assert done["metadata"] == metadata
    assert (refused["action"], refused["outcome"], refused["actor"]) == (action, "refused", "anonymous")


async def test_repeated_deletion_is_recorded_once(auth: httpx.AsyncClient, database_url: str) -> None:
    ada = await signed_in(auth)
    for _ in range(2):
        gone = await auth.delete(f"/internal/accounts/{ada['user']['id']}", headers=SERVICE)
        assert gone.status_code == 204

    actions = [record["action"] for record in records(database_url, EVENTS)]
    assert actions == ["REGISTER", "DELETE_ACCOUNT"]
