"""OAuth clients in the console."""

import pytest

from tests.suite.console.conftest import Browser

pytestmark = pytest.mark.prove


async def test_admins_manage_the_life_of_a_client(browser: Browser) -> None:
    seen = await browser.go("clients", planted="<script>window.pwned = 1</script>")

    assert seen["steps"] == [
        "registered a program, whose secret was shown once",
        "made a second secret while the first one still works",
        "disabled it and enabled it again",
        "deleted it",
        "saw auth fail and come back",
    ]
