"""Every screen of the console in forced colours and with reduced motion."""

import re
from pathlib import Path

import pytest

from tests.suite.console.conftest import Browser

pytestmark = pytest.mark.prove

APP = Path(__file__).parents[3] / "gateway" / "console" / "app.js"


async def test_focus_is_visible_in_forced_colours(browser: Browser) -> None:
    screens = re.findall(r'^  \{ name: "(\w+)"', APP.read_text(), re.MULTILINE)
    assert len(screens) > 15

    seen = await browser.go("sight", screens=screens)

    assert seen["steps"] == [
        f"saw the focus on {len(screens)} screens",
        "saw a list wait without motion",
    ]
