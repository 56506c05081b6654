"""A PostgreSQL host that vanishes silently is given up in time, and used again once it is back."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlmodel import Session

from shared.data.database import Database
from shared.data.postgresql import postgresql_options
from shared.errors import Unavailable
from tests import support

GIVEN_UP_SECONDS = 20
LONG_SECONDS = 16  # longer than the timeout for a silent host
HOST, HERE = "10.213.83.2", "10.213.83.1"


class Elsewhere:
    """A PostgreSQL server in its own network, whose packets the test can drop."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._ip, self._filter = support.need("ip", "iptables")
        if os.getuid() != 0:
            support.do_without("only root can create a network namespace")
        self._name, port = f"gatehouse-{os.getpid()}", support.free_port()
        link = f"gh{os.getpid() % 10_000_000}"
        self._run("netns", "add", self._name)
        stack.callback(self._run, "netns", "delete", self._name)
        self._run("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", self._name)
        self._run("address", "add", f"{HERE}/30", "dev", link)
        self._run("link", "set", link, "up")
        self._run("-n", self._name, "address", "add", f"{HOST}/30", "dev", "eth0")
        self._run("-n", self._name, "link", "set", "eth0", "up")
        inside = [self._ip, "netns", "exec", self._name]
        server = support.PostgreSQL(folder, inside=inside, host=HOST, port=port)
        stack.callback(server.stop, signal.SIGINT)  # without waiting for connected clients
        server.start()
        self.url = server.url
        self._inside = inside

    def vanish(self) -> None:
        self._packets("--append")

    def come_back(self) -> None:
        self._packets("--delete")

    def _packets(self, how: str) -> None:
        for chain in ("INPUT", "OUTPUT"):
            command = [*self._inside, self._filter, "--wait", how, chain, "--jump", "DROP"]
            subprocess.run(command, check=True, capture_output=True)

    def _run(self, *words: str) -> None:
        subprocess.run([self._ip, *words], check=True, capture_output=True)


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    with ExitStack() as stack:
        folder = stack.enter_context(support.folder_for_postgresql())
        yield Elsewhere(folder, stack)


def sleep(session: Session, seconds: float) -> None:
    session.connection().execute(text("SELECT pg_sleep(:seconds)"), {"seconds": seconds})


async def outcome(work: Callable[[], object]) -> tuple[str, float]:
    began = time.monotonic()
    try:
        await work()  # type: ignore[misc]
    except Unavailable as error:
        return str(error.status), time.monotonic() - began
    return "done", time.monotonic() - began


@pytest.mark.prove
async def test_database_host_that_vanishes_is_given_up_and_used_again_later(elsewhere: Elsewhere) -> None:
    database = Database(elsewhere.url, pool_size=3)
    assert (await outcome(lambda: database.read(sleep, LONG_SECONDS)))[0] == "done"
    under_way = [asyncio.create_task(outcome(lambda: database.read(sleep, 300))) for _ in range(3)]
    await until_busy(database, 3)

    elsewhere.vanish()
    more = [asyncio.create_task(outcome(lambda: database.read(sleep, 0))) for _ in range(30)]
    for one in [*under_way, *more]:
        status, seconds = await asyncio.wait_for(one, 2 * GIVEN_UP_SECONDS)
        assert status == "503"
        assert seconds < GIVEN_UP_SECONDS
    status, seconds = await outcome(lambda: database.read(sleep, 0))
    assert status == "503"

    elsewhere.come_back()
    async with asyncio.timeout(GIVEN_UP_SECONDS):
        while (await outcome(lambda: database.read(sleep, 0)))[0] != "done":  # noqa: ASYNC110 - another machine
            await asyncio.sleep(0.1)
    database.close()


async def until_busy(database: Database, number: int) -> None:
    async with asyncio.timeout(GIVEN_UP_SECONDS):
        while database.engine.pool.checkedout() < number:  # type: ignore[attr-defined]  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def test_options_in_the_url_take_precedence() -> None:
    url = make_url("postgresql://host/name?tcp_user_timeout=60000&options=-c%20work_mem%3D8MB")
    options = postgresql_options(url)

    assert "tcp_user_timeout" not in options
    assert options["connect_timeout"] == "4"
    assert options["options"].startswith("-c timezone=UTC -c statement_timeout=30000 ")
    assert options["options"].endswith(" -c work_mem=8MB")  # the last one wins
