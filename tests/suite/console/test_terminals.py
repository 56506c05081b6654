"""The terminals of the console: shells, tabs and workspace files."""

import pytest

from tests.suite.accounts import PASSWORD, register
from tests.suite.console.conftest import Browser

pytestmark = pytest.mark.prove

RED_AND_BLUE = {
    "rgb(179, 38, 30)": "rgb(0, 90, 200)",
    "rgb(255, 143, 133)": "rgb(0, 90, 200)",
}


async def test_people_work_in_shells_that_outlive_the_page(browser: Browser) -> None:
    async with browser.client() as client:
        person = await register(client)

    seen = await browser.go("terminals", user=[person.email, PASSWORD])

    assert seen["steps"] == [
        "worked in a shell by keyboard, and left it",
        "saw colours, and a title as text",
        "lost nothing when the connection and the page were gone",
        "went on after Back",
        "edited a file that changed meanwhile, and took back its removal",
        "opened, named and ended a second shell",
        "started again after the end",
    ]
    assert seen["early"] == []
    red, blue = seen["colours"]
    assert red in RED_AND_BLUE
    assert blue != red
