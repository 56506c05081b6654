"""The console in Chromium: one suite for all screens, and a driver that runs the journeys of one of them."""

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

from tests import support
from tests.suite.conftest import Suite, running_suite

PACKAGES = ("playwright-core@1.65.1", "axe-core@4.14.1")
FOLDER = Path(__file__).parent
SECONDS = 280
ADMIN = ("admin", "admin123")


class Site(Protocol):
    """What serves a console: the processes of a suite, or containers."""

    @property
    def url(self) -> str: ...

    def client(self) -> httpx.AsyncClient: ...


@dataclass(frozen=True)
class Browser:
    """Works with the console at one address; `looks` says whether it also checks how each state looks."""

    site: Site
    node: str
    chromium: str
    packages: Path
    admin: tuple[str, str] = ADMIN
    looks: bool = True

    def client(self) -> httpx.AsyncClient:
        return self.site.client()

    async def go(self, journey: str, **given: Any) -> dict[str, Any]:
        """Run `<journey>.cjs`; return what it saw after checking that nothing was wrong with any screen."""
        given |= {
            "journey": str(FOLDER / f"{journey}.cjs"),
            "chromium": self.chromium,
            "url": self.site.url,
            "admin": self.admin,
            "looks": self.looks,
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


def browser_at(site: Site, packages: Path, **options: Any) -> Browser:
    """Install the driver into a folder."""
    (chromium,) = support.need("chromium")
    return Browser(site, support.install_from_npm(packages, *PACKAGES), chromium, packages, **options)


@pytest.fixture(scope="package")
def console_suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """The suite that most journeys share."""
    folder = tmp_path_factory.mktemp("console")
    with running_suite(folder, {"BACKUP_DIR": str(folder / "backups")}) as suite:
        yield suite


@pytest.fixture(scope="package")
def browser_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Suite], Browser]:
    """A browser for any suite."""
    (chromium,) = support.need("chromium")
    packages = tmp_path_factory.mktemp("browser")
    node = support.install_from_npm(packages, *PACKAGES)
    return lambda suite: Browser(suite, node, chromium, packages)


@pytest.fixture(scope="package")
def browser(browser_of: Callable[[Suite], Browser], console_suite: Suite) -> Browser:
    return browser_of(console_suite)
