"""What tests of every service use."""

import gc
import ssl
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pytest
import structlog
from pydantic import TypeAdapter

from shared import testing
from shared.http import endpoints
from shared.http.operations import Signature
from shared.ids import new_id
from shared.process.settings import ProcessSettings, ServiceSettings
from shared.testing import TEST_INTERNAL_SECRET, TEST_JWT_SECRET
from tests import databases, support

S = TypeVar("S", bound=ProcessSettings)


def pytest_configure() -> None:
    """Leave out what takes longer than most tests: to draw the variables of every call of what fails."""
    *before, _ = structlog.get_config()["processors"]
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*before, plain])
    # Every client reads the certificates of the whole world, which takes longer than most tests, too.
    ssl.create_default_context = cache(ssl.create_default_context)  # type: ignore[assignment]
    # A process makes one application; here every test makes one, of the same few operations.
    Signature.of = cache(Signature.of)  # type: ignore[method-assign]
    vars(endpoints)["TypeAdapter"] = cache(TypeAdapter)
    vars(testing)["upgrade"] = databases.upgrade_unless_migrated
    # httpx looks for it several times in each request, and in the whole path.
    sys.modules.setdefault("sniffio", None)  # type: ignore[arg-type]


def pytest_collection_finish() -> None:
    """Spare the garbage collector the thousands of tests that stay until the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    with support.postgresql() as url:
        yield url


@pytest.fixture(scope="session")
def postgresql_database(postgresql_server: str) -> Iterator[str]:
    with (
        support.new_database(postgresql_server, f"test_{new_id()}") as url,
        databases.kept_connection(url),
    ):
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database; a test that asks for it runs once on each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/test.db"
        return
    url: str = request.getfixturevalue("postgresql_database")
    clear = databases.clear_database if "make_settings" in request.fixturenames else databases.empty_database
    clear(url)
    yield url


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Any]:
    """Settings of a service under test: HS256 tokens, its own folder, nothing from the environment."""

    def make(settings_class: type[S], **values: Any) -> S:
        settings = settings_class(
            **{
                "data_dir": tmp_path,
                "jwt_secret": TEST_JWT_SECRET,
                "internal_secret": TEST_INTERNAL_SECRET,
                **values,
            }
        )
        if isinstance(settings, ServiceSettings):
            databases.migrate(settings.database_url, settings.migrations())
        return settings

    return make
