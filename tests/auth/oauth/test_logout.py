"""Signing out for an app (OpenID Connect RP-Initiated Logout)."""

from typing import Any
from urllib.parse import urlencode

import httpx
import jwt
import pytest

from services.auth.models import EVENTS
from tests.auth.oauth.support import OURS, create_client, is_active, sign_in, signed_in_browser, tokens_for
from tests.auth.support import register
from tests.told import records

PATH, BACK = "/oauth/logout", "https://app.example/signed-out"


async def client_of(auth: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    return await create_client(auth, post_logout_redirect_uris=[BACK], **fields)


async def sign_out(auth: httpx.AsyncClient, **query: str) -> httpx.Response:
    return await auth.get(f"{PATH}?{urlencode(query)}")


async def is_signed_in(auth: httpx.AsyncClient) -> bool:
    return "You are signed in" in (await auth.get("/auth/signin")).text


@pytest.mark.conforms("OIDC RP-Initiated Logout 2", "oidcc-rp-initiated-logout")
async def test_id_token_of_the_session_ends_it_and_returns_to_the_app_B7(
    auth: httpx.AsyncClient, database_url: str
) -> None:
    client, user = await client_of(auth), await signed_in_browser(auth)
    tokens = await tokens_for(auth, client)
    response = await sign_out(
        auth, id_token_hint=tokens["id_token"], post_logout_redirect_uri=BACK, state="a b"
    )

    assert (response.status_code, response.headers["location"]) == (303, f"{BACK}?state=a+b")
    assert "Max-Age=0" in response.headers["set-cookie"]
    assert not await is_signed_in(auth)
    assert not await is_active(auth, client, tokens["access_token"])
    record = records(database_url, EVENTS)[-1]
    assert (record["action"], record["user_id"]) == ("SIGN_OUT", user["id"])
    assert tokens["id_token"] not in str(record)
    again = await sign_out(auth, id_token_hint=tokens["id_token"], post_logout_redirect_uri=BACK)
    assert again.headers["location"] == BACK


@pytest.mark.conforms("OIDC RP-Initiated Logout 2", "oidcc-rp-initiated-logout-no-id-token-hint")
async def test_person_is_asked_without_an_id_token_B7(auth: httpx.AsyncClient) -> None:
    client = await client_of(auth)
    await signed_in_browser(auth)
    query = {"client_id": client["client_id"], "post_logout_redirect_uri": BACK, "state": "x"}
    asked = await sign_out(auth, **query)
    form = query | {"confirm": "yes"}
    foreign = await auth.post(PATH, data=form)
    by_get = await sign_out(auth, **form)

    assert (asked.status_code, "Ledgerline</b> wants to sign you out" in asked.text) == (200, True)
    assert (foreign.status_code, "Sign out?" in by_get.text) == (403, True)
    assert await is_signed_in(auth)
    done = await auth.post(PATH, data=form, headers=OURS)
    assert (done.status_code, done.headers["location"]) == (303, f"{BACK}?state=x")
    assert not await is_signed_in(auth)
    nobody = await sign_out(auth)
    assert (nobody.status_code, "You are signed out" in nobody.text) == (200, True)


async def test_id_token_is_accepted_in_a_form_posted_by_the_app(auth: httpx.AsyncClient) -> None:
    client = await client_of(auth)
    await signed_in_browser(auth)
    tokens = await tokens_for(auth, client)
    form = {"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": BACK}
    cookies, auth.cookies = (
        auth.cookies,
        httpx.Cookies(),
    )  # browsers send no SameSite=Lax cookies with a cross-site POST
    response = await auth.post(PATH, data=form, headers={"Sec-Fetch-Site": "cross-site"})
    auth.cookies = cookies

    assert response.headers["location"] == BACK
    assert not await is_signed_in(auth)


async def test_id_token_of_another_person_ends_only_their_session(auth: httpx.AsyncClient) -> None:
    client = await client_of(auth)
    await signed_in_browser(auth)
    tokens = await tokens_for(auth, client)
    other = (await register(auth))["user"]
    auth.cookies.clear()
    assert (await sign_in(auth, other["email"])).status_code == 303
    response = await sign_out(auth, id_token_hint=tokens["id_token"])

    assert "set-cookie" not in response.headers
    assert await is_signed_in(auth)
    assert not await is_active(auth, client, tokens["access_token"])


@pytest.mark.parametrize("case", ["modified", "access token", "foreign", "none", "garbage", "other client"])
@pytest.mark.conforms("OIDC RP-Initiated Logout 2", "oidcc-rp-initiated-logout-bad-id-token-hint")
@pytest.mark.conforms("OIDC RP-Initiated Logout 2", "oidcc-rp-initiated-logout-modified-id-token-hint")
async def test_invalid_id_token_ends_nothing_and_redirects_nowhere(
    auth: httpx.AsyncClient, case: str
) -> None:
    client, other = await client_of(auth), await client_of(auth)
    await signed_in_browser(auth)
    tokens = await tokens_for(auth, client, scope="openid")
    token = tokens["id_token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    head, body, signature = token.split(".")
    hints = {
        "modified": f"{head}.{body[:-4]}AAAA.{signature}",
        "access token": tokens["access_token"],
        "foreign": jwt.encode(claims, "x" * 32, algorithm="HS256"),
        "none": jwt.encode(claims, "", algorithm="none"),
        "garbage": "a.b.c",
        "other client": token,
    }
    query = {"client_id": other["client_id"]} if case == "other client" else {}
    response = await sign_out(auth, id_token_hint=hints[case], post_logout_redirect_uri=BACK, **query)

    assert (response.status_code, "This link does not work" in response.text) == (400, True)
    assert "location" not in response.headers
    assert await is_signed_in(auth)


@pytest.mark.parametrize(
    "uri", ["https://evil.example/", f"{BACK}/", f"{BACK}?x=1", "javascript:alert(1)", ""]
)
@pytest.mark.conforms("OIDC RP-Initiated Logout 3", "oidcc-rp-initiated-logout-bad-post-logout-redirect-uri")
async def test_unregistered_redirect_uri_is_refused(auth: httpx.AsyncClient, uri: str) -> None:
    client = await client_of(auth)
    await signed_in_browser(auth)
    tokens = await tokens_for(auth, client)
    for query in (
        {"id_token_hint": tokens["id_token"]},
        {"client_id": client["client_id"]},
        {"client_id": "unknown"},
    ):
        response = await sign_out(auth, **query, post_logout_redirect_uri=uri)
        assert "location" not in response.headers
        assert response.status_code == (400 if uri else 200)


async def test_unsafe_redirect_uri_cannot_be_registered(auth: httpx.AsyncClient) -> None:
    with pytest.raises(AssertionError, match="422"):
        await create_client(auth, post_logout_redirect_uris=["http://app.example/"])
    shown = await client_of(auth)
    assert shown["post_logout_redirect_uris"] == [BACK]


async def test_invalid_input_gets_a_page(auth: httpx.AsyncClient) -> None:
    for query in ("id_token_hint=a&id_token_hint=b", f"state={'x' * 3000}", "&".join(["a=1"] * 200), "a=%ff"):
        assert (await auth.get(f"{PATH}?{query}")).status_code == 400
