"""Helpers that act as an OAuth client and as a browser."""

import base64
import hashlib
import re
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from shared.testing import bearer
from tests.auth.support import PASSWORD, login, register

REDIRECT = "https://app.example/callback"
ISSUER = "http://127.0.0.1:8000"
OURS = {"Sec-Fetch-Site": "same-origin"}
VERIFIER = "v" * 43


def challenge_of(verifier: str = VERIFIER) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


async def admin_token(auth: httpx.AsyncClient) -> str:
    token: str = (await login(auth, "admin", "admin123")).json()["token"]
    return token


async def create_client(auth: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    """Register an OAuth client as an admin, and return the response body."""
    body = {
        "name": "Ledgerline",
        "redirect_uris": [REDIRECT],
        "scopes": ["openid", "profile", "email", "offline_access"],
        "grant_types": ["authorization_code", "refresh_token"],
        **fields,
    }
    response = await auth.post("/clients", json=body, headers=bearer(await admin_token(auth)))
    assert response.status_code == 201, response.text
    client: dict[str, Any] = response.json()
    return client


def basic(client: dict[str, Any]) -> dict[str, str]:
    """Return the Basic Authorization header of a client."""
    joined = f"{client['client_id']}:{client['client_secret']}".encode()
    return {"Authorization": f"Basic {base64.b64encode(joined).decode()}"}


async def sign_in(
    auth: httpx.AsyncClient, name: str, password: str = PASSWORD, after: str = ""
) -> httpx.Response:
    """Sign in with the form of the page; `auth` keeps the cookie."""
    form = {"name": name, "password": password, "next": after}
    return await auth.post("/auth/signin", data=form, headers=OURS)


async def signed_in_browser(auth: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    """Register an account and sign in, so that `auth` has its session cookie."""
    user: dict[str, Any] = (await register(auth, **fields))["user"]
    assert (await sign_in(auth, user["email"])).status_code == 303
    return user


def query_of(client: dict[str, Any], **values: str | None) -> str:
    """Return the query of an authorization request."""
    given = {
        "response_type": "code",
        "client_id": client["client_id"],
        "redirect_uri": REDIRECT,
        "scope": "openid",
        "state": "some state",
        "code_challenge": challenge_of(),
        "code_challenge_method": "S256",
        **values,
    }
    return urlencode({name: value for name, value in given.items() if value is not None})


async def authorize(auth: httpx.AsyncClient, client: dict[str, Any], **values: str | None) -> httpx.Response:
    return await auth.get(f"/oauth/authorize?{query_of(client, **values)}")


async def answer(auth: httpx.AsyncClient, page: httpx.Response, said: str = "allow") -> httpx.Response:
    """Press a button on the consent page."""
    found = re.search(r'name="request" value="([^"]*)"', page.text)
    assert found is not None, page.text
    form = {"request": unescape(found[1]), "answer": said}
    return await auth.post("/oauth/consent", data=form, headers=OURS)


def back(response: httpx.Response) -> dict[str, str]:
    """Return the parameters of a redirect to the client."""
    assert response.status_code == 303, response.text
    location = response.headers["location"]
    assert location.startswith(f"{REDIRECT}?"), location
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


async def code_for(auth: httpx.AsyncClient, client: dict[str, Any], **values: str | None) -> str:
    """Get an authorization code with the consent of the signed-in person."""
    response = await authorize(auth, client, **values)
    if response.status_code == 200:
        response = await answer(auth, response)
    return back(response)["code"]


async def ask_token(auth: httpx.AsyncClient, client: dict[str, Any], **form: str) -> httpx.Response:
    """Send a request to the token endpoint with the client's credentials."""
    secret = client.get("client_secret")
    headers = basic(client) if secret else {}
    named = form if secret else {"client_id": client["client_id"], **form}
    return await auth.post("/oauth/token", data=named, headers=headers)


async def redeem(auth: httpx.AsyncClient, client: dict[str, Any], code: str, **form: str) -> httpx.Response:
    given = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT}
    return await ask_token(auth, client, **{**given, "code_verifier": VERIFIER, **form})


async def refresh(auth: httpx.AsyncClient, client: dict[str, Any], token: str, **form: str) -> httpx.Response:
    return await ask_token(auth, client, grant_type="refresh_token", refresh_token=token, **form)


async def tokens_for(auth: httpx.AsyncClient, client: dict[str, Any], **values: str | None) -> dict[str, Any]:
    """Run the whole flow for the signed-in person, and return the tokens."""
    response = await redeem(auth, client, await code_for(auth, client, **values))
    assert response.status_code == 200, response.text
    tokens: dict[str, Any] = response.json()
    return tokens


async def is_active(auth: httpx.AsyncClient, client: dict[str, Any], token: str) -> bool:
    response = await auth.post("/oauth/introspect", data={"token": token}, headers=basic(client))
    assert response.status_code == 200, response.text
    told: dict[str, Any] = response.json()
    assert told["active"] or told == {"active": False}
    return bool(told["active"])


def is_refused(response: httpx.Response, code: str, status: int = 400) -> bool:
    """Whether the response is a refusal as RFC 6749 section 5.2 defines it."""
    shown = response.status_code, response.json().get("error"), response.headers["cache-control"]
    return shown == (status, code, "no-store") and "access_token" not in response.json()
