"""Settings in the console."""

import pytest

from tests.suite.accounts import PASSWORD, register
from tests.suite.console.conftest import Browser
from tests.suite.console.seeding import PLANTED

pytestmark = pytest.mark.prove


async def test_settings_are_changed_and_sealed_ones_stay_secret(browser: Browser) -> None:
    async with browser.client() as client:
        person = await register(client)

    seen = await browser.go(
        "settings", user=[person.email, PASSWORD], planted=PLANTED, secret="correct horse battery"
    )

    assert seen["steps"] == [
        "changed a known setting, and was told that it had changed",
        "stored a sealed setting, and deleted it",
        "saw the service fail and come back",
        "kept a setting of their own",
    ]
