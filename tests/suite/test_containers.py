"""The suite in containers, built and run from docker-compose.yml, with several gateways behind nginx."""

import asyncio
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gatehouse import cli
from shared.ids import new_id
from shared.testing import bearer
from tests import support
from tests.suite.accounts import LAPTOP, register
from tests.suite.conftest import ROOT
from tests.suite.console import test_files, test_notifications, test_orders, test_tickets
from tests.suite.console.conftest import Browser, browser_at

pytestmark = [pytest.mark.prove, pytest.mark.long(0.2, group="images")]

BUILD_SECONDS = 900
STOP_SECONDS = 35


class Composed:
    """The containers of one test run, with their own project name."""

    def __init__(self, folder: Path, *files: str, **settings: str) -> None:
        (docker,) = support.need("docker")
        self.docker = docker
        support.need_answer([docker, "info"], "no Docker engine responds")
        compose = shutil.which("docker-compose")
        self._compose = [compose] if compose else [docker, "compose"]
        self._env_file = folder / ".env"
        assert cli.main(["env", "--file", str(self._env_file)]) == 0
        self.secrets = dict(
            line.split("=", 1)
            for line in self._env_file.read_text().splitlines()
            if "=" in line and line[0] != "#"
        )
        self._project = f"gatehouse-test-{new_id()[-6:]}"
        self._environment = {
            **os.environ,
            "HTTP_PORT": str(support.free_port()),
            "SUBNET": support.free_subnet(),
            "SERVICES_SUBNET": support.free_subnet(),
            "COMPOSE_INTERACTIVE_NO_CLI": "1",
            **settings,
        }
        self._files = [word for file in files for word in ("--file", file)]
        self.url = f"http://127.0.0.1:{self._environment['HTTP_PORT']}"

    def run(self, *arguments: str, seconds: float = 120) -> str:
        done = self._done(*arguments, seconds=seconds)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def succeeds(self, *arguments: str) -> bool:
        """Run a command and return whether it succeeds: the output of a quick command may get lost."""
        return self._done(*arguments, seconds=120).returncode == 0

    def _done(self, *arguments: str, seconds: float) -> subprocess.CompletedProcess[str]:
        command = [*self._compose, "-p", self._project, "--env-file", str(self._env_file)]
        command += [*self._files, *arguments]
        return subprocess.run(
            command,
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def of_gateway(self, command: str, number: int) -> None:
        """Stop or start one of several gateways."""
        labels = {"project": self._project, "service": "gateway", "container-number": str(number)}
        filters = [f"--filter=label=com.docker.compose.{name}={value}" for name, value in labels.items()]
        found = subprocess.run(
            [self.docker, "ps", "-aq", *filters], capture_output=True, text=True, check=True
        )
        subprocess.run([self.docker, command, *found.stdout.split()], check=True, capture_output=True)

    def serving(self) -> set[str]:
        """Return the numbers of the gateways that have logged a request."""
        lines = self.run("logs", "--no-color", "gateway").splitlines()
        named = (re.match(r"[^|]*?gateway[_-](\d+) ", line) for line in lines if '"event":"request"' in line)
        return {found[1] for found in named if found}

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=30)


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    containers = Composed(tmp_path_factory.mktemp("containers"))
    try:
        containers.run("up", "--build", "--detach", seconds=BUILD_SECONDS)
        assert support.eventually(lambda: _is_healthy(containers.url), seconds=90), containers.run(
            "logs", "--tail=50"
        )
        yield containers
    finally:
        containers.run("down", "--volumes", "--timeout", "30")


async def test_orders_go_through_nginx_to_both_gateways(composed: Composed) -> None:
    async with composed.client() as client:
        person = await register(client)
        placed = [await client.post("/orders", json=LAPTOP, headers=person.headers) for _ in range(8)]
        listed = await client.get("/api/v1/orders", headers=person.headers)

    assert {response.status_code for response in placed} == {201}
    assert len(listed.json()["data"]) == 8
    assert composed.serving() == {"1", "2"}


async def test_admin_must_replace_the_generated_password_and_has_no_default_one(composed: Composed) -> None:
    async with composed.client() as client:
        for password, status in ((composed.secrets["ADMIN_PASSWORD"], 403), ("admin123", 401)):
            login = await client.post("/auth/login", json={"username": "admin", "password": password})
            assert login.status_code == status


@pytest.fixture(scope="module")
def admin(composed: Composed) -> tuple[str, str]:
    """Replace the generated password of the admin; return the name and the new one."""
    given = composed.secrets["ADMIN_PASSWORD"]
    credentials = {"username": "admin", "password": given, "new_password": given[::-1]}
    httpx.post(f"{composed.url}/auth/login", json=credentials, timeout=30).raise_for_status()
    return "admin", given[::-1]


