"""Calls to the made-up service that many tests use."""

from typing import Any

import httpx

from shared.testing import bearer, internal_token


async def add(notes: httpx.AsyncClient, headers: dict[str, str], text: str = "a") -> dict[str, Any]:
    response = await notes.post("/notes", json={"text": text}, headers=headers)
    assert response.status_code == 201, response.text
    added: dict[str, Any] = response.json()
    return added


async def count(notes: httpx.AsyncClient) -> int:
    response = await notes.get("/internal/count", headers=bearer(internal_token("notes")))
    number: int = response.json()["count"]
    return number
