"""The suite on three PostgreSQL servers of which one fails: Patroni replaces it, and nothing is lost."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gatehouse import cli, programs
from tests import databases, support
from tests.chaos.__main__ import RATE, _product, _signed_in
from tests.chaos.people import Gateways, People
from tests.chaos.reconciliation import reconcile
from tests.notifications import smtp
from tests.suite.conftest import ROOT, Suite, running_suite
from tests.suite.patroni import Cluster, cluster

pytestmark = [pytest.mark.prove, pytest.mark.long(2), pytest.mark.timeout(900)]

BACK_SECONDS = 90  # until orders are accepted again; on a free machine it takes 3 to 25 s
LOAD_SECONDS = support.length(5)  # before and after each fault


@dataclass
class Scene:
    """What people use, and what is compared afterwards."""

    suite: Suite
    postgresql: Cluster
    mails: smtp.Server
    databases: dict[str, str]

    @property
    def services(self) -> list[str]:
        return sorted(self.databases)

    @property
    def urls(self) -> list[str]:
        return [self.suite.url]


@contextmanager
def scene(folder: Path) -> Iterator[Scene]:
    with cluster() as postgresql, support.redis_server() as redis, smtp.serving() as mails:
        urls: dict[str, str] = {}
        for name in programs.find(ROOT).keys() - {programs.GATEWAY}:
            databases.migrate(postgresql.create(name), ROOT / "services" / name / "migrations")
            urls[name] = postgresql.url(name)
        settings = {
            **{f"{name.upper()}_DATABASE_URL": url for name, url in urls.items()},
            "REDIS_URL": redis.url,
            "DATABASE_POOL": "4",
            "NOTIFICATIONS_SMTP_URL": f"smtp://127.0.0.1:{mails.port}",
            "NOTIFICATIONS_MAIL_FROM": "no-reply@example.com",
            "LOG_FORMAT": "json",
        }
        with running_suite(folder, settings) as suite:
            yield Scene(suite, postgresql, mails, urls)


async def test_services_follow_the_primary_and_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scene(tmp_path / "suite") as built:
        client = Gateways(built.urls)
        admin = await _signed_in(client)
        product_id = await _product(client, admin)
        people = People(client, 15, product_id)
        await people.prepare(8)
        stopped = asyncio.Event()
        load = asyncio.create_task(people.until_stopped(RATE, stopped))
        try:
            for name, happens in _faults(built.postgresql).items():
                await _broken(built, people, name, happens)
        finally:
            stopped.set()
        await load
        faults = await reconcile(built, people, await _signed_in(client), product_id)
        client.close()
        assert faults == []
        assert people.acknowledged.orders

        for name, value in built.suite.environment.items():
            monkeypatch.setenv(name, value)
        backup = ["backup", "--to", str(tmp_path / "backups"), "--without-secrets"]
        assert await asyncio.to_thread(cli.main, backup) == 0, "programs of PostgreSQL read the same URL"


def _faults(postgresql: Cluster) -> dict[str, Callable[[], None]]:
    """Each happens to the primary of its moment."""

    def handed_over() -> None:
        postgresql.primary.hand_over(postgresql.synchronous())

    def server_killed() -> None:
        postgresql.primary.kill_server()

    def all_killed() -> None:
        postgresql.primary.kill()

    return {
        "another server becomes the primary": handed_over,
        "kill -9 the primary": server_killed,
        "kill -9 the primary and its Patroni": all_killed,
    }


async def _broken(built: Scene, people: People, name: str, happens: Callable[[], None]) -> None:
    """Cause a fault under load, and wait until people can order again, at another server."""
    await asyncio.to_thread(built.postgresql.until_whole)
    await asyncio.sleep(LOAD_SECONDS)
    before, refused = built.postgresql.primary.name, people.acknowledged.refused.total()
    began = time.monotonic()
    await asyncio.to_thread(happens)
    async with asyncio.timeout(BACK_SECONDS):
        await people.place_one()
    seconds, refused = time.monotonic() - began, people.acknowledged.refused.total() - refused
    sys.stderr.write(f"{name}: orders again after {seconds:.1f} s, {refused} refused meanwhile\n")
    await asyncio.sleep(LOAD_SECONDS)
    assert built.postgresql.primary.name != before, f"{name}: nothing happened"
