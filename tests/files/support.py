"""Helpers for tests of the files service."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import func, select

from services.files.models import WORK
from services.files.settings import Settings
from services.files.storage.blob_store import make_store
from shared.clock import now
from shared.data.database import Database
from shared.testing import bearer, token


def stored(settings: Settings) -> list[str]:
    """Return the names of all blobs and staging files."""
    store = make_store(settings)
    try:
        blobs = [one.key for one in store.list()]
    finally:
        store.close()
    return [*blobs, *(file.name for file in staged(settings))]


def staged(settings: Settings) -> list[Path]:
    assert settings.storage_path is not None
    return [*(settings.storage_path / "staging").iterdir()]


class Person:
    """A signed-in user."""

    def __init__(self, client: httpx.AsyncClient, user_id: str | None = None) -> None:
        self.client = client
        self.headers = bearer(token(user_id))

    async def upload(self, content: bytes = b"content", name: str = "a.bin", **fields: str) -> dict[str, Any]:
        response = await self.send(content, name, **fields)
        assert response.status_code == 201, response.text
        uploaded: dict[str, Any] = response.json()
        return uploaded

    async def send(
        self, content: bytes = b"content", name: str = "a.bin", *, kind: str = "", **fields: str
    ) -> httpx.Response:
        part = (name, content, kind) if kind else (name, content)
        return await self.client.post("/files", files={"file": part}, data=fields, headers=self.headers)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.get(path, headers=self.headers | named)

    async def download(self, file_id: str, **headers: str) -> httpx.Response:
        return await self.get(f"/files/{file_id}", **headers)

    async def change(self, file_id: str, **changes: Any) -> httpx.Response:
        return await self.client.patch(f"/files/{file_id}", json=changes, headers=self.headers)

    async def delete(self, path: str) -> httpx.Response:
        return await self.client.delete(path, headers=self.headers)

    async def usage(self) -> dict[str, Any]:
        used: dict[str, Any] = (await self.get("/files/usage")).json()
        return used


async def duties_done(settings: Settings) -> None:
    """Wait until the service has swept and compared for the first time; then the test does so itself."""
    database, work = Database(settings.database_url), WORK.work
    done = select(func.count()).where(work.c.lease.is_(None), work.c.due > now())
    async with asyncio.timeout(20):
        while await database.read(lambda one: one.connection().execute(done).scalar_one()) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    database.close()
