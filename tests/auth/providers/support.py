"""Helpers that act as a browser that signs in with a provider."""

import re
from typing import Any
from urllib.parse import urlencode

import httpx
from sqlalchemy import update
from structlog.testing import capture_logs

from services.auth.models import ACCOUNTS
from shared.clock import now
from shared.data.database import Database
from tests.auth.providers.double import Double

PAGE = {"Accept": "text/html,*/*;q=0.8"}
ANN = {"sub": "ann", "email": "ann@example.com", "email_verified": True, "given_name": "Ann"}


def callback_of(name: str) -> str:
    """Google has the short callback URL in these tests."""
    return "/auth/callback" if name == "google" else f"/auth/callback/{name}"


async def begin(auth: httpx.AsyncClient, name: str = "acme", after: str = "") -> str:
    """Press the button of a provider; return the URL that the browser is redirected to."""
    query = f"?{urlencode({'next': after})}" if after else ""
    response = await auth.get(f"/auth/providers/{name}{query}")
    assert response.status_code == 303, response.text
    location: str = response.headers["location"]
    return location


async def come_back(
    auth: httpx.AsyncClient, query: dict[str, str], name: str = "acme", headers: dict[str, str] | None = None
) -> httpx.Response:
    return await auth.get(f"{callback_of(name)}?{urlencode(query)}", headers=headers)


async def arrive(
    auth: httpx.AsyncClient, double: Double, name: str = "acme", after: str = "", **person: Any
) -> httpx.Response:
    """Run a whole sign-in with a provider, by default as ann."""
    query = double.consent(await begin(auth, name, after), **{**ANN, **person})
    return await come_back(auth, query, name)


async def refused(work: Any) -> tuple[int, str, str]:
    """Return the status, code and logged reason of a refused sign-in."""
    with capture_logs() as logs:
        response = await work
    reasons = [line["reason"] for line in logs if line["event"] == "provider_sign_in_refused"]
    assert len(reasons) == 1, (response.text, logs)
    assert "set-cookie" not in response.headers
    return response.status_code, response.json()["code"], reasons[0]


async def who(auth: httpx.AsyncClient) -> str | None:
    """Return the e-mail address of the signed-in user, as the page shows it."""
    page = await auth.get("/auth/signin")
    found = re.search(r"<(?:b|small)>([^<@]+@[^<]+)</", page.text)
    return found[1] if found else None


def confirm_address(database_url: str, email: str) -> None:
    """Use the link in the mail."""
    database = Database(database_url, pool_size=1)
    with database.transaction() as session:
        mine = update(ACCOUNTS).where(ACCOUNTS.c.email == email)
        assert session.connection().execute(mine.values(verified=now())).rowcount == 1
    database.close()
