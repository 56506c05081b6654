import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest

from services.auth.app import create_app
from services.auth.settings import Settings
from shared.testing import running
from tests.auth.providers.double import CLIENT, SECRET, Double, serving


@pytest.fixture(scope="session")
def one_double() -> Iterator[Double]:
    with serving() as double:
        yield double


@pytest.fixture
def double(one_double: Double) -> Iterator[Double]:
    yield one_double
    one_double.reset()


def configured(double: Double, **more: Any) -> dict[str, dict[str, Any]]:
    """Three providers, one of each kind: `acme` is not trusted with addresses, `google` is."""
    client = {"client_id": CLIENT, "client_secret": SECRET}
    acme = {"issuer": double.issuer("acme"), **client, **more}
    google = {"issuer": double.issuer("google"), "short_callback": True, **client}
    github = {"issuer": double.issuer("github"), "api_url": double.issuer("github"), **client}
    return {"acme": acme, "google": google, "github": github}


@pytest.fixture
def provider_settings(make_auth_settings: Callable[..., Settings], double: Double) -> Callable[..., Settings]:
    def make(providers: dict[str, dict[str, Any]] | None = None, **values: Any) -> Settings:
        document = providers or configured(double)
        return make_auth_settings(providers=json.dumps(document), **values)

    return make


@pytest.fixture
async def auth(provider_settings: Callable[..., Settings]) -> AsyncIterator[httpx.AsyncClient]:
    """The service with three providers, and a browser that has not been there yet."""
    async with running(create_app, provider_settings()) as client:
        yield client
