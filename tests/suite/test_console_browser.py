"""The console in Chromium: every screen for each role, with axe-core, planted scripts, and a budget."""

import json
import os
import subprocess
from pathlib import Path

import httpx
import pytest

from tests import support
from tests.suite.accounts import PASSWORD, register
from tests.suite.conftest import running_suite

pytestmark = pytest.mark.prove

PACKAGES = ("playwright-core@1.65.1", "axe-core@4.14.1")
SCRIPT = Path(__file__).with_name("console_browser.cjs")
SECONDS = 280
ORDERS = 130
PLANTED = ("<script>window.pwned = 1</script>", '"><img src=x onerror="window.pwned = 1">', "{{7*7}}${7*7}")
BYTES_MAX, REQUESTS_MAX = 60_000, 25


async def test_people_work_in_the_console(tmp_path: Path) -> None:
    (chromium,) = support.need("chromium")
    node = support.install_from_npm(tmp_path, *PACKAGES)
    script = tmp_path / SCRIPT.name
    script.write_text(SCRIPT.read_text())  # next to the packages that it loads
    with running_suite(tmp_path / "data") as suite:
        async with suite.client() as client:
            person = await register(client)
            await _plant(client)
        given = {
            "chromium": chromium,
            "url": suite.url,
            "user": [person.email, PASSWORD],
            "admin": ["admin", "admin123"],
            "orders": ORDERS + 2,
            "planted": PLANTED,
            "shots": os.environ.get("SHOTS", ""),
        }
        done = subprocess.run(  # noqa: ASYNC221 - nothing else runs meanwhile
            [node, str(script)],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)

    assert (seen["faults"], seen["violations"], seen["wide"], seen["pwned"]) == ([], [], [], [])
    for place, load in seen["loads"].items():
        assert load["bytes"] <= BYTES_MAX, place
        assert load["requests"] <= REQUESTS_MAX, place
    assert seen["rows"] < ORDERS
    assert seen["steps"] == [
        "came back after signing in",
        "placed an order by keyboard",
        "cancelled it",
        "went from a notification to its order",
        "used the palette",
        "saw their own records",
        "kept the draft over an expired session",
        "signed out",
        "scrolled through all orders",
        "confirmed an order, and was told that it had changed",
        "was told of a new order above the others",
        "followed a thing through the audit log",
        "suspended an account and activated it again",
        "saw a service fail and come back",
    ]


async def _plant(client: httpx.AsyncClient) -> None:
    """Place the orders of somebody whose products have names like scripts."""
    other = (await register(client)).headers
    for number in range(ORDERS):
        body = {"product_name": PLANTED[number % len(PLANTED)], "quantity": number + 1, "total_price": 10}
        assert (await client.post("/orders", json=body, headers=other)).status_code == 201
