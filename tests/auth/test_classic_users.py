"""Accounts in the form of the first web interface of the inventory."""

from typing import Any

import httpx
import pyotp
import pytest

from services.auth.models import EVENTS
from shared.ids import new_id
from shared.testing import bearer
from tests.auth.mailbox import Mailbox
from tests.auth.oauth.support import admin_token
from tests.auth.support import PASSWORD, login, register, set_account
from tests.told import records

PATH = "/classic/admin/users"
NEW = {"username": "helper", "email": "helper@example.com", "password": "correct horse", "role": "ADMIN"}


@pytest.fixture
async def admin(auth: httpx.AsyncClient) -> dict[str, str]:
    return bearer(await admin_token(auth))


async def listed(auth: httpx.AsyncClient, admin: dict[str, str]) -> dict[str, dict[str, Any]]:
    response = await auth.get(PATH, headers=admin)
    assert response.status_code == 200, response.text
    return {one["username"]: one for one in response.json()["users"]}


async def test_user_is_added_changed_and_deleted_with_roles_in_capitals(
    auth: httpx.AsyncClient, admin: dict[str, str], mailbox: Mailbox, database_url: str
) -> None:
    added = await auth.post(PATH, json=NEW, headers=admin)
    assert added.status_code == 201, added.text
    one = f"{PATH}/{added.json()['user_id']}"
    shown = (await listed(auth, admin))["helper"]
    assert shown == {
        "id": added.json()["user_id"],
        "username": "helper",
        "email": "helper@example.com",
        "role": "ADMIN",
        "duo_verified": False,
        "last_login": None,
        "created_at": shown["created_at"],
        "updated_at": shown["updated_at"],
    }
    assert (await login(auth, "helper", NEW["password"])).json()["code"] == "password_change_required"
    changes = {"email": "", "role": "user", "password": "another horse"}
    assert (await auth.put(one, json=changes, headers=admin)).status_code == 200
    assert (await login(auth, "helper", NEW["password"])).status_code == 401
    body = {"username": "helper", "password": "another horse"}
    assert (await auth.post("/auth/login", json=body)).json()["code"] == "password_change_required"
    signed_in = await auth.post("/auth/login", json={**body, "new_password": "a horse of one's own"})
    assert signed_in.status_code == 200, signed_in.text
    users = await listed(auth, admin)
    assert (users["helper"]["role"], users["helper"]["last_login"] is not None) == ("USER", True)
    assert [*users] == ["helper", "admin"], "the newest comes first"
    # One for the admin's change, and one for the owner's at the sign-in.
    assert len(await mailbox.after_requests("helper@example.com", "password_changed")) == 2

    assert (await auth.delete(one, headers=admin)).status_code == 200
    assert [*await listed(auth, admin)] == ["admin"]
    kept = [record for record in records(database_url, EVENTS) if "CLASSIC" in record["action"]]
    assert "horse" not in str(kept)
    (changed,) = [record for record in kept if record["action"] == "CLASSIC_CHANGE_USER"]
    assert changed["metadata"]["role"] == {"before": "admin", "after": "user"}
    assert changed["metadata"]["password"] == "changed"


async def test_refusals_are_those_of_other_accounts(auth: httpx.AsyncClient, admin: dict[str, str]) -> None:
    user = await register(auth, username="ann")
    one = f"{PATH}/{user['user']['id']}"
    for method, path in (("GET", PATH), ("POST", PATH), ("PUT", one), ("DELETE", one)):
        assert (await auth.request(method, path)).status_code == 401
        assert (await auth.request(method, path, headers=bearer(user["token"]))).status_code == 403
    for wrong in ({"role": "owner"}, {"username": ""}, {"password": "short"}, {"email": "x"}, {"x": 1}):
        response = await auth.post(PATH, json={**NEW, **wrong}, headers=admin)
        assert [error["field"] for error in response.json()["errors"]] == [*wrong]
    for empty in ({}, {"role": "", "password": ""}, {"password": "short"}):
        assert (await auth.put(one, json=empty, headers=admin)).status_code == 422
    taken = await auth.post(PATH, json={**NEW, "username": "ANN"}, headers=admin)
    assert (taken.status_code, taken.json()["code"]) == (409, "username_taken")
    unknown = f"{PATH}/{new_id()}"
    for body in ({"role": "ADMIN"}, {"password": PASSWORD + "4"}):
        assert (await auth.put(unknown, json=body, headers=admin)).status_code == 404
    assert (await auth.delete(unknown, headers=admin)).status_code == 404
    own = (await listed(auth, admin))["admin"]["id"]
    refused = await auth.delete(f"{PATH}/{own}", headers=admin)
    assert (refused.status_code, refused.json()["error"]) == (400, "You cannot delete your own account.")
    last = await auth.put(f"{PATH}/{own}", json={"role": "USER"}, headers=admin)
    assert (last.status_code, last.json()["code"]) == (409, "last_admin")


async def test_role_is_in_capitals_for_those_who_sign_in_with_a_username(
    auth: httpx.AsyncClient, database_url: str
) -> None:
    email = (await register(auth, username="ann"))["user"]["email"]
    set_account(database_url, "ann", role="admin")
    by_name, by_email = {"username": "ann", "password": PASSWORD}, {"email": email, "password": PASSWORD}
    signed_in = await auth.post("/auth/login", json=by_name)
    other = (await auth.post("/auth/login", json=by_email)).json()
    refused = await auth.post("/auth/login", json={"username": "ann", "password": "wrong"})
    body = signed_in.json()

    assert (body["user"]["role"], body["requires_mfa"]) == ("ADMIN", False)
    assert {**body["user"], "role": "admin"} == other["user"]
    assert {*body} - {*other} == {"requires_mfa"}
    assert "device=" in signed_in.headers["set-cookie"]
    assert (await auth.get("/auth/me", headers=bearer(body["token"]))).json()["role"] == "admin"
    assert (refused.status_code, isinstance(refused.json()["error"], str)) == (401, True)
    assert [one["action"] for one in records(database_url, EVENTS)].count("LOGIN") == 3


async def test_role_is_in_capitals_after_the_passcode_too(auth: httpx.AsyncClient) -> None:
    registered = await register(auth, username="ann")
    headers = bearer(registered["token"])
    secret = (await auth.post("/auth/me/totp", json={"current_password": PASSWORD}, headers=headers)).json()
    code = pyotp.TOTP(secret["secret"]).now()
    confirmed = await auth.post("/auth/me/totp/confirm", json={"code": code}, headers=headers)
    name = {"username": "ann", "password": PASSWORD}
    needed = (await auth.post("/auth/login", json=name)).json()
    passcode, second = confirmed.json()["recovery_codes"][:2]
    path = "/auth/mfa/verify"
    done = await auth.post(path, json={"username": "ann", "passcode": passcode})
    token = (await login(auth, "ann")).json()["mfa_token"]
    native = await auth.post(path, json={"mfa_token": token, "code": second})

    assert needed["requires_mfa"] is True
    assert (done.json()["user"]["role"], native.json()["user"]["role"]) == ("USER", "user"), done.text
