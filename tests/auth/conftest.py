from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from services.auth.app import create_app
from services.auth.keys.signing_keys import thumbprint
from services.auth.settings import Settings
from shared.clock import now
from shared.testing import running
from tests.auth.mailbox import Mailbox

KEY_SECRET = "e4c1a7d2095b4f6e8d30b9c2f7a16588"


@cache
def _one_key(public_exponent: int, key_size: int) -> rsa.RSAPrivateKey:
    while True:  # until auth accepts the key: it would be given the same one again
        key = rsa.generate_private_key(public_exponent, key_size)
        if not thumbprint(RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)).startswith("-"):
            return key


@pytest.fixture(autouse=True)
def _quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use one real key in all tests: generating and checking a key takes most of the startup."""
    monkeypatch.setattr("services.auth.keys.signing_keys.generate_private_key", _one_key)
    load = partial(serialization.load_pem_private_key, unsafe_skip_rsa_key_validation=True)
    monkeypatch.setattr("services.auth.keys.signing_keys.serialization.load_pem_private_key", load)


@pytest.fixture(autouse=True)
def _no_predecessor(monkeypatch: pytest.MonkeyPatch) -> None:
    """In these tests no verifiers of an earlier process return to auth, so no response waits for them."""
    monkeypatch.setattr("services.auth.revocations.verifiers.RETURN_SECONDS", 0.0)


class StoppedClock:
    """The clock of the throttle, which stands still so that slow tests behave like fast ones."""

    def __init__(self) -> None:
        self._now = now()

    def __call__(self) -> datetime:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StoppedClock:
    made = StoppedClock()
    monkeypatch.setattr("services.auth.credentials.throttle.now", made)
    return made


@pytest.fixture
def make_auth_settings(make_settings: Callable[..., Any], database_url: str) -> Callable[..., Settings]:
    """Settings of auth: RS256 as by default, and a low bcrypt cost for fast tests."""

    def make(**values: Any) -> Settings:
        defaults = {
            "database_url": database_url,
            "jwt_secret": None,
            "key_secret": KEY_SECRET,
            "bcrypt_cost": 4,
        }
        settings: Settings = make_settings(Settings, **{**defaults, **values})
        return settings

    return make


@pytest.fixture
def mailbox(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Mailbox:
    """The mails of `auth`, whose worker polls without delay."""
    made = Mailbox(database_url)
    made.watch(monkeypatch)
    return made


@pytest.fixture
async def auth(make_auth_settings: Callable[..., Settings]) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app, make_auth_settings()) as client:
        yield client
