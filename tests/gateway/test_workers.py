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

from tests.gateway.backends import Backend
from tests.gateway.support import Wire
from tests.gateway.test_drain import EXIT_SECONDS_MAX, connect, gateway_process
from tests.support import free_port

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


@pytest.fixture
async def fleet(backend: Backend, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with running(backend, tmp_path) as found:
        yield found


@asynccontextmanager
async def running(backend: Backend, folder: Path) -> AsyncIterator[Fleet]:
    admin_port = free_port()
    more = {"WORKERS": "2", "ADMIN_PORT": str(admin_port), "DRAIN_SECONDS": "5"}
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
    for _ in range(40):
        assert await fleet.get("/open") == 200
    states = await fleet.admin("/targets")
    assert all(state["targets"][0]["connections"] for state in states), "one worker got no requests"
    for port in (fleet.port, fleet.admin_port):
        await become(partial(total, fleet, port), 40)


async def test_worker_that_dies_is_replaced_and_its_counts_are_kept(fleet: Fleet) -> None:
    async def counted() -> int:
        return await total(fleet, fleet.admin_port)

    for _ in range(20):
        assert await fleet.get("/open") == 200
    await become(counted, 20)
    before = await fleet.workers()
    os.kill(before[0], signal.SIGKILL)

    async def replaced() -> bool:
        now = await fleet.workers()
        return len(now) == 2 and before[0] not in now

    await become(replaced, True)
    assert before[1] in await fleet.workers()
    for _ in range(20):
        assert await fleet.get("/open") == 200
    await become(counted, 40)


async def test_connections_to_a_dead_worker_wait_for_its_successor(fleet: Fleet) -> None:
    (first, _) = await fleet.workers()
    os.kill(first, signal.SIGKILL)
    async with asyncio.timeout(START_SECONDS_MAX):
        assert set(await asyncio.gather(*(fleet.get("/open") for _ in range(20)))) == {200}


async def test_reload_reaches_all_workers(fleet: Fleet) -> None:
    fleet.write("/open", "/more")
    outcomes = await fleet.admin("/reload", "POST")
    assert sorted((outcome["worker"], outcome["success"]) for outcome in outcomes) == [(1, True), (2, True)]
    for _ in range(20):
        assert await fleet.get("/more") == 200


async def test_sighup_reaches_all_workers(fleet: Fleet) -> None:
    fleet.write("/open", "/more")
    fleet.process.send_signal(signal.SIGHUP)

    async def served() -> set[int]:
        return {await fleet.get("/more") for _ in range(20)}

    await become(served, {200})


async def test_restarted_worker_uses_the_last_valid_file(fleet: Fleet) -> None:
    (fleet.folder / "routes.yaml").write_text("routes: what")
    assert [outcome["success"] for outcome in await fleet.admin("/reload", "POST")] == [False, False]
    (first, second) = await fleet.workers()
    os.kill(first, signal.SIGKILL)

    async def replaced() -> bool:
        now = await fleet.workers()
        return len(now) == 2 and first not in now

    await become(replaced, True)
    assert {await fleet.get("/open") for _ in range(20)} == {200}
    assert "gateway_config_reload_success 0.0" in await fleet.admin("/metrics")
    assert second in await fleet.workers()


async def test_drain_reaches_all_workers(fleet: Fleet) -> None:
    wires = [await connect(fleet.port) for _ in range(12)]
    for wire in wires:
        assert (await wire.request("GET", "/open")).status == 200
    await fleet.admin("/drain?notice=1", "POST")
    assert {await fleet.get("/health/ready") for _ in range(12)} == {503}

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
        assert await fleet.process.wait() == 0
    assert {status for each in statuses for status in each} == {200}


async def test_workers_end_with_a_parent_that_was_killed(fleet: Fleet) -> None:
    workers = await fleet.workers()
    fleet.process.kill()

    async def alive() -> list[int]:
        return [pid for pid in workers if _runs(pid)]

    await become(alive, [])


def _runs(pid: int) -> bool:
    try:
        return b"gateway" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


async def test_taken_port_is_reported_only_once(backend: Backend, tmp_path: Path, fleet: Fleet) -> None:
    environment = os.environ | {
        "ROUTES_FILE": str(tmp_path / "routes.yaml"),
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


async def test_number_of_metric_files_does_not_grow_with_restarts(fleet: Fleet) -> None:
    for _ in range(20):
        assert await fleet.get("/open") == 200
    before = await fleet.workers()
    files = sorted(_counted_in(before[0]))
    os.kill(before[0], signal.SIGKILL)

    async def replaced() -> bool:
        now = await fleet.workers()
        return len(now) == 2 and before[0] not in now

    await become(replaced, True)
    assert sorted(_counted_in(before[1])) == files
    assert len([name for name in files if name.startswith("counter_")]) == 2


def _counted_in(pid: int) -> list[str]:
    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    (folder,) = [
        line.partition(b"=")[2] for line in environment if line.startswith(b"PROMETHEUS_MULTIPROC_DIR=")
    ]
    return [file.name for file in Path(folder.decode()).iterdir()]
