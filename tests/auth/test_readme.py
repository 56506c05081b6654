"""The README of auth matches the code."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

import services.auth.routes
from services.auth.credentials.devices import DEVICES_PER_ACCOUNT_MAX, KEPT
from services.auth.credentials.throttle import (
    BLOCK_SECONDS_MAX,
    FORGOTTEN_AFTER,
    FREE_FAILURES,
    ROWS_MAX,
    STRANGERS_AT_ONCE,
    STRANGERS_INTERVAL,
)
from services.auth.routes import OPERATIONS
from services.auth.settings import Settings
from shared.http.operations import Operation

README = (Path(services.auth.routes.__file__).parent / "README.md").read_text()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_described(name: str) -> None:
    assert f"`{name.upper()}`" in README


@pytest.mark.parametrize(
    "name",
    [
        "port",
        "access_token_seconds",
        "refresh_idle_seconds",
        "refresh_absolute_seconds",
        "refresh_grace_seconds",
        "bcrypt_cost",
        "admin_username",
        "admin_email",
    ],
)
def test_described_defaults_are_the_real_ones(name: str) -> None:
    [told] = re.findall(rf"^\| `{name.upper()}` \| `?([^|`]+)`? \|", README, re.MULTILINE)

    assert told.strip() == str(Settings.model_fields[name].default)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_endpoint_is_described(operation: Operation) -> None:
    assert f"| `{operation.method} {operation.path}` |" in README


def test_every_described_endpoint_exists() -> None:
    told = set(re.findall(r"^\| `([A-Z]+ /\S+)` \|", README, re.MULTILINE))

    assert told == {f"{operation.method} {operation.path}" for operation in OPERATIONS}


def test_described_throttling_matches_the_constants() -> None:
    assert (FREE_FAILURES, FORGOTTEN_AFTER.days, BLOCK_SECONDS_MAX) == (5, 1, 15 * 60)
    assert "fails five times at one account is blocked there" in README
    assert "at most 15 minutes" in README
    assert (100, timedelta(minutes=5)) == (STRANGERS_AT_ONCE, STRANGERS_INTERVAL)
    assert "100 at once and then\n  one every 5 minutes" in README
    assert (DEVICES_PER_ACCOUNT_MAX, KEPT.days, ROWS_MAX) == (20, 180, 100_000)
    assert all(words in README for words in ("20 last used devices", "180 days", "100,000 rows"))