async def test_events_of_auth_reach_users_through_redis(composed: Composed, admin: tuple[str, str]) -> None:
    credentials = dict(zip(("username", "password"), admin, strict=True))
    async with composed.client() as client:
        person = await register(client)
        headers = bearer((await client.post("/auth/login", json=credentials)).json()["token"])
        async with asyncio.timeout(30):
            while person.email not in (await client.get("/users", headers=headers)).text:  # noqa: ASYNC110 - other processes set no event
                await asyncio.sleep(0.2)

    assert composed.run("exec", "-T", "users", "python", "-m", "gatehouse", "events", "dead") == (
        "no dead letters\n"
    )


@pytest.fixture(scope="module")
def browser(composed: Composed, admin: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Browser:
    return browser_at(composed, tmp_path_factory.mktemp("browser"), admin=admin, looks=False)


async def test_people_order_and_admins_deliver_in_the_console_behind_nginx(browser: Browser) -> None:
    await test_orders.test_people_order_in_the_console_and_admins_deliver(browser)


async def test_uploads_survive_breaks_in_the_console_behind_nginx(browser: Browser, tmp_path: Path) -> None:
    await test_files.test_people_keep_files_and_uploads_survive_breaks(browser, tmp_path)


async def test_people_and_staff_talk_in_the_console_behind_nginx(browser: Browser) -> None:
    await test_tickets.test_people_and_staff_talk_in_a_ticket(browser)


async def test_people_get_notifications_in_the_console_behind_nginx(browser: Browser) -> None:
    await test_notifications.test_people_go_from_a_notification_to_its_order(browser)


async def test_spoofed_client_address_is_not_logged(composed: Composed) -> None:
    async with composed.client() as client:
        await client.get("/orders", headers={"X-Forwarded-For": "203.0.113.99"})

    assert "203.0.113.99" not in composed.run("logs", "gateway")


@pytest.mark.parametrize(
    ("container", "address", "reached"),
    [
        ("nginx", "gateway/8000", True),
        ("nginx", "orders/8082", False),
        ("nginx", "postgres/5432", False),
        ("gateway", "orders/8082", True),
        ("gateway", "redis/6379", True),
        ("gateway", "postgres/5432", False),
        ("orders", "postgres/5432", True),
    ],
)
def test_container_can_reach_only_those_it_calls(
    composed: Composed, container: str, address: str, reached: bool
) -> None:
    script = f"timeout 5 bash -c 'exec 3<>/dev/tcp/{address}'"

    assert composed.succeeds("exec", "-T", container, "bash", "-c", script) == reached


def test_servers_run_without_capabilities_on_a_read_only_file_system(composed: Composed) -> None:
    for container in ("postgres", "redis"):
        status = composed.run("exec", "-T", container, "cat", "/proc/1/status")
        assert "NoNewPrivs:\t1" in status
        assert "CapEff:\t0000000000000000" in status, f"{container} keeps the capabilities of its entry point"
        write = composed.run("exec", "-T", container, "sh", "-c", "touch /usr/x 2>&1 || true")
        assert "Read-only file system" in write


async def test_metrics_are_not_public(composed: Composed) -> None:
    async with composed.client() as client:
        assert (await client.get("/metrics")).status_code == 404


async def test_one_gateway_stops_under_load_without_failed_requests(composed: Composed) -> None:
    async with composed.client() as client:
        person = await register(client)
        stopping = asyncio.create_task(asyncio.to_thread(composed.of_gateway, "stop", 1))
        statuses = []
        while not stopping.done():
            statuses.append((await client.get("/orders", headers=person.headers)).status_code)
            await asyncio.sleep(0.02)  # stay below the rate limit of one account
        await stopping
        after = await client.get("/orders", headers=person.headers)

    assert set(statuses) == {200}
    assert after.status_code == 200
    composed.of_gateway("start", 1)


async def test_gateways_scale_up_without_failed_requests(composed: Composed) -> None:
    scaling = asyncio.create_task(
        asyncio.to_thread(composed.run, "up", "--detach", "--scale", "gateway=3", "--no-recreate")
    )
    async with composed.client() as client, asyncio.timeout(120):
        person = await register(client)
        statuses = set()
        while not (scaling.done() and composed.serving() == {"1", "2", "3"}):
            statuses.add((await _get(client, "/orders", person.headers)).status_code)
            await asyncio.sleep(0.05)  # stay below the rate limit of one account
        await scaling

    assert statuses == {200}


async def _get(client: httpx.AsyncClient, path: str, headers: dict[str, str]) -> httpx.Response:
    """Like browsers, ask again if the server has closed the kept connection; nginx does when it reloads."""
    try:
        return await client.get(path, headers=headers)
    except httpx.RemoteProtocolError:
        return await client.get(path, headers=headers)


def test_containers_stop_in_time(composed: Composed) -> None:
    started = time.monotonic()
    composed.run("stop")

    assert time.monotonic() - started < STOP_SECONDS


def _is_healthy(url: str) -> bool:
    try:
        return bool(httpx.get(f"{url}/health", timeout=5).json()["status"] == "healthy")
    except (httpx.HTTPError, ValueError, KeyError):
        return False
