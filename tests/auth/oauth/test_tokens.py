"""Issuing, refreshing, introspecting and revoking tokens."""

import asyncio
import base64
import time
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import httpx
import jwt
import pytest

from services.auth.models import AuthorizationCode, Client, LoginSession
from shared.testing import bearer, internal_token
from tests.auth.oauth.support import (
    ISSUER,
    REDIRECT,
    admin_token,
    ask_token,
    authorize,
    basic,
    code_for,
    create_client,
    is_active,
    is_refused,
    redeem,
    refresh,
    sign_in,
    signed_in_browser,
    tokens_for,
)
from tests.auth.support import PASSWORD, let_time_pass, login, rows

MACHINE = {"grant_types": ["client_credentials"], "redirect_uris": [], "scopes": ["full_access"]}


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


class TestCode:
    @pytest.mark.conforms("RFC 7636 4.6")
    async def test_wrong_verifier_is_refused_and_consumes_the_code_O3(self, auth: httpx.AsyncClient) -> None:
        client = await create_client(auth)
        await signed_in_browser(auth)
        for wrong in ("w" * 43, "short", "v" * 129, "v" * 42 + "!", "é" * 43):
            code = await code_for(auth, client)
            assert is_refused(await redeem(auth, client, code, code_verifier=wrong), "invalid_grant")
            assert is_refused(await redeem(auth, client, code), "invalid_grant")
        code = await code_for(auth, client)
        assert is_refused(await redeem(auth, client, code, code_verifier=""), "invalid_request")
        assert (await redeem(auth, client, code)).status_code == 200

    @pytest.mark.conforms("RFC 6749 4.1.2", "oidcc-codereuse")
    @pytest.mark.conforms("RFC 6749 4.1.2", "oidcc-codereuse-30seconds")
    async def test_second_use_is_refused_and_revokes_the_tokens_of_the_first_O4(
        self, auth: httpx.AsyncClient
    ) -> None:
        client = await create_client(auth)
        await signed_in_browser(auth)
        code = await code_for(auth, client, scope="openid offline_access")
        tokens = (await redeem(auth, client, code)).json()
        assert await is_active(auth, client, tokens["access_token"])

        assert is_refused(await redeem(auth, client, code), "invalid_grant")
        assert not await is_active(auth, client, tokens["access_token"])
        assert not await is_active(auth, client, tokens["refresh_token"])
        assert is_refused(await refresh(auth, client, tokens["refresh_token"]), "invalid_grant")

    @pytest.mark.conforms("RFC 6749 4.1.3")
    async def test_another_client_is_refused_and_does_not_consume_the_code_O4(
        self, auth: httpx.AsyncClient
    ) -> None:
        client, other = await create_client(auth), await create_client(auth)
        await signed_in_browser(auth)
        code = await code_for(auth, client)

        assert is_refused(await redeem(auth, other, code), "invalid_grant")
        assert (await redeem(auth, client, code)).status_code == 200

    @pytest.mark.conforms("RFC 6749 4.1.3")
    async def test_code_is_bound_to_its_redirect_uri_and_expires_O4(
        self, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        client = await create_client(auth, redirect_uris=[REDIRECT, "https://app.example/other"])
        await signed_in_browser(auth)
        code = await code_for(auth, client)
        elsewhere = await redeem(auth, client, code, redirect_uri="https://app.example/other")
        late = await code_for(auth, client)
        let_time_pass(database_url, AuthorizationCode, "expires", timedelta(seconds=61))

        assert is_refused(elsewhere, "invalid_grant")
        assert is_refused(await redeem(auth, client, late), "invalid_grant")

    async def test_code_and_client_secret_are_stored_as_hashes_O4_O6(
        self, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        client = await create_client(auth)
        await signed_in_browser(auth)
        code = await code_for(auth, client)

        assert code not in str(rows(database_url, AuthorizationCode))
        assert client["client_secret"] not in str(rows(database_url, Client))

    async def test_code_is_refused_after_the_session_ended_or_the_account_was_disabled(
        self, auth: httpx.AsyncClient
    ) -> None:
        client = await create_client(auth)
        user = await signed_in_browser(auth)
        code = await code_for(auth, client)
        await sign_in(auth, user["email"])  # ends the previous session
        assert is_refused(await redeem(auth, client, code), "invalid_grant")
        code = await code_for(auth, client, scope="openid offline_access")
        await auth.patch(
            f"/internal/accounts/{user['id']}",
            json={"status": "disabled"},
            headers=bearer(internal_token("auth")),
        )

        assert is_refused(await redeem(auth, client, code), "invalid_grant")

    @pytest.mark.conforms("RFC 6749 4.1.2", "oidcc-codereuse")
    async def test_one_of_fifty_concurrent_redemptions_wins_O4(self, auth: httpx.AsyncClient) -> None:
        client = await create_client(auth)
        await signed_in_browser(auth)
        code = await code_for(auth, client)
        responses = await asyncio.gather(*(redeem(auth, client, code) for _ in range(50)))

        assert sorted(one.status_code for one in responses) == [200] + [400] * 49


class TestRefresh:
    @pytest.mark.conforms("RFC 6749 6", "oidcc-refresh-token")
    async def test_refresh_rotates_the_token_and_can_only_narrow_the_scope_O5(
        self, auth: httpx.AsyncClient
    ) -> None:
        client = await create_client(auth)
        await signed_in_browser(auth)
        first = await tokens_for(auth, client, scope="openid email")
        more = await refresh(auth, client, first["refresh_token"], scope="openid profile")
        less = (await refresh(auth, client, first["refresh_token"], scope="openid")).json()
        whole = (await refresh(auth, client, less["refresh_token"])).json()

        assert is_refused(more, "invalid_scope")
        assert (less["scope"], whole["scope"]) == ("openid", "email openid")
        assert len({one["refresh_token"] for one in (first, less, whole)}) == 3
        assert "nonce" not in claims_of(whole["id_token"])

    @pytest.mark.conforms("RFC 9700 4.14.2")
    async def test_reuse_after_the_grace_period_revokes_the_grant_O5(
        self, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        client = await create_client(auth)
        await signed_in_browser(auth)
        first = await tokens_for(auth, client)
        second = (await refresh(auth, client, first["refresh_token"])).json()
        again = (await refresh(auth, client, first["refresh_token"])).json()
        assert again["refresh_token"] == second["refresh_token"]  # the same successor within the grace period
        let_time_pass(database_url, LoginSession, "rotated", timedelta(seconds=11))

        assert is_refused(await refresh(auth, client, first["refresh_token"]), "invalid_grant")
        assert is_refused(await refresh(auth, client, second["refresh_token"]), "invalid_grant")
        assert not await is_active(auth, client, second["access_token"])

    @pytest.mark.conforms("RFC 6749 6", "oidcc-refresh-token")
    async def test_refresh_token_is_bound_to_its_authenticated_client_O5(
        self, auth: httpx.AsyncClient
    ) -> None:
        client, other = await create_client(auth), await create_client(auth)
        user = await signed_in_browser(auth)
        tokens = await tokens_for(auth, client)
        token = tokens["refresh_token"]
        own = (await login(auth, user["email"])).json()["refresh_token"]
        stranger = {"client_id": client["client_id"]}

        assert is_refused(await refresh(auth, other, token), "invalid_grant")
        assert is_refused(await refresh(auth, stranger, token), "invalid_client", 401)
        assert (await auth.post("/auth/refresh", json={"refresh_token": token})).status_code == 401
        assert is_refused(await refresh(auth, client, own), "invalid_grant")
        assert (await refresh(auth, client, token)).status_code == 200
        assert (await auth.post("/auth/refresh", json={"refresh_token": own})).status_code == 200

    async def test_password_change_ends_the_grant_O5(self, auth: httpx.AsyncClient) -> None:
        client = await create_client(auth)
        user = await signed_in_browser(auth)
        tokens = await tokens_for(auth, client, scope="openid offline_access")
        bearer_token = (await login(auth, user["email"])).json()["token"]
        body = {"current_password": PASSWORD, "new_password": "another password"}
        assert (
            await auth.put("/auth/me/password", json=body, headers=bearer(bearer_token))
        ).status_code == 204

        assert is_refused(await refresh(auth, client, tokens["refresh_token"]), "invalid_grant")

    async def test_fifty_concurrent_refreshes_get_the_same_successor_O5(
        self, auth: httpx.AsyncClient
    ) -> None:
        client = await create_client(auth)
        await signed_in_browser(auth)
        token = (await tokens_for(auth, client))["refresh_token"]
        responses = await asyncio.gather(*(refresh(auth, client, token) for _ in range(50)))

        assert {one.status_code for one in responses} == {200}
        assert len({one.json()["refresh_token"] for one in responses}) == 1


class TestClientAuthentication:
    @pytest.mark.conforms("RFC 6749 5.2")
    async def test_wrong_secret_is_invalid_client_O6(self, auth: httpx.AsyncClient) -> None:
        client = await create_client(auth, **MACHINE)
        for wrong in (
            client | {"client_secret": "wrong"},
            client | {"client_id": "client_unknown"},
            client | {"client_id": client["client_id"] + "\0"},
            {"client_id": client["client_id"]},
        ):
            response = await ask_token(auth, wrong, grant_type="client_credentials")
            assert is_refused(response, "invalid_client", 401)
            assert response.headers["www-authenticate"].startswith("Basic")
        for authorization in ("Basic", "Basic !!", "Basic bm9jb2xvbg==", "Bearer x", "Basic /w=="):
            headers = {"Authorization": authorization}
            form = {"grant_type": "client_credentials"}
            response = await auth.post("/oauth/token", data=form, headers=headers)
            assert is_refused(response, "invalid_client", 401), authorization

    @pytest.mark.conforms("RFC 6749 2.3", "oidcc-server-client-secret-post")
    async def test_client_authenticates_in_one_way_only_O6(self, auth: httpx.AsyncClient) -> None:
        client = await create_client(auth, **MACHINE)
        form = {"grant_type": "client_credentials", "client_id": client["client_id"]}
        secret = {"client_secret": client["client_secret"]}
        both = await auth.post("/oauth/token", data=form | secret, headers=basic(client))
        by_form = await auth.post("/oauth/token", data=form | secret)
        named_too = await auth.post("/oauth/token", data=form, headers=basic(client))
        another = await auth.post("/oauth/token", data=form | {"client_id": "other"}, headers=basic(client))

        assert is_refused(both, "invalid_request")
        assert is_refused(another, "invalid_request")
        assert (by_form.status_code, named_too.status_code) == (200, 200)

    @pytest.mark.conforms("RFC 6749 2.3.1", "oidcc-server")
    async def test_parts_of_basic_credentials_are_form_decoded_O6(self, auth: httpx.AsyncClient) -> None:
        client = await create_client(auth, **MACHINE)
        encoded = ":".join(
            quote(client[name].replace("_", "%5F"), safe="%") for name in ("client_id", "client_secret")
        )
        headers = {"Authorization": f"basic {base64.b64encode(encoded.encode()).decode()}"}
        response = await auth.post("/oauth/token", data={"grant_type": "client_credentials"}, headers=headers)

        assert response.status_code == 200

    async def test_both_secrets_are_valid_during_the_overlap_O6(
        self, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        client = await create_client(auth, **MACHINE)
        admin = bearer(await admin_token(auth))
        path = f"/clients/{client['id']}/regenerate-secret"
        renewed = client | (await auth.post(path, headers=admin)).json()
        both = [await ask_token(auth, one, grant_type="client_credentials") for one in (client, renewed)]
        let_time_pass(database_url, Client, "previous_secret_expires", timedelta(days=1))
        late = await ask_token(auth, client, grant_type="client_credentials")
        at_once = renewed | (await auth.post(path, json={"overlap_seconds": 0}, headers=admin)).json()

        assert [one.status_code for one in both] == [200, 200]
        assert is_refused(late, "invalid_client", 401)
        assert is_refused(
            await ask_token(auth, renewed, grant_type="client_credentials"), "invalid_client", 401
        )
        assert (await ask_token(auth, at_once, grant_type="client_credentials")).status_code == 200
        assert "client_secret" not in (await auth.get(f"/clients/{client['id']}", headers=admin)).json()


class TestTokenEndpoint:
    @pytest.mark.conforms("RFC 6749 5.1")
    async def test_endpoint_accepts_only_forms_and_responds_as_the_rfc_requires_O7(
        self, auth: httpx.AsyncClient
    ) -> None:
        client = await create_client(auth, **MACHINE)
        form = {"grant_type": "client_credentials"}
        good = await auth.post("/oauth/token", data=form, headers=basic(client))
        as_json = await auth.post("/oauth/token", json=form, headers=basic(client))
        twice = await auth.post(
            "/oauth/token",
            content="grant_type=client_credentials&scope=full_access&scope=full_access",
            headers={**basic(client), "Content-Type": "application/x-www-form-urlencoded"},
        )

        assert good.headers["content-type"] == "application/json"
        assert (good.headers["cache-control"], good.headers["pragma"]) == ("no-store", "no-cache")
        assert (good.json()["token_type"], type(good.json()["expires_in"])) == ("Bearer", int)
        assert is_refused(as_json, "invalid_request")
        assert is_refused(twice, "invalid_request")
        assert (await auth.get("/oauth/token")).status_code == 405

    @pytest.mark.conforms("RFC 6749 4.4")
    async def test_client_credentials_token_is_of_the_client_alone_O8(self, auth: httpx.AsyncClient) -> None:
        client = await create_client(auth, **MACHINE)
        public = await create_client(auth, is_public=True)
        tokens = (await ask_token(auth, client, grant_type="client_credentials")).json()
        claims = claims_of(tokens["access_token"])

        assert claims["sub"] == claims["client_id"] == client["client_id"]
        assert claims["role"] == "client"
        assert not {"refresh_token", "id_token"} & tokens.keys()
        assert not {"user_id", "email", "sid", "ver"} & claims.keys()
        too_much = await ask_token(auth, client, grant_type="client_credentials", scope="full_access openid")
        assert is_refused(too_much, "invalid_scope")
        assert is_refused(
            await ask_token(auth, public, grant_type="client_credentials"), "unauthorized_client"
        )
        assert (await auth.get("/auth/me", headers=bearer(tokens["access_token"]))).status_code == 401
        assert (await auth.get("/clients", headers=bearer(tokens["access_token"]))).status_code == 403

    @pytest.mark.parametrize(
        "kind", ["password", "implicit", "urn:ietf:params:oauth:grant-type:jwt-bearer", "x" * 99]
    )
    @pytest.mark.conforms("RFC 9700 2.4")
    async def test_other_grants_are_not_supported_O14(self, auth: httpx.AsyncClient, kind: str) -> None:
        client = await create_client(auth)
        response = await ask_token(auth, client, grant_type=kind, username="admin", password="admin123")

        assert is_refused(response, "unsupported_grant_type")

    async def test_grant_type_that_the_client_lacks_is_refused(self, auth: httpx.AsyncClient) -> None:
        client = await create_client(auth, grant_types=["authorization_code"])
        await signed_in_browser(auth)
        tokens = await tokens_for(auth, client)

        assert "refresh_token" not in tokens
        assert is_refused(await refresh(auth, client, "any"), "unauthorized_client")
        assert is_refused(await ask_token(auth, client), "invalid_request")


class TestIntrospection:
    @pytest.mark.conforms("RFC 7662 2.2")
    async def test_unknown_tokens_and_those_of_others_are_inactive_O9(self, auth: httpx.AsyncClient) -> None:
        client, other = await create_client(auth), await create_client(auth)
        user = await signed_in_browser(auth)
        tokens = await tokens_for(auth, client)
        own = (await login(auth, user["email"])).json()

        for token in (
            "x",
            "a.b.c",
            "\0",
            "é",
            "x" * 4000,
            own["token"],
            own["refresh_token"],
            tokens["id_token"],
        ):
            assert not await is_active(auth, client, token)
        for name in ("access_token", "refresh_token"):
            assert await is_active(auth, client, tokens[name])
            assert not await is_active(auth, other, tokens[name])

    @pytest.mark.conforms("RFC 7662 2.1")
    async def test_introspection_requires_a_client_with_a_secret_O9(self, auth: httpx.AsyncClient) -> None:
        public = await create_client(auth, is_public=True)
        form = {"token": "x", "client_id": public["client_id"]}

        assert is_refused(await auth.post("/oauth/introspect", data=form), "invalid_client", 401)
        assert is_refused(await auth.post("/oauth/introspect", data={"token": "x"}), "invalid_client", 401)


class TestRevocation:
    @pytest.mark.parametrize("hint", [None, "access_token", "refresh_token", "nonsense"])
    @pytest.mark.conforms("RFC 7009 2.1")
    async def test_revoking_a_refresh_token_ends_its_grant_for_any_hint_O10(
        self, auth: httpx.AsyncClient, hint: str | None
    ) -> None:
        client = await create_client(auth)
        await signed_in_browser(auth)
        tokens = await tokens_for(auth, client)
        form = {"token": tokens["refresh_token"]} | ({"token_type_hint": hint} if hint else {})
        response = await auth.post("/oauth/revoke", data=form, headers=basic(client))

        assert (response.status_code, response.content) == (200, b"")
        assert not await is_active(auth, client, tokens["access_token"])
        assert not await is_active(auth, client, tokens["refresh_token"])

    @pytest.mark.conforms("RFC 7009 2.1")
    async def test_access_token_is_revoked_alone_O10(self, auth: httpx.AsyncClient) -> None:
        client = await create_client(auth, **MACHINE)
        tokens = [(await ask_token(auth, client, grant_type="client_credentials")).json() for _ in range(2)]
        form = {"token": tokens[0]["access_token"], "token_type_hint": "refresh_token"}
        assert (await auth.post("/oauth/revoke", data=form, headers=basic(client))).status_code == 200

        assert not await is_active(auth, client, tokens[0]["access_token"])
        assert await is_active(auth, client, tokens[1]["access_token"])

    @pytest.mark.conforms("RFC 7009 2.2")
    async def test_unknown_tokens_are_accepted_and_those_of_others_stay_valid_O10(
        self, auth: httpx.AsyncClient
    ) -> None:
        client, other = await create_client(auth), await create_client(auth)
        await signed_in_browser(auth)
        tokens = await tokens_for(auth, client)
        for token in ("x", tokens["access_token"], tokens["refresh_token"]):
            response = await auth.post("/oauth/revoke", data={"token": token}, headers=basic(other))
            assert response.status_code == 200
        assert await is_active(auth, client, tokens["access_token"])
        assert await is_active(auth, client, tokens["refresh_token"])
        nameless = await auth.post("/oauth/revoke", data={"token": tokens["refresh_token"]})
        assert is_refused(nameless, "invalid_client", 401)
        assert is_refused(await auth.post("/oauth/revoke", data={}, headers=basic(client)), "invalid_request")

    @pytest.mark.parametrize("what", ["disable", "delete", "narrow"])
    async def test_restricting_a_client_revokes_its_tokens(self, auth: httpx.AsyncClient, what: str) -> None:
        client, watching = await create_client(auth), await create_client(auth)
        await signed_in_browser(auth)
        tokens = await tokens_for(auth, client)
        admin, path = bearer(await admin_token(auth)), f"/clients/{client['id']}"
        if what == "disable":
            await auth.put(f"{path}/status", json={"is_active": False}, headers=admin)
        elif what == "delete":
            assert (await auth.delete(path, headers=admin)).status_code == 204
        else:
            body = {
                "name": "L",
                "redirect_uris": [REDIRECT],
                "grant_types": client["grant_types"],
                "scopes": [],
            }
            assert (await auth.put(path, json=body, headers=admin)).status_code == 200

        userinfo = await _eventually_refused(auth, tokens["access_token"])
        assert userinfo.status_code == 401
        refused = await refresh(auth, client, tokens["refresh_token"])
        assert refused.json()["error"] == ("invalid_grant" if what == "narrow" else "invalid_client")
        assert watching["is_active"]


async def _eventually_refused(auth: httpx.AsyncClient, token: str) -> httpx.Response:
    """Request userinfo until the revoked token is refused, and return that response."""
    deadline = time.monotonic() + 5
    while True:
        response = await auth.get("/oauth/userinfo", headers=bearer(token))
        if response.status_code != 200 or time.monotonic() > deadline:
            return response
        await asyncio.sleep(0)


class TestTokens:
    @pytest.mark.conforms("RFC 9068 2.2")
    async def test_access_token_follows_rfc_9068_J2(self, auth: httpx.AsyncClient) -> None:
        client = await create_client(auth, scopes=["openid", "full_access"])
        user = await signed_in_browser(auth)
        narrow = (await tokens_for(auth, client))["access_token"]
        full = (await tokens_for(auth, client, scope="openid full_access"))["access_token"]
        claims = claims_of(full)

        assert jwt.get_unverified_header(full)["typ"] == "at+jwt"
        assert {"iss", "sub", "aud", "exp", "iat", "jti", "client_id", "auth_time", "sid"} <= claims.keys()
        assert (claims["iss"], claims["sub"]) == (ISSUER, user["id"])
        assert claims["aud"] == [ISSUER, "gatehouse"]
        assert claims_of(narrow)["aud"] == ISSUER
        assert not {"email", "username", "role", "user_id"} & claims_of(narrow).keys()
        assert (await auth.get("/auth/me", headers=bearer(full))).status_code == 200
        assert (await auth.get("/auth/me", headers=bearer(narrow))).status_code == 401

    async def test_client_credentials_token_gets_no_scopes_of_people_O8(
        self, auth: httpx.AsyncClient
    ) -> None:
        machine = await create_client(auth, **{**MACHINE, "scopes": ["orders:read", "files:write"]})
        narrow = await ask_token(auth, machine, grant_type="client_credentials", scope="orders:read")
        whole = await ask_token(auth, machine, grant_type="client_credentials")

        assert narrow.json()["scope"] == claims_of(narrow.json()["access_token"])["scope"] == "orders:read"
        assert whole.json()["scope"] == "files:write orders:read"
        for scope in ("orders:write", "account:read", "admin:orders"):
            refused = await ask_token(auth, machine, grant_type="client_credentials", scope=scope)
            assert is_refused(refused, "invalid_scope")
        for scope in ("account:read", "users:write", "admin:orders", "orders", "openid"):
            body = {"name": "Machine", **MACHINE, "scopes": [scope]}
            response = await auth.post("/clients", json=body, headers=bearer(await admin_token(auth)))
            assert response.status_code == 422, scope

    async def test_token_with_an_orders_scope_does_not_show_the_account(
        self, auth: httpx.AsyncClient
    ) -> None:
        client = await create_client(auth, scopes=["openid", "orders:read"])
        await signed_in_browser(auth)
        page = await authorize(auth, client, scope="openid orders:read")
        tokens = await tokens_for(auth, client, scope="openid orders:read")
        refused = await auth.get("/auth/me", headers=bearer(tokens["access_token"]))

        assert "See your orders" in page.text
        assert claims_of(tokens["access_token"])["scope"] == tokens["scope"] == "openid orders:read"
        assert claims_of(tokens["access_token"])["aud"] == [ISSUER, "gatehouse"]
        assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
        assert refused.json()["scope"] == "account:read"

    @pytest.mark.conforms("OIDC Core 2", "oidcc-idtoken-signature")
    async def test_id_token_is_for_the_client_and_grants_no_access_J2(self, auth: httpx.AsyncClient) -> None:
        client = await create_client(auth)
        user = await signed_in_browser(auth)
        tokens = await tokens_for(auth, client, nonce="once")
        claims, header = claims_of(tokens["id_token"]), jwt.get_unverified_header(tokens["id_token"])

        assert (header["typ"], header["alg"]) == ("JWT", "RS256")
        assert (claims["aud"], claims["sub"], claims["nonce"]) == (client["client_id"], user["id"], "once")
        assert abs(claims["auth_time"] - time.time()) < 60
        for path in ("/oauth/userinfo", "/auth/me"):
            assert (await auth.get(path, headers=bearer(tokens["id_token"]))).status_code == 401

    @pytest.mark.conforms("OIDC Core 5.3", "oidcc-userinfo-get")
    @pytest.mark.conforms("OIDC Core 5.3", "oidcc-userinfo-post-header")
    @pytest.mark.conforms("OIDC Core 5.4", "oidcc-scope-profile")
    @pytest.mark.conforms("OIDC Core 5.4", "oidcc-scope-email")
    async def test_userinfo_shows_the_claims_that_the_scopes_allow(self, auth: httpx.AsyncClient) -> None:
        client = await create_client(auth, scopes=["openid", "email", "profile", "full_access"])
        user = await signed_in_browser(auth, username="mara", first_name="Mara", last_name="Lindqvist")
        bare = await tokens_for(auth, client)
        whole = await tokens_for(auth, client, scope="openid email profile")
        without = await tokens_for(auth, client, scope="full_access")
        shown = await auth.get("/oauth/userinfo", headers=bearer(bare["access_token"]))
        more = await auth.post("/oauth/userinfo", data={"access_token": whole["access_token"]})
        refused = await auth.get("/oauth/userinfo", headers=bearer(without["access_token"]))

        assert shown.json() == {"sub": user["id"]}
        assert more.json()["name"] == "Mara Lindqvist"
        assert (more.json()["email"], more.json()["email_verified"]) == (user["email"], False)
        assert refused.status_code == 403
        assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]
        assert (await auth.get("/oauth/userinfo")).status_code == 401
        assert (await auth.get(f"/oauth/userinfo?access_token={bare['access_token']}")).status_code == 401

    @pytest.mark.conforms("RFC 8414 3", "oidcc-discovery-endpoint-verification")
    async def test_metadata_lists_only_existing_endpoints_O13(self, auth: httpx.AsyncClient) -> None:
        for name in ("oauth-authorization-server", "openid-configuration"):
            document = (await auth.get(f"/.well-known/{name}", headers={"Host": "evil.example"})).json()
            assert document["issuer"] == ISSUER
            assert all(document[key].startswith(ISSUER) for key in document if key.endswith("_endpoint"))
        for key in [key for key in document if key.endswith("_endpoint") and key != "end_session_endpoint"]:
            path = document[key].removeprefix(ISSUER)
            assert (await auth.get(path)).status_code in (400, 401, 405), key
