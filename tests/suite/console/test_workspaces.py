"""WorkSpaces in the console, with the machines of the invented company."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.suite.accounts import sign_in_admin
from tests.suite.conftest import Suite, running_suite
from tests.suite.console.conftest import Browser

pytestmark = [pytest.mark.prove, pytest.mark.long(1.5), pytest.mark.timeout(1200)]

FIRST_SYNC_SECONDS = 600  # a year of bills and hours of 300 machines


@pytest.fixture
def browser_of_demo(browser_of: Callable[[Suite], Browser], tmp_path: Path) -> Iterator[Browser]:
    with running_suite(tmp_path / "demo", {"INVENTORY_DEMO": "on"}) as suite:
        yield browser_of(suite)


async def first_sync(client: httpx.AsyncClient) -> None:
    """Wait until the first sync has read everything and found what could be saved."""
    headers = (await sign_in_admin(client)).headers
    async with asyncio.timeout(FIRST_SYNC_SECONDS):
        while not any(one["finished"] for one in (await client.get("/sync/history", headers=headers)).json()):  # noqa: ASYNC110
            await asyncio.sleep(1)


async def test_people_ask_about_machines_and_decide_on_advice(browser_of_demo: Browser) -> None:
    async with browser_of_demo.client() as client:
        await first_sync(client)

    seen = await browser_of_demo.go("workspaces")

    assert seen["steps"] == [
        "saw the cost as a chart and as a table",
        "asked, and took one of the filters away",
        "found a machine and what it costs",
        "dismissed advice and opened it again",
        "synced",
        "saw the list fail and come back",
    ]
