"""Several workers on one port, as processes."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from shared.process.supervision import PHASE_MARK, STARTING, SUPERVISED
from tests.gateway.backends import Backend, echo
from tests.gateway.support import Wire
from tests.gateway.test_drain import EXIT_SECONDS_MAX, connect, gateway_process
from tests.support import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

START_SECONDS_MAX = 30
ROUTE = "{path: %s, backend: '%s', auth: none, rate_limit: {rate: 100000/s}}"


@dataclass
class Fleet:
    """A gateway with two workers."""

    process: asyncio.subprocess.Process
    port: int
    admin_port: int
    folder: Path
    backend: Backend

    async def admin(self, path: str, method: str = "GET") -> Any:
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.request(method, f"http://127.0.0.1:{self.admin_port}{path}")
        return answer.json() if "json" in answer.headers["content-type"] else answer.text

    async def workers(self) -> list[int]:
        """Return the pids of the workers that respond."""
        try:
            return [worker["pid"] for worker in (await self.admin("/health/ready"))["workers"]]
        except httpx.ConnectError:
            return []

    async def get(self, path: str) -> int:
        wire = await connect(self.port)
        answer = await wire.request("GET", path)
        await wire.close()
        return answer.status

    def write(self, *paths: str) -> None:
        lines = [ROUTE % (path, self.backend.url) for path in paths]
        (self.folder / "draft").write_text(f"routes: [{', '.join(lines)}]")
        (self.folder / "draft").replace(self.folder / "routes.yaml")


async def become(what: Callable[[], Awaitable[Any]], expected: Any) -> None:
    """Poll until `what` returns the expected value."""
    async with asyncio.timeout(START_SECONDS_MAX):
        while await what() != expected:  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.05)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    """A gateway for tests that leave both workers running: a start takes three seconds of CPU."""
    async with Backend(echo) as backend, running(backend, tmp_path_factory.mktemp("fleet")) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def own_fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with Backend(echo) as backend, running(backend, tmp_path) as found:
        yield found


@asynccontextmanager
async def running(backend: Backend, folder: Path) -> AsyncIterator[Fleet]:
    admin_port = free_port()
    more = {"WORKERS": "2", "ADMIN_PORT": str(admin_port), "DRAIN_SECONDS": "5", SUPERVISED: STARTING}
    async with gateway_process(backend, folder, **more) as (process, port):
        found = Fleet(process, port, admin_port, folder, backend)

        async def count() -> int:
            return len(await found.workers())

        await become(count, 2)
        yield found


async def total(fleet: Fleet, port: int) -> int:
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
    lines = re.findall(
        r'^http_requests_total{method="GET",route="open",status="200"} (\d+)', text, re.MULTILINE
    )
    return sum(map(int, lines))


async def test_metrics_include_all_workers(fleet: Fleet) -> None:
    before = await total(fleet, fleet.admin_port)
    for _ in range(40):
        assert await fleet.get("/open") == 200
    states = await fleet.admin("/targets")
    assert all(state["targets"][0]["connections"] for state in states), "one worker got no requests"
    for port in (fleet.port, fleet.admin_port):
        await become(partial(total, fleet, port), before + 40)


async def test_parent_tells_its_launcher_that_all_workers_listen(fleet: Fleet) -> None:
    async def phases() -> list[str]:
        lines = (fleet.folder / "output").read_text().splitlines()
        return [line.removeprefix(PHASE_MARK) for line in lines if line.startswith(PHASE_MARK)]

    await become(phases, ["starting workers", "listening"])


async def test_worker_that_dies_is_replaced_without_losing_connections_or_counts(own_fleet: Fleet) -> None:
    async def counted() -> int:
        return await total(own_fleet, own_fleet.admin_port)

    for _ in range(20):
        assert await own_fleet.get("/open") == 200
    await become(counted, 20)
    before = await own_fleet.workers()
    files = sorted(_counted_in(before[0]))
    os.kill(before[0], signal.SIGKILL)
    # Connections to the dead worker wait for its successor.
    async with asyncio.timeout(START_SECONDS_MAX):
        assert set(await asyncio.gather(*(own_fleet.get("/open") for _ in range(20)))) == {200}
    await become(partial(_is_replaced, own_fleet, before[0]), True)
    assert before[1] in await own_fleet.workers()
    await become(counted, 40)
    assert sorted(_counted_in(before[1])) == files, "the number of metric files grows with restarts"
    assert len([name for name in files if name.startswith("counter_")]) == 2


async def _is_replaced(fleet: Fleet, worker: int) -> bool:
    now = await fleet.workers()
    return len(now) == 2 and worker not in now


async def test_reload_reaches_all_workers(fleet: Fleet) -> None:
    fleet.write("/open", "/more")
    outcomes = await fleet.admin("/reload", "POST")
    assert sorted((outcome["worker"], outcome["success"]) for outcome in outcomes) == [(1, True), (2, True)]
    for _ in range(20):
        assert await fleet.get("/more") == 200


async def test_sighup_reaches_all_workers(fleet: Fleet) -> None:
    fleet.write("/open", "/after-the-signal")
    fleet.process.send_signal(signal.SIGHUP)

    async def served() -> set[int]:
        return {await fleet.get("/after-the-signal") for _ in range(20)}

    await become(served, {200})


async def test_restarted_worker_uses_the_last_valid_file_and_a_drain_reaches_it(own_fleet: Fleet) -> None:
    (own_fleet.folder / "routes.yaml").write_text("routes: what")
    assert [outcome["success"] for outcome in await own_fleet.admin("/reload", "POST")] == [False, False]
    (first, second) = await own_fleet.workers()
    os.kill(first, signal.SIGKILL)
    await become(partial(_is_replaced, own_fleet, first), True)
    assert {await own_fleet.get("/open") for _ in range(20)} == {200}
    assert "gateway_config_reload_success 0.0" in await own_fleet.admin("/metrics")
    assert second in await own_fleet.workers()

    wires = [await connect(own_fleet.port) for _ in range(12)]
    for wire in wires:
        assert (await wire.request("GET", "/open")).status == 200
    await own_fleet.admin("/drain?notice=1", "POST")
    assert {await own_fleet.get("/health/ready") for _ in range(12)} == {503}

    async def until_closed(wire: Wire) -> list[int]:
        statuses = []
        while True:
            answer = await wire.request("GET", "/open")
            statuses.append(answer.status)
            if answer.value("connection") == "close":
                await wire.close()
                return statuses

    async with asyncio.timeout(EXIT_SECONDS_MAX):
        statuses = await asyncio.gather(*(until_closed(wire) for wire in wires))
        assert await own_fleet.process.wait() == 0
    assert {status for each in statuses for status in each} == {200}


async def test_workers_end_with_a_parent_that_was_killed(own_fleet: Fleet) -> None:
    workers = await own_fleet.workers()
    own_fleet.process.kill()

    async def alive() -> list[int]:
        return [pid for pid in workers if _runs(pid)]

    await become(alive, [])


def _runs(pid: int) -> bool:
    try:
        return b"gateway" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


async def test_taken_port_is_reported_only_once(tmp_path: Path, fleet: Fleet) -> None:
    environment = os.environ | {
        "ROUTES_FILE": str(fleet.folder / "routes.yaml"),
        "DATA_DIR": str(tmp_path),
        "PORT": str(fleet.port),
        "WORKERS": "2",
        "ADMIN_PORT": "0",
    }
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", env=environment, stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    async with asyncio.timeout(START_SECONDS_MAX):
        _, told = await other.communicate()
    assert other.returncode == 4
    assert told.decode().count("cannot listen on") == 1
    assert len(await fleet.workers()) == 2


def _counted_in(pid: int) -> list[str]:
    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    (folder,) = [
        line.partition(b"=")[2] for line in environment if line.startswith(b"PROMETHEUS_MULTIPROC_DIR=")
    ]
    return [file.name for file in Path(folder.decode()).iterdir()]
