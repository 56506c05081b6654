"""BACKGROUND=off: a restored copy responds to requests, and does nothing else."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest

from shared.data.database import Database
from shared.peers.client import HttpClient
from shared.service import create_service
from shared.testing import running
from tests.shared.work.app import Settings


@pytest.mark.parametrize(("background", "expected"), [("on", ["began", "ended"]), ("off", [])])
async def test_background_work_runs_only_if_it_is_on(
    make_settings: Callable[..., Any], background: Literal["on", "off"], expected: list[str]
) -> None:
    happened: list[str] = []

    @asynccontextmanager
    async def work() -> AsyncIterator[None]:
        happened.append("began")
        yield
        happened.append("ended")

    def create_app(settings: Settings) -> Any:
        database = Database(settings.database_url)
        return create_service(settings, [], client=HttpClient(), database=database, beside=[work()])

    async with running(create_app, make_settings(Settings, background=background)) as client:
        assert (await client.get("/health/ready")).status_code == 200
    assert happened == expected
