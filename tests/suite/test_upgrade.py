"""The last release, under load behind two gateways, is upgraded and goes back: no request fails."""

import asyncio
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from gatehouse import programs
from gatehouse.load import client
from gatehouse.load.client import Client, Failed
from gatehouse.load.journey import SHARES, Journey, Person
from shared.testing import bearer
from tests import support
from tests.releases import unpack_last_release
from tests.suite.accounts import sign_in_admin
from tests.suite.conftest import ROOT, Suite, postgresql_databases, running_suite
from tests.suite.fleet import Fleet, Replica, fleet
from tests.suite.test_nginx import nginx

pytestmark = [pytest.mark.prove, pytest.mark.timeout(600), pytest.mark.long(1)]

PASSWORD = "correct horse battery staple"
RATE = 25.0  # requests a second: enough that each replacement meets some, on a busy machine as well
STEP_REQUESTS = 15
SECONDS = 400


@dataclass
class Load:
    """People who arrive at a steady rate; what failed is kept with what was going on."""

    journey: Journey
    stage: str = "before"
    done: int = 0
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self.journey.pause(RATE))
            name, person = self.journey.choose(SHARES)
            task = asyncio.create_task(self._take(name, person))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _take(self, name: str, person: Person) -> None:
        began = self.stage
        try:
            response = await self.journey.steps[name](person)
            error = response.code if response.status >= 400 else ""
        except Failed as failure:
            error = failure.code
        self.done += 1
        if error:
            self.failures.append((name, error, f"{began} to {self.stage}"))

    async def end(self) -> None:
        if self._under_way:
            await asyncio.wait(self._under_way)

    async def serve(self, requests: int) -> None:
        """Wait until so many more requests were answered."""
        wanted = self.done + requests
        while self.done < wanted:  # noqa: ASYNC110 - the tasks of the load set it
            await asyncio.sleep(0.02)


@asynccontextmanager
async def under_load(url: str) -> AsyncIterator[Load]:
    connections = Client(url)
    load = Load(Journey(connections, seed=1))
    await load.journey.prepare(6)
    arriving = asyncio.create_task(load.run())
    try:
        yield load
    finally:
        arriving.cancel()
        await load.end()
        connections.close()


@dataclass
class Orchestrator:
    """Replaces a program when `gatehouse upgrade --roll` asks for it, as a cluster would."""

    suite: Fleet
    load: Load
    loop: asyncio.AbstractEventLoop
    root: Path = ROOT
    faults: list[str] = field(default_factory=list)

    def replace(self, name: str) -> None:
        if name not in self.suite.running:
            return  # new: nobody uses it yet
        for one in [name, "second gateway"] if name == "gateway" else [name]:
            self.load.stage = f"{one} to {self.root.name}"
            self.suite.replace(one, self.root)
            asyncio.run_coroutine_threadsafe(self.load.serve(STEP_REQUESTS), self.loop).result(SECONDS)
            if "gateway" in one:  # nginx leaves a gateway out for some seconds after it was away
                assert support.eventually(partial(_is_used, self.suite.running[one]), seconds=SECONDS)


def _is_used(gateway: Replica) -> bool:
    return any('"/users/me"' in line for line in gateway.lines)


@contextmanager
def commanded(orchestrator: Orchestrator) -> Iterator[str]:
    """Yield the command that asks the orchestrator to replace a program."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                orchestrator.replace(self.path.strip("/"))
            except BaseException as error:
                orchestrator.faults.append(repr(error))
                self.send_error(500)
                raise
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"curl --silent --show-error --fail http://127.0.0.1:{server.server_port}/{{}}"
        server.shutdown()


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    if request.param == "sqlite":
        yield {}
        return
    with postgresql_databases(request.getfixturevalue("postgresql_server")) as urls:
        yield urls


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last release, with bytecode: its programs start at once, and each would compile all modules."""
    folder = unpack_last_release(tmp_path_factory.mktemp("last") / "release")
    command = [sys.executable, "-m", "compileall", "-q", "-j", "0"]
    subprocess.run([*command, "contracts", "gateway", "services", "shared"], cwd=folder, check=True)
    return folder


