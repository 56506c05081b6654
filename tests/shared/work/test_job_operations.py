"""The endpoints of jobs."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from shared.ids import new_id
from shared.testing import bearer, token
from tests.shared.test_openapi import sound
from tests.shared.work.app import Settings, create_app
from tests.shared.work.served import served

SECONDS = 20
MINE, OTHERS, ADMIN = bearer(token()), bearer(token()), bearer(token(role="admin"))


@pytest.fixture
async def client(make_settings: Callable[..., Any]) -> AsyncIterator[httpx.AsyncClient]:
    async with served(create_app(make_settings(Settings))) as (_, client):
        yield client


async def start(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await client.post("/works/s", json=body, headers=MINE)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/works/jobs/{answer.json()['id']}"
    return dict(answer.json())


def events(text: str) -> list[tuple[str, int, dict[str, Any]]]:
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        if "data" in fields:
            found.append((fields["event"], int(fields["id"]), json.loads(fields["data"])))
    return found


async def follow(client: httpx.AsyncClient, job_id: str, **headers: str) -> httpx.Response:
    return await client.get(f"/works/jobs/{job_id}/progress", headers={**MINE, **headers})


async def test_progress_is_streamed_to_the_end_and_resumed_after_the_last_event(
    client: httpx.AsyncClient,
) -> None:
    job = await start(client, total=4, pause=0.3)
    answer = await asyncio.wait_for(follow(client, job["id"]), SECONDS)
    told = events(answer.text)

    assert [name for name, _, _ in told[:-1]] == ["progress"] * (len(told) - 1)
    assert len(told) > 2
    name, last, data = told[-1]
    assert (name, data["state"], data["result"]) == ("end", "done", {"counted": 4})
    numbers = [number for _, number, _ in told]
    assert numbers == sorted({*numbers})

    again = await follow(client, job["id"], **{"Last-Event-ID": str(last)})
    assert (again.status_code, again.content) == (204, b"")
    rest = await follow(client, job["id"], **{"Last-Event-ID": str(last - 1)})
    assert [number for _, number, _ in events(rest.text)] == [last]
    for nonsense in ("-1", "x", "9" * 200):
        answer = await follow(client, job["id"], **{"Last-Event-ID": nonsense})
        assert answer.status_code == 200


async def test_jobs_of_others_are_404_except_for_admins(client: httpx.AsyncClient) -> None:
    job = await start(client, total=0)
    for method, path in (("GET", ""), ("POST", "/cancel"), ("GET", "/progress")):
        address = f"/works/jobs/{job['id']}{path}"
        assert (await client.request(method, address, headers=OTHERS)).status_code == 404
        assert (await client.request(method, address)).status_code == 401
        assert (await client.request(method, address, headers=ADMIN)).status_code in (200, 202)
        assert (
            await client.request(method, address.replace(job["id"], new_id()), headers=MINE)
        ).status_code == 404


async def test_list_shows_my_jobs_page_by_page(client: httpx.AsyncClient) -> None:
    ids = [(await start(client, total=0))["id"] for _ in range(3)]
    first = await client.get("/works/jobs?limit=2", headers=MINE)
    assert [job["id"] for job in first.json()] == ids[:0:-1]
    second = await client.get("/works/jobs" + first.links["next"]["url"], headers=MINE)
    assert [job["id"] for job in second.json()] == ids[:1]
    assert (await client.get("/works/jobs", headers=OTHERS)).json() == []


async def test_running_job_is_cancelled(client: httpx.AsyncClient) -> None:
    job = await start(client, total=2, pause=1000)
    answer = await client.post(f"/works/jobs/{job['id']}/cancel", headers=MINE)
    assert answer.status_code == 202
    told = events((await asyncio.wait_for(follow(client, job["id"]), SECONDS)).text)
    assert told[-1][2]["state"] == "cancelled"


async def test_openapi_document_with_jobs_is_valid(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    sound(document)
    progress = document["paths"]["/works/jobs/{job_id}/progress"]["get"]
    assert [*progress["responses"]["200"]["content"]] == ["text/event-stream"]
