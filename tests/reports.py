"""Starts reports and reads their files, in the tests of each service that has them."""

import asyncio
import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

SECONDS = 120.0


async def begun(client: httpx.AsyncClient, path: str, headers: Mapping[str, str], **body: Any) -> str:
    """Start a report, and return its id."""
    response = await client.post(path, json=body, headers=dict(headers))
    assert response.status_code == 202, response.text
    job: dict[str, Any] = response.json()
    assert response.headers["location"] == f"{path}/jobs/{job['id']}"
    return str(job["id"])


async def ended(
    client: httpx.AsyncClient, path: str, headers: Mapping[str, str], report: str
) -> dict[str, Any]:
    """Wait until the job of a report has ended, and return it."""
    async with asyncio.timeout(SECONDS):
        while True:
            response = await client.get(f"{path}/jobs/{report}", headers=dict(headers))
            assert response.status_code == 200, response.text
            job: dict[str, Any] = response.json()
            if job["ended"] is not None:
                return job
            await asyncio.sleep(0.02)


async def file_of(
    client: httpx.AsyncClient, path: str, headers: Mapping[str, str], report: str
) -> httpx.Response:
    job = await ended(client, path, headers, report)
    assert (job["state"], job["error"]) == ("done", None)
    response = await client.get(f"{path}/{report}/file", headers=dict(headers))
    assert response.status_code == 200, response.text
    assert len(response.content) == job["result"]["bytes"]
    return response


async def written(
    client: httpx.AsyncClient, path: str, headers: Mapping[str, str], **body: Any
) -> httpx.Response:
    """Start a report, and return its file."""
    return await file_of(client, path, headers, await begun(client, path, headers, **body))


def rows_of(content: bytes) -> Sequence[dict[str, str]]:
    """Return the rows of a CSV file."""
    return list(csv.DictReader(io.StringIO(content.decode())))
