"""Fixtures shared by the tests of all parts."""

import gc
import re
import ssl
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import hypothesis
import pytest
import structlog
from hypothesis import HealthCheck
from pydantic import TypeAdapter
from starlette import routing

from shared import testing
from shared.http import endpoints
from shared.http.operations import Signature
from shared.ids import new_id
from shared.process import settings as settings_module
from shared.process.guessable import is_guessable
from shared.process.settings import ProcessSettings, ServiceSettings
from shared.testing import TEST_INTERNAL_SECRET, TEST_JWT_SECRET
from tests import bytecode, connections, databases, support, watchdog

pytest_plugins = ["tests.halves", "tests.longest", "tests.conformance"]

ALL_PROVE = re.compile(r"^pytestmark = \[?pytest\.mark\.prove\b", re.MULTILINE)
S = TypeVar("S", bound=ProcessSettings)


def pytest_configure(config: pytest.Config) -> None:
    """Skip slow work: rendering the local variables of every frame in tracebacks."""
    *before, _ = structlog.get_config()["processors"]
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*before, plain])
    # Every client loads the whole CA bundle, which takes longer than most tests.
    ssl.create_default_context = cache(ssl.create_default_context)  # type: ignore[assignment]
    # Normally a process builds one application; here every test does, from the same few operations.
    Signature.of = cache(Signature.of)  # type: ignore[method-assign]
    vars(endpoints)["TypeAdapter"] = cache(TypeAdapter)
    vars(routing)["compile_path"] = cache(routing.compile_path)
    vars(settings_module)["is_guessable"] = cache(is_guessable)
    vars(testing)["upgrade"] = databases.upgrade_unless_migrated
    databases.share_compiled_statements()
    connections.keep_sessions()
    if (config.getoption("numprocesses", None) or 0) > 1:  # workers do not have it
        bytecode.compile_all(config)
    else:
        gc.disable()  # until the tests are collected: nearly all that is imported and collected stays
    watchdog.guard()
    # A busy machine makes any example slow.
    hypothesis.settings.register_profile(
        "any speed", deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("any speed")
    # httpx tries to import it several times per request, searching all of sys.path.
    sys.modules.setdefault("sniffio", None)  # type: ignore[arg-type]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import modules all of whose tests are marked, in a run without these tests."""
    is_quick = config.getoption("markexpr").startswith("not prove")
    is_module = is_quick and collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    return True if is_module and ALL_PROVE.search(collection_path.read_text()) else None


def pytest_collection_finish() -> None:
    """Freeze the thousands of collected tests so that no garbage collection scans them."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def exchange(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Migrate the databases of each service once in a run, not once in each worker."""
    if hasattr(pytestconfig, "workerinput"):  # elsewhere, the directory above is shared by all runs
        databases.exchange_in(tmp_path_factory.getbasetemp().parent / "migrated")


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
    """An empty database; tests that use it run once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/test.db"
        return
    url: str = request.getfixturevalue("postgresql_database")
    clear = databases.clear_database if "make_settings" in request.fixturenames else databases.empty_database
    clear(url)
    yield url


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Any]:
    """A factory of settings: HS256 tokens, a temporary directory, nothing from the environment."""

    def make(settings_class: type[S], **values: Any) -> S:
        given = {
            "data_dir": tmp_path,
            "jwt_secret": TEST_JWT_SECRET,
            "internal_secret": TEST_INTERNAL_SECRET,
            **values,
        }
        only_given = classmethod(lambda _cls, _kind, **sources: (sources["init_settings"],))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ProcessSettings, "settings_customise_sources", only_given)
            settings = settings_class(**given)
        if isinstance(settings, ServiceSettings):
            databases.migrate(settings.database_url, settings.migrations())
        return settings

    return make
