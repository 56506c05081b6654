"""The stream of what is new, through a real server."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from services.notifications.app import create_app
from services.notifications.settings import Settings
from tests.notifications.support import person, placed, stepped, tell
from tests.shared.work.served import served

SECONDS = 30


@pytest.fixture
async def live(make_settings: Callable[..., Any], database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    settings = make_settings(Settings, database_url=database_url)
    async with served(create_app(settings)) as (_, client):
        yield client


async def read(lines: AsyncIterator[str], number: int) -> list[tuple[str, Any]]:
    """Return the next events: their name and data."""
    found, name = [], ""
    async for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            found.append((name, json.loads(value)))
            if len(found) == number:
                return found
    raise AssertionError("the stream has ended")


async def test_stream_sends_each_notification_and_the_unread_count(live: httpx.AsyncClient) -> None:
    me, mine = person()
    await tell(live, placed(me))
    async with (
        asyncio.timeout(SECONDS),
        live.stream("GET", "/notifications/stream", headers=mine) as stream,
    ):
        lines = stream.aiter_lines()
        assert await read(lines, 1) == [("unread", {"count": 1, "is_more": False})]
        await tell(live, placed(person()[0]), stepped(me, "pending", "cancelled"))
        (name, new), counted = await read(lines, 2)
        assert (name, new["title"]) == ("notification", "Your order was cancelled")
        assert counted == ("unread", {"count": 2, "is_more": False})
        await live.put("/notifications/read-all", headers=mine)
        assert await read(lines, 1) == [("unread", {"count": 0, "is_more": False})]

    listed = (await live.get("/notifications", headers=mine)).json()
    assert new | {"is_read": True, "read": True, "read_at": listed[0]["read_at"]} == listed[0]


async def test_client_that_reconnects_gets_what_was_stored_since(live: httpx.AsyncClient) -> None:
    me, mine = person()
    await tell(live, *(placed(me) for _ in range(3)))
    *newer, oldest = (await live.get("/notifications", headers=mine)).json()
    async with (
        asyncio.timeout(SECONDS),
        live.stream("GET", "/notifications/stream", headers=mine | {"Last-Event-ID": oldest["id"]}) as stream,
    ):
        missed = await read(stream.aiter_lines(), 3)

    assert [data.get("id") for _, data in missed] == [*(one["id"] for one in reversed(newer)), None]
    async with (
        asyncio.timeout(SECONDS),
        live.stream("GET", "/notifications/stream", headers=mine | {"Last-Event-ID": "nonsense"}) as stream,
    ):
        assert [name for name, _ in await read(stream.aiter_lines(), 1)] == ["unread"]
