"""One service for all tests of a module; each test has its own account and box."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from services.terminal.settings import Settings
from shared.data.migrate import upgrade
from shared.ids import new_id
from tests import support
from tests.terminal.support import Owner, Service
from tests.terminal.world import World


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of a module on the databases that it lists in DATABASES, by default on SQLite."""
    if "service" in metafunc.fixturenames:
        kinds = getattr(metafunc.module, "DATABASES", ("sqlite",))
        metafunc.parametrize("service", kinds, indirect=True, scope="module")


@pytest.fixture(scope="module")
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {"TERMINALS_PER_USER": "3", "VIEWERS_PER_TERMINAL": "3", "BOXES_MAX": "200"}
    settings |= {"UPLOAD_MAX": str(4 << 20), "HOME_BYTES": str(10 << 20)}
    with ExitStack() as stack:
        if request.param == "postgresql":
            server = request.getfixturevalue("postgresql_server")
            settings["DATABASE_URL"] = stack.enter_context(
                support.new_database(server, f"terminal_{new_id()}")
            )
        started = Service(tmp_path_factory.mktemp("terminal"), **settings)
        stack.callback(started.close)
        started.start()
        yield started


@pytest.fixture
async def owner(service: Service) -> AsyncIterator[Owner]:
    async with Owner(service.url) as one:
        yield one
        await one.client.post("/terminal/stop")


@pytest.fixture
async def world(make_settings: Callable[..., Any], database_url: str) -> AsyncIterator[World]:
    settings = make_settings(Settings, database_url=database_url, boxes_max=2, idle_seconds=1000)
    upgrade(database_url, settings.migrations())
    made = World(settings)
    async with made.terminals, made.boxes, made.disk_watch:
        yield made
    made.database.close()
