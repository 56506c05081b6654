"""The page at /terminal/ in a real browser: its screen survives a network outage and a reload."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests import support
from tests.suite.accounts import PASSWORD, register
from tests.suite.conftest import Suite

pytestmark = pytest.mark.prove

PACKAGE = "playwright-core@1.65.1"
SCRIPT = Path(__file__).with_name("terminal_browser.cjs")
SECONDS = 180
OFFLINE_SECONDS = 10


async def test_screen_survives_a_network_outage_and_a_reload(suite: Suite, tmp_path: Path) -> None:
    (chromium,) = support.need("chromium")
    node = support.install_from_npm(tmp_path, PACKAGE)
    async with suite.client() as client:
        person = await register(client)
    script = tmp_path / SCRIPT.name
    script.write_text(SCRIPT.read_text())  # next to the package that it loads
    words = [chromium, str(suite.ports["gateway"]), person.email, PASSWORD, str(OFFLINE_SECONDS)]
    done = subprocess.run(  # noqa: ASYNC221 - nothing else runs meanwhile
        [node, str(script), *words], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)

    assert seen["faults"] == []
    sizes = [
        tuple(map(int, re.findall(r"^(\d+) (\d+)$", seen[name], re.MULTILINE)[-1]))
        for name in ("before", "after")
    ]
    assert sizes[0][0] > sizes[1][0]
    assert sizes[0][1] > sizes[1][1]
    numbers = [int(one) for one in re.findall(r"行(\d+)", seen["whole"])]
    assert len(numbers) > 5
    assert numbers == list(range(numbers[0], 61))
    assert seen["reloaded"] == seen["shown"]
    (leased,) = seen["leased"]
    assert leased.startswith("8123 no program listens")
    assert "Only you can open it" in leased
