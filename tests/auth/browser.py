"""Helpers that act as a browser on the pages of auth."""

import json
import re
from html import unescape
from typing import Any

import httpx

from services.auth.models import LoginSession
from shared.testing import bearer
from tests.auth.authenticator import Authenticator
from tests.auth.oauth.support import OURS
from tests.auth.support import rows

ACCOUNT = "/auth/account"


async def post(auth: httpx.AsyncClient, path: str, **form: str) -> httpx.Response:
    """Submit a form from the same origin."""
    return await auth.post(path, data=form, headers=OURS)


def field(page: httpx.Response, name: str) -> str:
    """Return the value of the first field with this name."""
    found = re.search(rf'name="{re.escape(name)}" value="([^"]*)"', page.text)
    assert found is not None, page.text
    return unescape(found[1])


def options_of(page: httpx.Response) -> dict[str, Any]:
    """Return the creation options that the page gives its script."""
    found = re.search(r'data-options="([^"]*)"', page.text)
    assert found is not None, page.text
    options: dict[str, Any] = json.loads(unescape(found[1]))
    return options


def codes_of(page: httpx.Response) -> list[str]:
    """Return the recovery codes that a page shows."""
    return re.findall(r"<li><code>([a-z0-9-]+)</code></li>", page.text)


async def sign_in_options(auth: httpx.AsyncClient) -> dict[str, Any]:
    options: dict[str, Any] = (await auth.post("/auth/passkeys/options")).json()
    return options


async def add_passkey(auth: httpx.AsyncClient, device: Authenticator, name: str = "Phone") -> httpx.Response:
    """Add a passkey through the pages."""
    page = await post(auth, f"{ACCOUNT}/passkeys", name=name)
    assert page.status_code == 200, page.text
    made = json.dumps(device.make(options_of(page)))
    return await post(auth, f"{ACCOUNT}/passkeys/add", name=name, credential=made)


async def shown(auth: httpx.AsyncClient, device: Authenticator) -> str:
    """Return what the script of a page submits when a passkey was used."""
    return json.dumps(device.sign(await sign_in_options(auth)))


async def exchanged(auth: httpx.AsyncClient, headers: dict[str, str]) -> dict[str, str]:
    """Return the headers with the access token that the gateway gets for the browser's session."""
    body = {"credential": auth.cookies["session"]}
    response = await auth.post("/internal/exchange", json=body, headers=headers)
    assert response.status_code == 200, response.text
    return bearer(response.json()["token"])


def living_sessions(database_url: str) -> int:
    return sum(row["revoked"] is None for row in rows(database_url, LoginSession))
