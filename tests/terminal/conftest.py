"""One service per database for all tests; each test has its own account and box."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
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


@contextmanager
def running(folder: Path, **more: str) -> Iterator[Service]:
    settings = {"TERMINALS_PER_USER": "3", "VIEWERS_PER_TERMINAL": "3", "BOXES_MAX": "200"}
    settings |= {"UPLOAD_MAX": str(4 << 20), "HOME_BYTES": str(10 << 20)}
    started = Service(folder, **settings, **more)
    try:
        started.start()
        yield started
    finally:
        started.close()


@pytest.fixture(scope="session")
def sqlite_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("terminal")) as started:
        yield started


@pytest.fixture(scope="session")
def postgresql_service(postgresql_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with (
        support.new_database(postgresql_server, f"terminal_{new_id()}") as url,
        running(tmp_path_factory.mktemp("terminal"), DATABASE_URL=url) as started,
    ):
        yield started


@pytest.fixture(scope="module")
def service(request: pytest.FixtureRequest) -> Service:
    """The running service: starting one takes longer than most tests."""
    started: Service = request.getfixturevalue(f"{request.param}_service")
    return started


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
