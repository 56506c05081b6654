"""The gateway in the console."""

import pytest

from tests.suite.accounts import PASSWORD, register
from tests.suite.conftest import Suite
from tests.suite.console.conftest import Browser

pytestmark = pytest.mark.prove


def store_backup(suite: Suite) -> None:
    folder = suite.data_dir / "backups"
    folder.mkdir(exist_ok=True)
    (folder / "gatehouse-2026-01-01T03-00-00Z.tar").write_bytes(b"backup")


async def test_admins_see_the_gateway_and_ask_why_it_refuses(browser: Browser, console_suite: Suite) -> None:
    async with browser.client() as client:
        person = await register(client)

    store_backup(console_suite)
    seen = await browser.go("gateway", user=[person.email, PASSWORD])

    assert seen["steps"] == [
        "asked why a request is refused, and kept the question in the address",
        "found a route",
        "looked at targets, limits, errors and backups",
        "saw it fail and come back",
        "is not there for users",
    ]
