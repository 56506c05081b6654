"""GET /oauth/authorize: what is checked, and where refusals are sent."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from services.auth.app import create_app
from services.auth.models import AuthorizationCode, LoginSession
from services.auth.settings import Settings
from shared.testing import running
from tests.auth.browser import field
from tests.auth.oauth.support import (
    ISSUER,
    OURS,
    REDIRECT,
    answer,
    authorize,
    back,
    challenge_of,
    code_for,
    create_client,
    is_active,
    query_of,
    redeem,
    sign_in,
    signed_in_browser,
    tokens_for,
)
from tests.auth.support import PASSWORD, register, rows


def is_page(response: httpx.Response, status: int = 400) -> bool:
    """Whether the response is a page without a redirect."""
    is_html = response.headers["content-type"].startswith("text/html")
    return response.status_code == status and is_html and "location" not in response.headers


BAD_REDIRECTS = [
    "https://APP.example/callback",
    "https://app.example/Callback",
    "https://app.example/callback/",
    "https://app.example/callback?next=1",
    "https://app.example/callback#fragment",
    "https://app.example:443/callback",
    "https://app.example/%63allback",
    "https://app.example/x/%2e%2e/callback",
    "https://app.example/callback%00",
    "https://app.example@evil.example/callback",
    "http://localhost:80@evil.example/",
    "https://äpp.example/callback",
    "//app.example/callback",
    "javascript:alert(1)",
    "data:text/html,hello",
    "file:///etc/passwd",
    "",
]


@pytest.mark.conforms("RFC 6749 4.1.2.1", "oidcc-ensure-registered-redirect-uri")
async def test_unknown_client_or_redirect_uri_gets_a_page_and_no_redirect_O1(auth: httpx.AsyncClient) -> None:
    client = await create_client(auth)
    await signed_in_browser(auth)
    for uri in BAD_REDIRECTS:
        assert is_page(await authorize(auth, client, redirect_uri=uri)), uri
    for client_id in ("client_unknown", "nobody", client["client_id"].upper(), "client_\0", None):
        assert is_page(await authorize(auth, client, client_id=client_id))
    assert is_page(
        await auth.get(f"/oauth/authorize?{query_of(client)}&redirect_uri=https%3A%2F%2Fevil.example")
    )
    assert is_page(await auth.get(f"/oauth/authorize?{query_of(client)}&client_id=other"))
    assert is_page(await auth.get("/oauth/authorize"))
    assert is_page(await auth.get("/oauth/authorize?" + "a=1&" * 200))
    assert is_page(await auth.get("/oauth/authorize?client_id=%ff%fe"))
    assert is_page(await auth.get("/oauth/authorize?state=" + "x" * 20_000))


@pytest.mark.parametrize(
    "uri",
    [
        "http://app.example/callback",
        "javascript:alert(1)",
        "data:text/html,hello",
        "file:///etc/passwd",
        "https://app.example/callback#fragment",
        "https://app.example@evil.example/",
        "https://app.example/call back",
        "https://äpp.example/",
        "https:///callback",
        "com.example.app:/callback",  # only for public clients
        "app:/callback",
        "callback",
        "https://app.example/" + "x" * 500,
    ],
)
@pytest.mark.conforms("RFC 9700 2.1")
async def test_unsafe_redirect_uri_cannot_be_registered_O1(auth: httpx.AsyncClient, uri: str) -> None:
    with pytest.raises(AssertionError, match="422"):
        await create_client(auth, redirect_uris=[uri])


@pytest.mark.conforms("RFC 8252 7.3")
async def test_native_apps_can_use_any_port_of_a_loopback_address_O1(auth: httpx.AsyncClient) -> None:
    uris = ["http://127.0.0.1/callback", "http://[::1]:1/callback", "com.example.app:/callback"]
    native = await create_client(auth, is_public=True, redirect_uris=uris)
    web = await create_client(auth, redirect_uris=uris[:2])
    for uri in ("http://127.0.0.1:50123/callback", "http://[::1]:50123/callback"):
        assert (await authorize(auth, native, redirect_uri=uri)).status_code == 303
        assert is_page(await authorize(auth, web, redirect_uri=uri))
    for uri in (
        "http://127.0.0.1:50123/callback/",
        "http://127.0.0.1:50123@evil.example/callback",
        "http://127.0.0.1:999999/callback",
        "http://localhost:50123/callback",
        "https://127.0.0.1:50123/callback",
        "com.example.app:/other",
    ):
        assert is_page(await authorize(auth, native, redirect_uri=uri)), uri


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"response_type": None}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"scope": "openid admin"}, "invalid_scope"),
        ({"scope": "full_access"}, "invalid_scope"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"prompt": "maybe"}, "invalid_request"),
        ({"max_age": "-1"}, "invalid_request"),
        ({"max_age": "soon"}, "invalid_request"),
        ({"nonce": "n" * 501}, "invalid_request"),
        ({"request": "eyJhbGciOiJub25lIn0.e30."}, "request_not_supported"),
        ({"resource": "https://other.example"}, "invalid_target"),
    ],
)
@pytest.mark.conforms("RFC 6749 4.1.2.1", "oidcc-response-type-missing")
async def test_other_faults_are_sent_to_the_client_with_state_and_issuer_O2(
    auth: httpx.AsyncClient, values: dict[str, str | None], error: str
) -> None:
    client = await create_client(auth)
    told = back(await authorize(auth, client, **values))

    assert (told["error"], told["state"], told["iss"]) == (error, "some state", ISSUER)
    assert "code" not in told


@pytest.mark.conforms("RFC 6749 3.1", "oidcc-ensure-request-with-unknown-parameter-succeeds")
async def test_repeated_parameter_is_refused_and_an_unknown_one_ignored_O2(auth: httpx.AsyncClient) -> None:
    client = await create_client(auth)
    await signed_in_browser(auth)
    twice = back(await auth.get(f"/oauth/authorize?{query_of(client)}&scope=email"))
    state_twice = back(await auth.get(f"/oauth/authorize?{query_of(client)}&state=other"))
    unknown = await auth.get(f"/oauth/authorize?{query_of(client)}&colour=blue&colour=red")

    assert (twice["error"], twice["state"]) == ("invalid_request", "some state")
    assert state_twice["error"] == "invalid_request"
    assert "state" not in state_twice
    assert back(await answer(auth, unknown))["code"]


@pytest.mark.conforms("OIDC Core 3.1.2.1", "oidcc-ensure-post-request-succeeds")
@pytest.mark.conforms("RFC 9700 4.12")
async def test_request_by_post_gets_a_303_O2(auth: httpx.AsyncClient) -> None:
    client = await create_client(auth, is_first_party=True)
    await signed_in_browser(auth)
    form = {name: values[0] for name, values in parse_qs(query_of(client)).items()}
    response = await auth.post("/oauth/authorize", data=form)

    assert response.status_code == 303
    assert back(response)["code"]


@pytest.mark.parametrize(
    "values",
    [
        {"code_challenge": None},
        {"code_challenge": "", "code_challenge_method": "S256"},
        {"code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": "s256"},
        {"code_challenge": "short"},
        {"code_challenge": challenge_of() + "="},
    ],
)
@pytest.mark.conforms("RFC 7636 4.4.1")
async def test_request_without_S256_is_refused_for_every_kind_of_client_O3(
    auth: httpx.AsyncClient, values: dict[str, str | None]
) -> None:
    for kind in ({"is_public": True}, {"is_public": False}):
        client = await create_client(auth, **kind)
        assert back(await authorize(auth, client, **values))["error"] == "invalid_request"


@pytest.mark.conforms("RFC 9207 2")
async def test_every_response_names_the_issuer_O11(auth: httpx.AsyncClient) -> None:
    client = await create_client(auth)
    await signed_in_browser(auth)
    page = await authorize(auth, client)

    assert back(await answer(auth, page))["iss"] == ISSUER
    assert back(await answer(auth, page, "deny"))["iss"] == ISSUER
    metadata = (await auth.get("/.well-known/oauth-authorization-server")).json()
    assert metadata["authorization_response_iss_parameter_supported"] is True


class TestConsent:
    @pytest.mark.conforms("OIDC Core 3.1.2.4")
    async def test_consent_is_asked_once_per_scope_and_lists_the_scopes_O12(
        self, auth: httpx.AsyncClient
    ) -> None:
        client = await create_client(auth, name="<b>Ledger</b>line")
        await signed_in_browser(auth, username="mara")
        page = await authorize(auth, client, scope="openid email")

        assert page.status_code == 200
        assert "&lt;b&gt;Ledger&lt;/b&gt;line" in page.text
        assert "<b>Ledger</b>" not in page.text
        assert "See your e-mail address" in page.text
        assert "See your name" not in page.text
        assert back(await answer(auth, page))["code"]
        assert back(await authorize(auth, client, scope="openid email"))["code"]
        assert (await authorize(auth, client, scope="openid profile")).status_code == 200
        assert (await authorize(auth, client, prompt="consent")).status_code == 200

    async def test_consent_applies_to_one_person_and_one_client(self, auth: httpx.AsyncClient) -> None:
        client, other = await create_client(auth), await create_client(auth)
        await signed_in_browser(auth)
        await code_for(auth, client)

        assert (await authorize(auth, other)).status_code == 200
        await signed_in_browser(auth)
        assert (await authorize(auth, client)).status_code == 200

    @pytest.mark.conforms("RFC 6749 4.1.2.1")
    async def test_denied_consent_returns_access_denied_and_no_code_O12(
        self, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        client = await create_client(auth)
        await signed_in_browser(auth)
        told = back(await answer(auth, await authorize(auth, client), "deny"))

        assert told["error"] == "access_denied"
        assert rows(database_url, AuthorizationCode) == []
        assert (await authorize(auth, client)).status_code == 200

    async def test_first_party_client_needs_no_consent_O12(self, auth: httpx.AsyncClient) -> None:
        client = await create_client(auth, is_first_party=True)
        await signed_in_browser(auth)

        assert back(await authorize(auth, client))["code"]

    @pytest.mark.conforms("OIDC Core 3.1.2.1", "oidcc-prompt-none-not-logged-in")
    @pytest.mark.conforms("OIDC Core 3.1.2.1", "oidcc-prompt-none-logged-in")
    async def test_prompt_none_never_shows_a_page_O12(self, auth: httpx.AsyncClient) -> None:
        client = await create_client(auth)
        nobody = back(await authorize(auth, client, prompt="none"))
        await signed_in_browser(auth)
        not_asked = back(await authorize(auth, client, prompt="none"))
        await code_for(auth, client)
        asked = back(await authorize(auth, client, prompt="none"))

        assert (nobody["error"], not_asked["error"]) == ("login_required", "consent_required")
        assert asked["code"]

    async def test_form_of_another_site_is_refused_B3(
        self, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        client = await create_client(auth)
        await signed_in_browser(auth)
        form = {"request": query_of(client), "answer": "allow"}
        for headers in (
            {},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Sec-Fetch-Site": "none"},
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": ISSUER, "Sec-Fetch-Site": "cross-site"},
        ):
            for path in ("/oauth/consent", "/auth/signin", "/auth/signout"):
                assert (await auth.post(path, data=form, headers=headers)).status_code == 403
        assert rows(database_url, AuthorizationCode) == []
        good = await auth.post("/oauth/consent", data=form, headers={"Origin": ISSUER})
        assert back(good)["code"]

    async def test_modified_form_is_checked_like_a_new_request(self, auth: httpx.AsyncClient) -> None:
        client = await create_client(auth)
        await signed_in_browser(auth)
        elsewhere = {"request": query_of(client, redirect_uri="https://evil.example/"), "answer": "allow"}

        assert is_page(await auth.post("/oauth/consent", data=elsewhere, headers=OURS))
        more = {"request": query_of(client, scope="full_access"), "answer": "allow"}
        assert back(await auth.post("/oauth/consent", data=more, headers=OURS))["error"] == "invalid_scope"
        neither = {"request": query_of(client), "answer": "perhaps"}
        assert (await auth.post("/oauth/consent", data=neither, headers=OURS)).status_code == 400


class TestSigningIn:
    async def test_sign_in_returns_to_the_request(self, auth: httpx.AsyncClient) -> None:
        client = await create_client(auth, is_first_party=True)
        user = (await register(auth))["user"]
        asked = await authorize(auth, client, login_hint=user["email"])
        page = await auth.get(asked.headers["location"])
        given = parse_qs(urlsplit(asked.headers["location"]).query)
        response = await sign_in(auth, user["email"], after=given["next"][0])

        assert f'value="{user["email"]}"' in page.text
        assert response.headers["location"].startswith("/oauth/authorize?")
        told = back(await auth.get(response.headers["location"]))
        assert (told["state"], told["iss"]) == ("some state", ISSUER)

    @pytest.mark.parametrize("demand", [{"prompt": "login"}, {"prompt": "select_account"}])
    @pytest.mark.conforms("OIDC Core 3.1.2.1", "oidcc-prompt-login")
    async def test_sign_in_is_required_again_once_if_the_request_demands_it(
        self, auth: httpx.AsyncClient, demand: dict[str, str]
    ) -> None:
        client = await create_client(auth, is_first_party=True)
        user = await signed_in_browser(auth)
        asked = await authorize(auth, client, **demand)
        after = parse_qs(urlsplit(asked.headers["location"]).query)["next"][0]

        assert (
            (await auth.get(after)).headers["location"].startswith("/auth/signin")
        )  # the password is required
        forged = after.replace("asked_at=", "asked_at=1")
        assert (await auth.get(forged)).headers["location"].startswith("/auth/signin")
        signed_in = await sign_in(auth, user["email"], after=after)
        assert back(await auth.get(signed_in.headers["location"]))["code"]

    @pytest.mark.conforms("OAuth 2.0 Form Post Response Mode 2")
    async def test_response_is_posted_by_a_form_if_the_app_asks_for_it(self, auth: httpx.AsyncClient) -> None:
        client = await create_client(auth, is_first_party=True)
        await signed_in_browser(auth)
        state = '"><script>alert(1)</script>'
        page = await authorize(auth, client, response_mode="form_post", state=state)
        refused = await authorize(auth, client, response_mode="form_post", scope="unknown")

        assert (page.status_code, page.headers["cache-control"]) == (200, "no-store")
        assert f'<form class="card" method="post" action="{REDIRECT}">' in page.text
        assert (field(page, "state"), field(page, "iss")) == (state, ISSUER)
        tokens = await redeem(auth, client, field(page, "code"))
        assert tokens.status_code == 200, tokens.text
        assert (field(refused, "error"), field(refused, "state")) == ("invalid_scope", "some state")
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert '<script src="/auth/pages/submit.js" defer></script>' in page.text
        assert "<script>alert" not in page.text

    async def test_sign_in_for_one_app_does_not_count_for_a_request_of_another(
        self, auth: httpx.AsyncClient
    ) -> None:
        first, second = [await create_client(auth, is_first_party=True) for _ in range(2)]
        user = await signed_in_browser(auth)
        asked = await authorize(auth, first, prompt="login")
        after = parse_qs(urlsplit(asked.headers["location"]).query)["next"][0]
        await sign_in(auth, user["email"], after=after)
        (moment,) = parse_qs(urlsplit(after).query)["asked_at"]

        borrowed = await authorize(auth, second, prompt="login", asked_at=moment)
        assert borrowed.headers["location"].startswith("/auth/signin")
        assert back(await authorize(auth, first, prompt="login", asked_at=moment))["code"]

    @pytest.mark.conforms("OIDC Core 3.1.2.1", "oidcc-max-age-10000")
    async def test_recent_sign_in_satisfies_max_age(self, auth: httpx.AsyncClient) -> None:
        client = await create_client(auth, is_first_party=True)
        await signed_in_browser(auth)

        assert back(await authorize(auth, client, max_age="10000"))["code"]

    @pytest.mark.parametrize(
        "after",
        [
            "https://evil.example/",
            "//evil.example",
            "/\\evil.example",
            "/oauth/authorize?a\r\nSet-Cookie: x=y",
            "/x",
        ],
    )
    async def test_sign_in_redirects_to_no_other_path_B4(self, auth: httpx.AsyncClient, after: str) -> None:
        user = (await register(auth))["user"]
        response = await sign_in(auth, user["email"], after=after)

        assert response.headers["location"] == "/auth/signin"

    async def test_sign_in_opens_a_new_session_and_ends_the_previous_one_B1(
        self, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        user = await signed_in_browser(auth)
        first = auth.cookies["session"]
        await sign_in(auth, user["email"])
        second = auth.cookies["session"]

        assert first != second
        assert sum(row["revoked"] is not None for row in rows(database_url, LoginSession)) == 1

    async def test_session_cookie_has_the_secure_attributes_B2(self, auth: httpx.AsyncClient) -> None:
        user = (await register(auth))["user"]
        cookies = (await sign_in(auth, user["email"])).headers.get_list("set-cookie")
        (cookie,) = [one for one in cookies if one.startswith("session=")]

        assert {"Path=/", "HttpOnly", "SameSite=Lax"} <= set(cookie.split("; "))
        assert "Domain" not in cookie

    async def test_session_cookie_over_https_is_secure_opaque_and_stored_as_a_hash_B2(
        self, make_auth_settings: Callable[..., Settings], database_url: str
    ) -> None:
        issuer = "https://id.example.com"
        async with running(create_app, make_auth_settings(oauth_issuer=issuer)) as auth:
            user = (await register(auth))["user"]
            form = {"name": user["email"], "password": PASSWORD}
            cookies = (await auth.post("/auth/signin", data=form, headers=OURS)).headers.get_list(
                "set-cookie"
            )
        (cookie,) = [one for one in cookies if one.startswith("__Host-session=")]
        value = cookie.partition("; ")[0].partition("=")[2]

        assert {"Path=/", "HttpOnly", "SameSite=Lax", "Secure"} <= set(cookie.split("; "))
        assert "Domain" not in cookie
        assert re.fullmatch(r"[A-Za-z0-9_.-]{43,200}", value)
        assert user["id"] not in value
        assert value not in str(rows(database_url, LoginSession))

    async def test_refused_sign_in_shows_the_page_with_the_reason(self, auth: httpx.AsyncClient) -> None:
        user = (await register(auth))["user"]
        wrong = await sign_in(auth, user["email"], "wrong password")
        unknown = await sign_in(auth, "nobody@example.com", "wrong password")
        missing = await sign_in(auth, "", "")
        for _ in range(4):
            await sign_in(auth, user["email"], "wrong password")
        throttled = await sign_in(auth, user["email"])

        assert wrong.status_code == unknown.status_code == missing.status_code == 401
        assert wrong.text.replace(user["email"], "nobody@example.com") == unknown.text
        assert throttled.status_code == 429
        assert int(throttled.headers["retry-after"]) > 0

    async def test_pages_cannot_be_framed_or_cached_or_run_scripts_of_others_B5(
        self, auth: httpx.AsyncClient
    ) -> None:
        client = await create_client(auth)
        await signed_in_browser(auth)
        for page in (
            await auth.get("/auth/signin?next=%2Foauth%2Fauthorize%3Fa"),
            await auth.get("/auth/signin"),
            await authorize(auth, client),
            await auth.get("/oauth/authorize"),
        ):
            policy = page.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert page.headers["x-frame-options"] == "DENY"
            assert page.headers["x-content-type-options"] == "nosniff"
            assert page.headers["cache-control"] == "no-store"
            assert page.headers["referrer-policy"] == "no-referrer"
            own = page.text.count('<script src="/auth/pages/passkeys.js" defer></script>')
            assert own == page.text.count("<script") == policy.count("script-src 'self'")
            assert own == ("Sign in to Gatehouse" in page.text)
            assert "style=" not in page.text

    async def test_only_the_assets_of_the_pages_are_served(self, auth: httpx.AsyncClient) -> None:
        assert (await auth.get("/auth/pages/tokens.css")).headers["content-type"].startswith("text/css")
        for name in ("..%2frender.py", "render.py", "%2e%2e", "layout.html"):
            assert (await auth.get(f"/auth/pages/{name}")).status_code == 404


async def test_sign_out_ends_what_was_granted_in_the_session_B7(auth: httpx.AsyncClient) -> None:
    client = await create_client(auth)
    await signed_in_browser(auth)
    tokens: dict[str, Any] = await tokens_for(auth, client)
    lasting = await tokens_for(auth, client, scope="openid offline_access")
    await auth.post("/auth/signout", headers=OURS)

    assert "session" not in auth.cookies
    assert not await is_active(auth, client, tokens["access_token"])
    assert not await is_active(auth, client, tokens["refresh_token"])
    assert await is_active(auth, client, lasting["refresh_token"])
    assert (await authorize(auth, client)).headers["location"].startswith("/auth/signin")
    assert REDIRECT not in (await authorize(auth, client)).headers["location"]
