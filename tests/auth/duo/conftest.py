from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest

from services.auth.app import create_app
from services.auth.settings import Settings
from shared.testing import running
from tests.auth.duo.double import IKEY, SKEY, FakeDuo, serving


@pytest.fixture(scope="session")
def one_duo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeDuo]:
    with serving(tmp_path_factory.mktemp("duo")) as duo:
        yield duo


@pytest.fixture
def duo(one_duo: FakeDuo) -> Iterator[FakeDuo]:
    yield one_duo
    one_duo.reset()


def configured(duo: FakeDuo) -> dict[str, Any]:
    return {
        "duo_ikey": IKEY,
        "duo_skey": SKEY,
        "duo_api_hostname": duo.host,
        "outbound_ca_file": duo.ca,
    }


@pytest.fixture
async def auth(make_auth_settings: Callable[..., Settings], duo: FakeDuo) -> AsyncIterator[httpx.AsyncClient]:
    """The service with Duo, and a browser that has not been there yet."""
    async with running(create_app, make_auth_settings(**configured(duo))) as client:
        yield client
