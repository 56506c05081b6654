"""The shell of the console: palette, keys, themes, and signing out."""

import pytest

from tests.suite.accounts import PASSWORD, register
from tests.suite.console.conftest import Browser

pytestmark = pytest.mark.prove


async def test_people_find_their_way_by_palette_and_keys(browser: Browser) -> None:
    async with browser.client() as client:
        person = await register(client)

    seen = await browser.go("shell", user=[person.email, PASSWORD])

    assert seen["steps"] == ["used the palette", "signed out"]
