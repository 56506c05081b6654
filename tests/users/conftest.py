from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.users.app import create_app
from services.users.settings import Settings
from shared.testing import bearer, internal_token, running
from tests.users.support import StartUsers, serving_auth


@pytest.fixture(scope="package")
def auth_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The real auth service, shared by all tests; each creates its own accounts."""
    with serving_auth(tmp_path_factory.mktemp("auth")) as url:
        yield url


@pytest.fixture
def empty_auth_url(tmp_path: Path) -> Iterator[str]:
    """Another real auth service, which has only the first admin."""
    with serving_auth(tmp_path / "auth") as url:
        yield url


@pytest.fixture
async def auth(auth_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of auth's internal API with a service token."""
    async with httpx.AsyncClient(base_url=auth_url, headers=bearer(internal_token("auth"))) as client:
        yield client


@pytest.fixture
async def empty_auth(empty_auth_url: str) -> AsyncIterator[httpx.AsyncClient]:
    headers = bearer(internal_token("auth"))
    async with httpx.AsyncClient(base_url=empty_auth_url, headers=headers) as client:
        yield client


@pytest.fixture
def start_users(make_settings: Callable[..., Any], database_url: str) -> StartUsers:
    """Starts users services that share one database, with the auth service at the given URL."""

    def start(auth_url: str) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        return running(create_app, make_settings(Settings, database_url=database_url, auth_url=auth_url))

    return start


@pytest.fixture
async def users(start_users: StartUsers, auth_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with start_users(auth_url) as client:
        yield client
