"""Fifty at once, at two processes on one database: one statement decides, whichever process it comes from."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import databases
from tests.auth.oauth.support import (
    code_for,
    create_client,
    is_active,
    redeem,
    refresh,
    signed_in_browser,
    tokens_for,
)
from tests.shared.processes import ROOT, SECONDS_MAX, service_environment, started
from tests.support import eventually, free_port
from tests.users.support import is_ready

pytestmark = pytest.mark.prove
AT_ONCE = 50
ROUNDS = 4


@pytest.fixture
async def two(tmp_path: Path, database_url: str) -> AsyncIterator[list[httpx.AsyncClient]]:
    """A client of each of two processes that share a database."""
    databases.migrate(database_url, ROOT / "services" / "auth" / "migrations")
    with ExitStack() as processes:
        urls = []
        for _ in range(2):
            port = free_port()
            more = {"DATABASE_URL": database_url, "BCRYPT_COST": "4", "JWT_SECRET": ""}
            environment = service_environment(tmp_path, port, **more)
            running = processes.enter_context(started("-m", "services.auth", environment=environment))
            url = f"http://127.0.0.1:{port}"
            assert eventually(partial(is_ready, url), seconds=SECONDS_MAX), running.output
            urls.append(url)
        async with AsyncExitStack() as clients:
            yield [
                await clients.enter_async_context(httpx.AsyncClient(base_url=url, timeout=60)) for url in urls
            ]


async def test_one_of_fifty_redemptions_wins_and_the_reuse_revokes_it(two: list[httpx.AsyncClient]) -> None:
    first = two[0]
    client = await create_client(first)
    await signed_in_browser(first)
    for _ in range(ROUNDS):
        code = await code_for(first, client)
        places = cycle(two)
        responses = await asyncio.gather(*(redeem(next(places), client, code) for _ in range(AT_ONCE)))
        won = [one.json() for one in responses if one.status_code == 200]

        assert [one.status_code for one in responses].count(400) == AT_ONCE - 1
        assert len(won) == 1
        assert not await is_active(first, client, won[0]["refresh_token"])


async def test_fifty_refreshes_get_one_successor(two: list[httpx.AsyncClient]) -> None:
    first = two[0]
    client = await create_client(first)
    await signed_in_browser(first)
    tokens: dict[str, Any] = await tokens_for(first, client)
    token = tokens["refresh_token"]
    for _ in range(ROUNDS):
        places, asked = cycle(two), token
        responses = await asyncio.gather(*(refresh(next(places), client, asked) for _ in range(AT_ONCE)))
        successors = {one.json().get("refresh_token") for one in responses}

        assert {one.status_code for one in responses} == {200}
        assert len(successors) == 1
        (token,) = successors
