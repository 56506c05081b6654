import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp

from services.auth.app import create_app as create_auth
from services.auth.settings import Settings as AuthSettings
from services.users.app import create_app
from services.users.settings import Settings
from shared.testing import TEST_INTERNAL_SECRET, TEST_JWT_SECRET, bearer, internal_token, running
from tests.users.support import StartUsers


@pytest.fixture(scope="session")
def auth_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The real auth service, one for all tests: each makes accounts of its own."""
    settings = AuthSettings(
        data_dir=tmp_path_factory.mktemp("auth"),
        jwt_secret=TEST_JWT_SECRET,
        internal_secret=TEST_INTERNAL_SECRET,
        bcrypt_cost=4,
    )
    with serving(create_auth(settings)) as url:
        # Alembic keeps its state in module globals, so two services of one process migrate one by one.
        assert httpx.get(f"{url}/health/ready", timeout=60).status_code == 200
        yield url


@pytest.fixture
async def auth(auth_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Auth's internal API, called as another service would."""
    async with httpx.AsyncClient(base_url=auth_url, headers=bearer(internal_token("auth"))) as client:
        yield client


@pytest.fixture
def start_users(make_settings: Callable[..., Any], database_url: str) -> StartUsers:
    """Starts the users service, all of them on one database, with the auth service at the given address."""

    def start(auth_url: str) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        return running(create_app, make_settings(Settings, database_url=database_url, auth_url=auth_url))

    return start


@pytest.fixture
async def users(start_users: StartUsers, auth_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with start_users(auth_url) as client:
        yield client


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """The application behind a real socket; who connects before it is ready waits in the queue."""
    server = uvicorn.Server(uvicorn.Config(app, lifespan="on", log_config=None, access_log=False))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
