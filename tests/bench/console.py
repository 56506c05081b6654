"""`python -m tests.bench.console`: how long the console's first screens take on a six times slower CPU.

A figure is the time from the start of the navigation until the data of the screen is there. `first` is with
an empty cache of the browser; `again` and `blank` are medians of five visits. A blank page of the same server
is measured in between, because the browser itself needs some time. Compare the differences.
"""

import asyncio
import tempfile
from pathlib import Path

from tests.suite.accounts import register
from tests.suite.conftest import running_suite
from tests.suite.console.conftest import browser_at
from tests.suite.console.seeding import place_order

PLACES = {"/console": ".tile .fig", "/console/orders": ".rowlink", "/console/users": ".rowlink"}
ORDERS = 20
WANTED_MS = 1_500


async def measure(folder: Path) -> None:
    with running_suite(folder / "suite") as suite:
        browser = browser_at(suite, folder, looks=False)
        async with browser.client() as client:
            person = await register(client)
            for number in range(ORDERS):
                await place_order(client, person.headers, f"Chair {number}")
        speeds = (await browser.go("speed", places=list(PLACES.items())))["speeds"]
    print(f"{'':<20}{'first':>8}{'again':>8}{'blank':>8}   wanted: at most {WANTED_MS} ms more than blank")
    for place, ms in speeds.items():
        print(f"{place:<20}{ms['first']:>8}{ms['again']:>8}{ms['blank']:>8}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as given:
        asyncio.run(measure(Path(given)))
