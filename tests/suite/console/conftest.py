"""The console in Chromium: one suite for all screens, and a driver that runs the journeys of one of them."""

import asyncio
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import support
from tests.suite.conftest import Suite, running_suite

PACKAGES = ("playwright-core@1.65.1", "axe-core@4.14.1")
FOLDER = Path(__file__).parent
SECONDS = 280
ADMIN = ("admin", "admin123")


@dataclass(frozen=True)
class Browser:
    """Works with the console of a running suite."""

    suite: Suite
    node: str
    chromium: str
    packages: Path

    def client(self, **options: Any) -> httpx.AsyncClient:
        return self.suite.client(**options)

    async def go(self, journey: str, **given: Any) -> dict[str, Any]:
        """Run `<journey>.cjs`; return what it saw after checking that nothing was wrong with any screen."""
        given |= {
            "journey": str(FOLDER / f"{journey}.cjs"),
            "chromium": self.chromium,
            "url": self.suite.url,
            "admin": ADMIN,
            "shots": os.environ.get("SHOTS", ""),
            "length": support.length(1),
        }
        process = await asyncio.create_subprocess_exec(
            self.node,
            str(FOLDER / "driver.cjs"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "NODE_PATH": str(self.packages / "node_modules")},
        )
        try:
            async with asyncio.timeout(support.length(SECONDS)):
                output, faults = await process.communicate(json.dumps(given).encode())
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode == 0, faults.decode()
        seen: dict[str, Any] = json.loads(output)
        assert (seen["faults"], seen["violations"], seen["wide"], seen["pwned"]) == ([], [], [], [])
        return seen


@pytest.fixture(scope="package")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    (chromium,) = support.need("chromium")
    packages = tmp_path_factory.mktemp("browser")
    node = support.install_from_npm(packages, *PACKAGES)
    with running_suite(tmp_path_factory.mktemp("console")) as suite:
        yield Browser(suite, node, chromium, packages)
