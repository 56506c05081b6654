"""Impersonation by admins: only if allowed, for a limited time, with a reason, and visibly."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import jwt
import pytest

from services.auth.app import create_app
from services.auth.models import EVENTS
from services.auth.settings import Settings
from shared.testing import bearer, internal_token, running
from tests.auth.mailbox import Mailbox
from tests.auth.oauth.support import admin_token
from tests.auth.support import PASSWORD, login, refresh, register, set_account
from tests.told import records

WHY = {"reason": "support", "note": "ticket 4711"}
SERVICE = bearer(internal_token("auth", issuer="users"))


@pytest.fixture
async def auth(make_auth_settings: Callable[..., Settings]) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app, make_auth_settings(impersonation_seconds=600)) as client:
        yield client


@pytest.fixture
async def admin(auth: httpx.AsyncClient) -> dict[str, str]:
    return bearer(await admin_token(auth))


def path(account: dict[str, Any]) -> str:
    return f"/auth/accounts/{account['user']['id']}/impersonation"


async def impersonate(
    auth: httpx.AsyncClient, admin: dict[str, str], account: dict[str, Any]
) -> dict[str, str]:
    response = await auth.post(path(account), json=WHY, headers=admin)
    assert response.status_code == 201, response.text
    return bearer(response.json()["token"])


async def me(auth: httpx.AsyncClient, headers: dict[str, str]) -> httpx.Response:
    return await auth.get("/auth/me", headers=headers)


async def test_it_is_off_unless_a_setting_turns_it_on(make_auth_settings: Callable[..., Settings]) -> None:
    async with running(create_app, make_auth_settings()) as auth:
        ann, admin = await register(auth), bearer(await admin_token(auth))
        refused = await auth.post(path(ann), json=WHY, headers=admin)

    assert (refused.status_code, refused.json()["code"]) == (403, "impersonation_off")


async def test_the_token_says_who_acts_and_lasts_for_a_while(
    auth: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    ann = await register(auth)
    response = await auth.post(path(ann), json=WHY, headers=admin)
    claims = jwt.decode(response.json()["token"], options={"verify_signature": False})
    acting = await me(auth, bearer(response.json()["token"]))

    assert claims["sub"] == ann["user"]["id"]
    assert claims["act"] == {"sub": (await me(auth, admin)).json()["id"]}
    assert claims["exp"] - claims["iat"] == response.json()["expires_in"] == 600
    assert {"auth_time", "acr", "amr"}.isdisjoint(claims)
    assert acting.json()["id"] == ann["user"]["id"]
    assert acting.json()["impersonated_by"] == {"id": claims["act"]["sub"], "username": "admin"}
    assert (await me(auth, bearer(ann["token"]))).json()["impersonated_by"] is None


async def test_what_needs_the_person_is_refused(auth: httpx.AsyncClient, admin: dict[str, str]) -> None:
    acting = await impersonate(auth, admin, await register(auth))
    requests: list[tuple[str, str, dict[str, Any] | None]] = [
        ("PUT", "/auth/me/password", {"current_password": PASSWORD, "new_password": "another password"}),
        ("POST", "/auth/me/step-up", {"current_password": PASSWORD}),
        ("PUT", "/auth/me/email", {"email": "mine@example.com", "current_password": PASSWORD}),
        ("POST", "/auth/me/tokens", {"name": "mine", "scopes": ["full_access"]}),
        ("POST", "/auth/me/totp", {"current_password": PASSWORD}),
        ("GET", "/auth/me/sessions", None),
        ("POST", "/auth/me/passkeys/options", None),
    ]
    for method, address, body in requests:
        response = await auth.request(method, address, json=body, headers=acting)
        assert (response.status_code, response.json()["code"]) == (403, "impersonated"), address
    assert (await auth.get("/auth/accounts", headers=acting)).status_code == 403


async def test_only_active_accounts_without_the_role_admin_can_be_impersonated(
    auth: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    ann, bob, eve, gone = [await register(auth) for _ in range(4)]
    own = {"user": (await me(auth, admin)).json()}
    for account, change in ((bob, {"role": "admin"}), (eve, {"status": "suspended"})):
        await auth.patch(f"/internal/accounts/{account['user']['id']}", json=change, headers=SERVICE)
    await auth.delete(f"/internal/accounts/{gone['user']['id']}", headers=SERVICE)

    for account in (own, bob, eve):
        response = await auth.post(path(account), json=WHY, headers=admin)
        assert (response.status_code, response.json()["code"]) == (409, "cannot_impersonate")
    assert (await auth.post(path(gone), json=WHY, headers=admin)).status_code == 404
    assert (await auth.post(path(ann), json={}, headers=admin)).status_code == 422
    assert (await auth.post(path(ann), json=WHY)).status_code == 401
    assert (await auth.post(path(ann), json=WHY, headers=bearer(ann["token"]))).status_code == 403
    acting = await impersonate(auth, admin, ann)
    assert (await auth.post(path(ann), json=WHY, headers=acting)).status_code == 403


async def test_programs_of_an_admin_cannot_impersonate(
    auth: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    ann = await register(auth)
    body = {"name": "all", "scopes": ["full_access"]}
    key = (await auth.post("/auth/me/tokens", json=body, headers=admin)).json()["token"]
    exchanged = await auth.post("/internal/exchange", json={"credential": key}, headers=SERVICE)
    response = await auth.post(path(ann), json=WHY, headers=bearer(exchanged.json()["token"]))

    assert response.status_code == 401
    assert response.json()["code"] == "insufficient_user_authentication"


async def test_each_side_can_end_it(auth: httpx.AsyncClient, admin: dict[str, str]) -> None:
    ann = await register(auth)
    own = bearer(ann["token"])
    acting = await impersonate(auth, admin, ann)
    listed = (await auth.get("/auth/me/sessions", headers=own)).json()
    (foreign,) = [one for one in listed if one["impersonated_by"]]
    assert foreign["impersonated_by"] == (await me(auth, admin)).json()["id"]
    assert (await auth.delete(f"/auth/me/sessions/{foreign['id']}", headers=own)).status_code == 204
    assert (await me(auth, acting)).status_code == 401

    acting = await impersonate(auth, admin, ann)
    assert (await auth.post("/auth/logout", headers=acting)).status_code == 204
    assert (await me(auth, acting)).status_code == 401

    acting = await impersonate(auth, admin, ann)
    assert (await auth.delete(path(ann), headers=admin)).status_code == 204
    assert (await me(auth, acting)).status_code == 401
    assert (await me(auth, own)).status_code == 200


@pytest.mark.parametrize("how", ["signs out", "is demoted", "changes the password elsewhere"])
async def test_impersonation_ends_with_the_session_or_role_of_the_admin(
    auth: httpx.AsyncClient, admin: dict[str, str], how: str
) -> None:
    ann = await register(auth)
    bob = await register(auth)
    await auth.patch(f"/internal/accounts/{bob['user']['id']}", json={"role": "admin"}, headers=SERVICE)
    tokens = [(await login(auth, bob["user"]["email"])).json()["token"] for _ in range(2)]
    acting = await impersonate(auth, bearer(tokens[0]), ann)
    if how == "signs out":
        await auth.post("/auth/logout", headers=bearer(tokens[0]))
    elif how == "is demoted":
        await auth.patch(f"/internal/accounts/{bob['user']['id']}", json={"role": "user"}, headers=SERVICE)
    else:
        body = {"current_password": PASSWORD, "new_password": "another password"}
        await auth.put("/auth/me/password", json=body, headers=bearer(tokens[1]))

    assert (await me(auth, acting)).status_code == 401
    assert (await me(auth, bearer(ann["token"]))).status_code == 200


async def test_impersonation_ends_when_the_person_becomes_an_admin(
    auth: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    ann = await register(auth)
    acting = await impersonate(auth, admin, ann)
    await auth.patch(f"/internal/accounts/{ann['user']['id']}", json={"role": "admin"}, headers=SERVICE)

    assert (await me(auth, acting)).status_code == 401


async def test_it_is_recorded_with_reason_and_with_what_was_read(
    auth: httpx.AsyncClient, admin: dict[str, str], database_url: str
) -> None:
    ann = await register(auth)
    acting = await impersonate(auth, admin, ann)
    await me(auth, acting)
    await auth.post("/auth/logout", headers=acting)
    begun, read, ended = records(database_url, EVENTS)[-3:]
    admin_id = begun["user_id"]

    assert (begun["action"], begun["resource"]) == ("IMPERSONATE", ann["user"]["id"])
    assert begun["metadata"].items() >= WHY.items()
    assert (read["action"], read["user_id"]) == ("SHOW_ME", ann["user"]["id"])
    assert read["metadata"]["impersonated_by"] == admin_id
    assert ended["action"] == "LOGOUT"
    assert ended["metadata"]["impersonated_by"] == admin_id


@pytest.mark.parametrize("mails", [True, False])
async def test_owner_is_notified_by_mail_unless_that_is_turned_off(
    make_auth_settings: Callable[..., Settings], mailbox: Mailbox, mails: bool
) -> None:
    settings = make_auth_settings(impersonation_seconds=600, impersonation_mails=mails)
    async with running(create_app, settings) as auth:
        ann = await register(auth)
        await impersonate(auth, bearer(await admin_token(auth)), ann)

    sent = mailbox.mails(ann["user"]["email"], "impersonated")
    assert len(sent) == int(mails)
    assert not sent or (sent[0].values["admin"], sent[0].values["minutes"]) == ("admin", "10")


async def test_there_is_nothing_to_refresh(auth: httpx.AsyncClient, admin: dict[str, str]) -> None:
    ann = await register(auth)
    response = await auth.post(path(ann), json=WHY, headers=admin)

    assert "refresh_token" not in response.json()
    assert (await refresh(auth, response.json()["session_id"])).status_code == 401


async def test_admin_who_was_demoted_meanwhile_cannot_impersonate(
    auth: httpx.AsyncClient, admin: dict[str, str], database_url: str
) -> None:
    """The token still says admin until its revocation arrives."""
    ann = await register(auth)
    set_account(database_url, "admin", role="user")
    refused = await auth.post(path(ann), json=WHY, headers=admin)

    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
