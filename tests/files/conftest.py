"""The files service under test: on SQLite and PostgreSQL with disk storage, and on SQLite with S3."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.files.app import create_app
from services.files.settings import Settings
from shared.ids import new_id
from shared.testing import running
from tests import databases, moto

MIB = 1 << 20
FILE_BYTES_MAX, QUOTA_BYTES, QUOTA_FILES = 2 * MIB, 4 * MIB, 50


@pytest.fixture(scope="package")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of moto's S3 server."""
    with moto.serving(tmp_path_factory.mktemp("s3")) as address:
        yield address


@pytest.fixture
def s3_settings(s3_server: str) -> dict[str, Any]:
    """The settings of a new bucket."""
    bucket = f"b-{new_id()}"
    settings = {
        "storage_type": "s3",
        "s3_bucket": bucket,
        "s3_prefix": "blobs/",
        "s3_endpoint_url": s3_server,
        "s3_access_key": "test",
        "s3_secret_key": "test",
    }
    httpx.put(f"{s3_server}/{bucket}").raise_for_status()  # moto requires no signature
    return settings


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test on every kind of storage, or on those that its class or module lists in STORAGE."""
    if "storage" in metafunc.fixturenames:
        kinds = getattr(metafunc.module, "STORAGE", ("sqlite", "postgresql", "s3"))
        metafunc.parametrize("storage", getattr(metafunc.cls, "STORAGE", kinds), indirect=True)


@pytest.fixture
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """The settings of a database and a storage; a test that uses them runs once on each kind."""
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_database")
        databases.clear_database(url)
        return {"database_url": url}
    local = {"database_url": f"sqlite:///{tmp_path}/test.db"}
    return local | request.getfixturevalue("s3_settings") if request.param == "s3" else local


@pytest.fixture
def make_files_settings(make_settings: Callable[..., Any]) -> Callable[..., Settings]:
    def make(**values: Any) -> Settings:
        limits = {"max_file_size": FILE_BYTES_MAX, "quota_bytes": QUOTA_BYTES, "quota_files": QUOTA_FILES}
        made: Settings = make_settings(Settings, **{**limits, **values})
        return made

    return make


@pytest.fixture
def settings(make_files_settings: Callable[..., Settings], storage: dict[str, Any]) -> Settings:
    return make_files_settings(**storage)


@pytest.fixture
async def files(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app, settings) as client:
        yield client


@pytest.fixture
def disk_settings(make_files_settings: Callable[..., Settings], tmp_path: Path) -> Settings:
    """Settings for tests that inspect or damage files on the disk."""
    return make_files_settings(database_url=f"sqlite:///{tmp_path}/test.db")


@pytest.fixture
async def disk_files(disk_settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app, disk_settings) as client:
        yield client
