"""Accounts in the console."""

import pytest

from tests.suite.accounts import PASSWORD, register
from tests.suite.console.conftest import Browser

pytestmark = pytest.mark.prove


async def test_admins_suspend_an_account_and_activate_it(browser: Browser) -> None:
    async with browser.client() as client:
        person = await register(client)

    seen = await browser.go("users", user=[person.email, PASSWORD])

    assert seen["steps"] == ["suspended an account and activated it again"]