async def command(suite: Fleet | Suite, *words: str) -> dict[str, Any]:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "gatehouse", "upgrade", "--json", *words],
        cwd=ROOT,
        env=suite.environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


async def test_last_release_is_upgraded_under_load_and_goes_back_without_a_failed_request(
    databases: dict[str, str], old: Path, tmp_path: Path
) -> None:
    (tmp_path / "edge").mkdir()
    with fleet(tmp_path / "data", databases, old) as suite:
        ports = suite.ports["gateway"], suite.second_gateway_port
        with nginx(tmp_path / "edge", *ports) as edge:
            async with under_load(edge.url) as load:
                orchestrator = Orchestrator(suite, load, asyncio.get_running_loop())
                with commanded(orchestrator) as roll:
                    await load.serve(STEP_REQUESTS)
                    options = ["--roll", roll, "--backup-to", str(tmp_path / "backups"), "--without-secrets"]
                    load.stage = "doctor, backup, migrate"
                    upgraded = await command(suite, *options)
                    assert {replica.root for replica in suite.running.values()} == {ROOT}
                    await load.serve(2 * STEP_REQUESTS)

                    orchestrator.root = old
                    load.stage = "stepping back"
                    back = await command(suite, "--back", *options[:2])
                    assert {replica.root for replica in suite.running.values()} == {old}
                    load.stage = "back"
                    await load.serve(2 * STEP_REQUESTS)
            assert (load.failures, orchestrator.faults) == ([], [])
            assert [*map(str, (tmp_path / "backups").glob("*.tar"))] == [upgraded["backup"]]
            assert sorted(upgraded["rolled"]) == sorted(programs.find(ROOT))
            assert sorted(back["services"]) == sorted(programs.find(old).keys() - {"gateway"})
            assert {*back["stop"]} == programs.find(ROOT).keys() - programs.find(old).keys()
            await nothing_is_missing(edge.url, load.journey.people)


async def test_running_launcher_replaces_every_program_without_a_failed_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A gateway may close an idle connection just when a request is sent on it, as any server may.
    monkeypatch.setattr(client, "IDLE_SECONDS", 0.0)
    modules = programs.find(ROOT)
    with running_suite(tmp_path / "data") as suite:
        before = {name: suite.pid_of(module) for name, module in modules.items()}
        async with under_load(suite.url) as load:
            load.stage = "upgrade"
            upgraded = await command(suite, "--backup-to", str(tmp_path / "backups"), "--without-secrets")
            load.stage = "after"
            await load.serve(STEP_REQUESTS)
        assert load.failures == []
        assert sorted(upgraded["rolled"]) == sorted(upgraded["running"]) == sorted(modules)
        assert all(suite.pid_of(module) != before[name] for name, module in modules.items())
        await nothing_is_missing(suite.url, load.journey.people)


async def nothing_is_missing(url: str, people: list[Person]) -> None:
    """Everybody can sign in and has a profile and every order, and the log is intact."""
    async with httpx.AsyncClient(base_url=url, timeout=30) as browser:
        for person in people:
            credentials = {"email": person.email, "password": PASSWORD}
            signed_in = await browser.post("/auth/login", json=credentials)
            assert signed_in.status_code == 200, signed_in.text
            headers = bearer(signed_in.json()["token"])
            assert (await browser.get("/users/me", headers=headers)).json()["email"] == person.email
            for order in person.orders:
                assert (await browser.get(f"/orders/{order}", headers=headers)).status_code == 200
        admin = await sign_in_admin(browser)
        verified = await browser.get("/audit/verify", headers=admin.headers)
        assert verified.json()["intact"] is True, verified.text
