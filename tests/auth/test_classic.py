"""Registration, sign-in, OAuth and clients in the older form."""

from typing import Any

import httpx
import pytest

from shared.testing import bearer
from tests.auth.oauth.support import (
    REDIRECT,
    VERIFIER,
    admin_token,
    answer,
    ask_token,
    authorize,
    challenge_of,
    create_client,
    redeem,
    sign_in,
)
from tests.auth.support import PASSWORD, a_name, login, register
from tests.auth.test_factors import Clock, codes, enrolled
from tests.auth.test_step_up import later

__all__ = ["codes"]  # a fixture
AUTHORIZE, REVOKE, INTROSPECT = (f"/classic/oauth/{name}" for name in ("authorize", "revoke", "introspect"))


def asking(client: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "client_id": client["client_id"],
        "redirect_uri": REDIRECT,
        "response_type": "code",
        "scope": "openid email",
        "state": "some state",
        "code_challenge": challenge_of(),
        "code_challenge_method": "S256",
        **fields,
    }


async def send(
    auth: httpx.AsyncClient, method: str, path: str, token: str, body: Any = None, status: int = 200
) -> Any:
    response = await auth.request(method, path, json=body, headers=bearer(token))
    assert response.status_code == status, response.text
    return response.json()


async def test_code_needs_the_consent_of_the_person_on_the_page(auth: httpx.AsyncClient) -> None:
    app = await create_client(auth)
    person = await register(auth)
    refused = await send(auth, "POST", AUTHORIZE, person["token"], asking(app), 403)
    assert refused["code"] == "consent_required"
    await sign_in(auth, person["user"]["email"])
    await answer(auth, await authorize(auth, app, scope="openid email"))

    given = await send(auth, "POST", AUTHORIZE, person["token"], asking(app))
    assert given["state"] == "some state"
    tokens = (await redeem(auth, app, given["code"])).json()
    assert tokens["scope"] == "email openid"
    more = await send(auth, "POST", AUTHORIZE, person["token"], asking(app, scope="openid profile"), 403)
    assert more["code"] == "consent_required"
    # The grant ends with the session that it was made in.
    await send(auth, "POST", "/classic/users/logout", person["token"])
    ended = await ask_token(auth, app, grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    assert ended.json()["error"] == "invalid_grant"


async def test_code_is_given_by_the_rules_of_the_page(
    auth: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = await create_client(auth, is_first_party=True)
    person = await register(auth)
    for fields, status, where in (
        ({"redirect_uri": f"{REDIRECT}/more"}, 400, "invalid_request"),
        ({"client_id": "unknown"}, 400, "invalid_request"),
        ({"scope": "admin:users"}, 400, "invalid_scope"),
        ({"code_challenge_method": "plain"}, 422, "code_challenge_method"),
        ({"code_challenge": VERIFIER[:-1]}, 422, "code_challenge"),
        ({"response_type": "token"}, 422, "response_type"),
    ):
        refused = await send(auth, "POST", AUTHORIZE, person["token"], asking(app, **fields), status)
        named = refused["code"] if status == 400 else refused["errors"][0]["field"]
        assert named == where
    without = {name: value for name, value in asking(app).items() if name != "code_challenge"}
    await send(auth, "POST", AUTHORIZE, person["token"], without, 422)

    code = (await send(auth, "POST", AUTHORIZE, person["token"], asking(app)))["code"]
    app_token = (await redeem(auth, app, code)).json()["access_token"]
    assert (await auth.post(AUTHORIZE, json=asking(app), headers=bearer(app_token))).status_code in (401, 403)
    later(monkeypatch, 3600)  # a stolen access token must not become a refresh token
    old = await auth.post(AUTHORIZE, json=asking(app), headers=bearer(person["token"]))
    assert old.json()["code"] == "insufficient_user_authentication"


async def test_people_see_and_revoke_only_their_own_tokens(auth: httpx.AsyncClient) -> None:
    app = await create_client(auth, is_first_party=True)
    person, stranger = await register(auth), await register(auth)
    code = (await send(auth, "POST", AUTHORIZE, person["token"], asking(app)))["code"]
    tokens = (await redeem(auth, app, code)).json()
    inactive = dict.fromkeys(("scope", "client_id", "user_id", "token_type", "exp", "iat")) | {
        "active": False
    }
    for token in (tokens["access_token"], tokens["refresh_token"], person["refresh_token"], person["token"]):
        assert await send(auth, "POST", INTROSPECT, stranger["token"], {"token": token}) == inactive
        refused = await send(auth, "POST", REVOKE, stranger["token"], {"token": token}, 400)
        assert refused["code"] == "unknown_token"
        shown = await send(auth, "POST", INTROSPECT, person["token"], {"token": token})
        assert (shown["active"], shown["user_id"]) == (True, person["user"]["id"])
    assert shown["client_id"] is None
    shown = await send(auth, "POST", INTROSPECT, person["token"], {"token": tokens["access_token"]})
    assert (shown["client_id"], shown["scope"]) == (app["client_id"], "email openid")

    assert await send(auth, "POST", REVOKE, person["token"], {"token": tokens["access_token"]}) == {}
    gone = await send(auth, "POST", INTROSPECT, person["token"], {"token": tokens["access_token"]})
    assert gone == inactive
    refreshed = await ask_token(auth, app, grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    newest = refreshed.json()
    old = await send(auth, "POST", INTROSPECT, person["token"], {"token": tokens["refresh_token"]})
    assert old == inactive
    await send(auth, "POST", REVOKE, person["token"], {"token": newest["refresh_token"]})
    for token in (newest["access_token"], newest["refresh_token"]):
        assert await send(auth, "POST", INTROSPECT, person["token"], {"token": token}) == inactive
    await send(auth, "POST", REVOKE, person["token"], {"token": person["refresh_token"]})
    await send(auth, "GET", "/auth/me", person["token"], status=401)


async def test_registration_signs_nobody_in_and_a_second_factor_is_still_needed(
    auth: httpx.AsyncClient, codes: Clock
) -> None:
    body = {"email": f"{a_name()}@example.com", "password": PASSWORD, "first_name": "Ada", "last_name": "L"}
    registered = await auth.post("/classic/users/register", json=body)
    assert (registered.status_code, registered.json().keys()) == (201, {"user"})
    again = await auth.post("/classic/users/register", json=body)
    assert (again.status_code, again.json()["code"]) == (409, "email_taken")
    sent = {"email": body["email"], "password": PASSWORD}
    signed_in = (await auth.post("/classic/users/login", json=sent)).json()
    sessions = (await auth.get("/auth/me/sessions", headers=bearer(signed_in["access_token"]))).json()
    assert [one["is_current"] for one in sessions] == [True]

    person = await enrolled(auth, codes)
    sent = {"email": person.email, "password": PASSWORD}
    halfway = await auth.post("/classic/users/login", json=sent)
    assert halfway.json()["requires_mfa"]
    assert "access_token" not in halfway.json()
    wrong = await auth.post("/classic/users/login", json={**sent, "password": "wrong"})
    assert (wrong.status_code, wrong.json()["code"]) == (401, "invalid_credentials")


async def test_password_is_changed_with_the_old_one(auth: httpx.AsyncClient) -> None:
    person = await register(auth)
    path, email = "/classic/users/me/password", person["user"]["email"]
    body = {"old_password": "wrong", "new_password": "another horse"}
    assert (await send(auth, "PUT", path, person["token"], body, 403))["code"] == "wrong_password"
    assert await send(auth, "PUT", path, person["token"], {**body, "old_password": PASSWORD}) == {}
    assert (await login(auth, email)).status_code == 401
    assert (await login(auth, email, "another horse")).status_code == 200


async def test_change_of_a_client_keeps_what_the_older_form_did_not_know(auth: httpx.AsyncClient) -> None:
    after = ["https://app.example/bye"]
    client = await create_client(auth, is_first_party=True, post_logout_redirect_uris=after)
    admin, path = await admin_token(auth), f"/classic/clients/{client['id']}"
    body = {name: client[name] for name in ("redirect_uris", "scopes", "grant_types")} | {"name": "Other"}
    changed = await send(auth, "PUT", path, admin, {**body, "description": ""})
    assert (changed["name"], changed["description"]) == ("Other", None)
    native = await send(auth, "GET", f"/clients/{client['id']}", admin)
    assert (native["is_first_party"], native["post_logout_redirect_uris"]) == (True, after)

    secret = (await send(auth, "POST", f"{path}/regenerate-secret", admin))["client_secret"]
    machine = {"grant_type": "authorization_code", "code": "x", "redirect_uri": REDIRECT}
    machine |= {"code_verifier": VERIFIER}
    old = await ask_token(auth, client, **machine)
    new = await ask_token(auth, {**client, "client_secret": secret}, **machine)
    assert (old.json()["error"], new.json()["error"]) == ("invalid_client", "invalid_grant")

    listed = await send(auth, "GET", "/classic/clients?page=1&limit=1", admin)
    assert [one["id"] for one in listed["clients"]] == [client["id"]]
    assert (listed["total"], listed["total_pages"]) == (1, 1)
    await send(auth, "GET", "/classic/clients", (await register(auth))["token"], status=403)
