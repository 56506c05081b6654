"""Registering OAuth clients."""

import asyncio
from typing import Any

import httpx

from services.auth.models import EVENTS, IDEMPOTENCY, Client
from shared.testing import bearer
from tests.auth.oauth.support import admin_token, ask_token
from tests.auth.support import rows
from tests.told import records

BODY = {
    "name": "Nightly report",
    "grant_types": ["client_credentials"],
    "redirect_uris": [],
    "scopes": ["orders:read"],
}


async def test_repeated_request_registers_one_client(auth: httpx.AsyncClient, database_url: str) -> None:
    headers = bearer(await admin_token(auth)) | {"Idempotency-Key": "one"}

    async def send(body: dict[str, Any]) -> httpx.Response:
        return await auth.post("/clients", json=body, headers=headers)

    first, second = await asyncio.gather(send(BODY), send(BODY))
    lost, changed = await send(BODY), await send(BODY | {"name": "Weekly report"})
    works = await ask_token(auth, lost.json(), grant_type="client_credentials")
    kept = str(rows(database_url, IDEMPOTENCY.table))

    assert [one.status_code for one in (first, second, lost)] == [201, 201, 201]
    assert first.json() == second.json() == lost.json()
    assert lost.headers["location"] == first.headers["location"] == f"/clients/{lost.json()['id']}"
    assert lost.headers["idempotency-replayed"] == "true"
    assert works.status_code == 200, "the secret that is shown again works"
    assert (changed.status_code, changed.json()["code"]) == (422, "idempotency_key_reused")
    assert [one["name"] for one in rows(database_url, Client)] == ["Nightly report"]
    made = [one["outcome"] for one in records(database_url, EVENTS) if one["action"] == "CREATE_CLIENT"]
    assert made.count("success") == 1
    assert ("s1." in kept, lost.json()["client_secret"] in kept) == (True, False), "what is kept is sealed"
