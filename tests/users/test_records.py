"""Records of the actions on users: they contain the names of fields, never their values."""

from typing import Any

import httpx
import pytest

from services.users.models import EVENTS
from tests.told import records
from tests.users.support import PASSWORD, new_email, register, register_admin

DISABLED = {"status": {"before": "active", "after": "disabled"}}


@pytest.mark.parametrize(
    ("by_admin", "method", "path", "body", "action", "metadata"),
    [
        (False, "PUT", "/users/me", {"bio": "Countess"}, "CHANGE_USER", {"fields": ["bio"]}),
        (False, "PUT", "/users/me/preferences", {"theme": "dark"}, "CHANGE_PREFERENCES", {}),
        (False, "DELETE", "/users/me", None, "DELETE_USER", {}),
        (True, "PUT", "/users/{id}", {"bio": "x"}, "CHANGE_USER", {"fields": ["bio"]}),
        (
            True,
            "PUT",
            "/users/{id}",
            {"status": "disabled"},
            "CHANGE_USER",
            {"fields": ["status"], **DISABLED},
        ),
        (True, "DELETE", "/users/{id}", None, "DELETE_USER", {}),
        (True, "GET", "/users/{id}", None, "SHOW_USER", {}),
    ],
)
async def test_action_is_recorded_as_success(
    users: httpx.AsyncClient,
    auth: httpx.AsyncClient,
    database_url: str,
    by_admin: bool,
    method: str,
    path: str,
    body: dict[str, Any] | None,
    action: str,
    metadata: dict[str, Any],
) -> None:
    ada, admin = await register(auth), await register_admin(auth)
    actor = admin if by_admin else ada
    answer = await users.request(method, path.format(id=ada.id), json=body, headers=actor.headers)

    assert answer.is_success, answer.text
    (record,) = records(database_url, EVENTS)
    assert (record["action"], record["outcome"], record["status"]) == (action, "success", answer.status_code)
    assert (record["user_id"], record["resource"], record["metadata"]) == (actor.id, ada.id, metadata)
    assert "Countess" not in str(record)


async def test_account_created_by_an_admin_is_recorded(
    users: httpx.AsyncClient, auth: httpx.AsyncClient, database_url: str
) -> None:
    admin, email = await register_admin(auth), new_email()
    body = {"email": email, "password": PASSWORD, "role": "admin"}
    made = (await users.post("/users", json=body, headers=admin.headers)).json()

    (record,) = records(database_url, EVENTS)
    assert (record["action"], record["status"], record["user_id"]) == ("CREATE_USER", 201, admin.id)
    assert (record["resource"], record["metadata"]) == (made["id"], {"role": "admin"})
    assert email not in str(record)


@pytest.mark.parametrize(
    ("method", "path", "status", "action"),
    [
        ("GET", "/users", 403, "LIST_USERS"),
        ("POST", "/users", 403, "CREATE_USER"),
        ("GET", "/users/{id}", 404, "SHOW_USER"),
        ("PUT", "/users/{id}", 404, "CHANGE_USER"),
        ("DELETE", "/users/{id}", 404, "DELETE_USER"),
    ],
)
async def test_refusal_is_recorded_with_its_status(
    users: httpx.AsyncClient,
    auth: httpx.AsyncClient,
    database_url: str,
    method: str,
    path: str,
    status: int,
    action: str,
) -> None:
    ada, other = await register(auth), await register(auth)
    body = {"POST": {"email": new_email(), "password": PASSWORD}, "PUT": {"bio": "x"}}.get(method)
    answer = await users.request(method, path.format(id=ada.id), json=body, headers=other.headers)

    assert answer.status_code == status
    (record,) = records(database_url, EVENTS)
    assert (record["action"], record["outcome"], record["status"]) == (action, "refused", status)
    assert record["user_id"] == other.id
