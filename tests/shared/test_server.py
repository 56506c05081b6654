"""A service as a real process: it starts and stops in order, and loses no request."""

import asyncio
import fcntl
import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from shared.process.supervision import SUPERVISED
from shared.testing import bearer, token
from tests.shared.processes import SECONDS_MAX, Running, forked, service_environment, started
from tests.support import eventually, free_port, postgresql_that_stops

MODULE = ("-m", "tests.shared.notes")


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def environment(tmp_path: Path, port: int) -> dict[str, str]:
    return service_environment(tmp_path, port, GATE=str(tmp_path / "gate"), LOG_FORMAT="json")


@pytest.fixture
def address(port: int) -> str:
    return f"http://127.0.0.1:{port}"


@pytest.fixture
def service(environment: dict[str, str], address: str) -> Iterator[Running]:
    with forked("tests.shared.notes", environment=environment) as running:
        wait_until_ready(running, address)
        yield running


def wait_until_ready(running: Running, address: str) -> None:
    def answers() -> bool:
        assert running.process.poll() is None, running.output
        try:
            return httpx.get(f"{address}/health/ready", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    assert eventually(answers, seconds=SECONDS_MAX), running.output


def _is_refused(address: str) -> bool:
    """Whether connections are refused; the kernel accepts and then resets those made during closing."""
    try:
        httpx.get(f"{address}/health", trust_env=False)
    except httpx.ConnectError:
        return True
    except httpx.TransportError:
        return False
    return False


class TestStop:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    async def test_no_request_is_lost(self, service: Running, address: str, number: signal.Signals) -> None:
        """Clients with busy connections get a response to every request until the end."""
        answered, stopping = [0] * 10, asyncio.Event()

        async def keep_asking(client: int) -> None:
            async with httpx.AsyncClient(base_url=address, trust_env=False) as connection:
                while True:
                    response = await connection.post("/numbers", json={"whole": client})
                    assert response.status_code == 200
                    assert response.json()["whole"] == client
                    answered[client] += 1
                    if min(answered) > 20:
                        stopping.set()
                    if response.headers.get("connection") == "close":
                        return

        clients = [asyncio.create_task(keep_asking(number)) for number in range(10)]
        stopped = asyncio.create_task(stopping.wait())
        await asyncio.wait({stopped, *clients}, return_when=asyncio.FIRST_COMPLETED, timeout=SECONDS_MAX)
        service.send(number)
        await asyncio.wait_for(asyncio.gather(*clients), SECONDS_MAX)

        assert stopping.is_set()
        assert service.code() in (0, -signal.SIGTERM)
        assert "Traceback" not in service.output
        events = [json.loads(line)["event"] for line in service.lines]
        assert events[-2:] == ["draining", "stopped"] or events[-1] == "stopped"

    async def test_slow_request_is_completed(self, service: Running, address: str, tmp_path: Path) -> None:
        async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=SECONDS_MAX) as client:
            asking = asyncio.create_task(client.get("/gate"))
            reached = tmp_path / "gate.reached"
            assert await asyncio.to_thread(eventually, reached.exists, seconds=SECONDS_MAX)
            service.send(signal.SIGTERM)
            await asyncio.to_thread(service.line_with, '"draining"')
            assert await asyncio.to_thread(eventually, lambda: _is_refused(address), seconds=SECONDS_MAX)
            (tmp_path / "gate").touch()
            response = await asking

        assert response.json() == {"hello": "you waited"}
        assert response.headers["connection"] == "close"
        assert service.code() == 0

    async def test_request_that_never_ends_is_given_up(
        self, environment: dict[str, str], address: str, tmp_path: Path
    ) -> None:
        with forked("tests.shared.notes", environment=environment | {"DRAIN_SECONDS": "1"}) as service:
            wait_until_ready(service, address)
            async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=SECONDS_MAX) as client:
                asking = asyncio.create_task(client.get("/gate"))
                reached = tmp_path / "gate.reached"
                assert await asyncio.to_thread(eventually, reached.exists, seconds=SECONDS_MAX)
                service.send(signal.SIGTERM)
                with pytest.raises(httpx.HTTPError):
                    (await asking).raise_for_status()

            assert service.code() == 0

    def test_idle_connection_does_not_delay_the_shutdown(self, service: Running, port: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as idle:
            service.send(signal.SIGTERM)
            assert service.code() == 0
            assert idle.recv(1) == b""


class TestParentGone:
    async def test_pending_requests_are_completed(
        self, environment: dict[str, str], address: str, tmp_path: Path
    ) -> None:
        """The parent is killed: stdin ends and stdout breaks, and neither loses a response."""
        stand_in = (
            "import os, subprocess, sys\n"
            "child = subprocess.Popen([sys.executable, '-m', 'tests.shared.notes'],"
            " stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)\n"
            "print(child.pid, flush=True)\n"
            "for line in child.stdout: print(line.decode(), end='', flush=True)\n"
        )
        with started("-c", stand_in, environment=environment | {SUPERVISED: "1"}) as parent:
            wait_until_ready(parent, address)
            child = int(parent.lines[0])
            async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=SECONDS_MAX) as client:
                asking = asyncio.create_task(client.get("/gate"))
                reached = tmp_path / "gate.reached"
                assert await asyncio.to_thread(eventually, reached.exists, seconds=SECONDS_MAX)
                parent.send(signal.SIGKILL)

                def refuses() -> bool:
                    with socket.socket() as probe:
                        return probe.connect_ex(("127.0.0.1", int(environment["PORT"]))) != 0

                assert await asyncio.to_thread(eventually, refuses, seconds=SECONDS_MAX)
                (tmp_path / "gate").touch()
                response = await asking

            assert response.json() == {"hello": "you waited"}
            gone = Path(f"/proc/{child}")
            assert eventually(lambda: ended(gone), seconds=SECONDS_MAX)


def ended(process: Path) -> bool:
    """Whether the process is gone or a zombie."""
    try:
        return "State:\tZ" in (process / "status").read_text()
    except OSError:
        return True


class TestStart:
    def test_taken_port_stops_the_start_with_exit_code_4(
        self, environment: dict[str, str], port: int
    ) -> None:
        with socket.create_server(("127.0.0.1", port)), started(*MODULE, environment=environment) as service:
            assert service.code() == 4
            assert f"notes: cannot listen on 127.0.0.1:{port} (Address already in use)" in service.lines[-1]
            assert "set PORT to a free one" in service.lines[-1]

    def test_port_taken_during_the_start_stops_it_with_exit_code_4(
        self, environment: dict[str, str], port: int, tmp_path: Path
    ) -> None:
        def is_bound() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) != 0 and not can_bind(port)

        with (tmp_path / "notes.db.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # so that it waits during its start
            with started(*MODULE, environment=environment) as service:
                assert eventually(is_bound, seconds=SECONDS_MAX)
                with socket.create_server(("127.0.0.1", port)):
                    fcntl.flock(lock, fcntl.LOCK_UN)
                    assert service.code() == 4
                assert "set PORT to a free one" in service.output
                assert "Traceback" not in service.output

    def test_foreign_host_address_stops_the_start_with_exit_code_4(self, environment: dict[str, str]) -> None:
        with started(*MODULE, environment=environment | {"HOST": "192.0.2.1"}) as service:
            assert service.code() == 4
            assert "cannot listen on 192.0.2.1" in service.lines[-1]

    def test_invalid_settings_stop_the_start_with_exit_code_2(self, environment: dict[str, str]) -> None:
        bad = {"LOG_LEVEL": "loud", "DATABASE_POOL": "0", "JWT_SECRET": "weak"}
        with started(*MODULE, environment=environment | bad) as service:
            assert service.code() == 2
            assert service.lines[0] == "notes: the settings are invalid:"
            assert [line.split(":")[0].strip() for line in service.lines[1:]] == sorted(
                bad, key=["LOG_LEVEL", "JWT_SECRET", "DATABASE_POOL"].index
            )

    def test_database_that_stays_unreachable_stops_the_start_with_one_line(
        self, environment: dict[str, str]
    ) -> None:
        port = free_port()
        unreachable = f"postgresql://notes:hunter2@127.0.0.1:{port}/notes"
        more = {"DATABASE_URL": unreachable, "DATABASE_WAIT_SECONDS": "0.5"}
        with started(*MODULE, environment=environment | more) as service:
            assert service.code() == 5

        entries = [json.loads(line) for line in service.lines]
        assert [entry["event"] for entry in entries] == [
            "starting",
            "waiting_for_database",
            "database_unreachable",
        ]
        for entry in entries[1:]:
            assert (entry["host"], entry["port"]) == ("127.0.0.1", port)
        assert entries[-1]["database"] == f"postgresql://notes:***@127.0.0.1:{port}/notes"
        assert entries[-1]["remedy"] == "Start the server, or set DATABASE_URL to another one."
        assert "hunter2" not in service.output

    def test_service_does_not_wait_for_a_database_that_refuses_it(
        self, environment: dict[str, str], postgresql_server: str
    ) -> None:
        more = {"DATABASE_URL": postgresql_server.rpartition("/")[0] + "/missing"}
        with started(*MODULE, environment=environment | more) as service:
            assert service.code() == 5

        last = json.loads(service.lines[-1])
        assert last["event"] == "database_unusable"
        assert last["reason"].endswith('database "missing" does not exist')

    def test_service_waits_for_a_database_that_starts_late(
        self, environment: dict[str, str], port: int
    ) -> None:
        with postgresql_that_stops() as server:
            server.stop()
            more = {"DATABASE_URL": server.url}
            with started(*MODULE, environment=environment | more) as service:
                service.line_with("waiting_for_database")
                server.start()
                service.line_with('"event":"migrated"')

    def test_failed_migration_is_logged_in_one_line(
        self, environment: dict[str, str], tmp_path: Path
    ) -> None:
        import sqlite3

        with closing(sqlite3.connect(tmp_path / "taken.db")) as database:
            database.execute("CREATE TABLE notes (id TEXT)")
        more = {"DATABASE_URL": f"sqlite:///{tmp_path / 'taken.db'}"}
        with started(*MODULE, environment=environment | more) as service:
            assert service.code() == 5

        last = json.loads(service.lines[-1])
        assert last["event"] == "migration_failed"
        assert "table notes already exists" in last["output"]
        assert all(line.startswith("{") for line in service.lines)

    def test_start_under_the_launcher_fails_with_the_same_line(self, environment: dict[str, str]) -> None:
        url = f"postgresql://notes@127.0.0.1:{free_port()}/notes"
        more = {"DATABASE_URL": url, "DATABASE_WAIT_SECONDS": "0", SUPERVISED: "1"}
        with started(*MODULE, environment=environment | more, stdin=subprocess.PIPE) as service:
            assert service.code() == 5
            last = json.loads(service.lines[-1])
            assert last["remedy"] == "Start the server, or set NOTES_DATABASE_URL to another one."
            assert "Fatal" not in service.output

    def test_settings_are_logged_at_startup(self, service: Running) -> None:
        starting = json.loads(service.lines[0])

        assert starting["event"] == "starting"
        assert starting["service"] == "notes"
        assert starting["settings"]["jwt_secret"] == "**********"
        assert "httpx" not in service.output


def can_bind(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def test_real_process_requires_a_token(service: Running, address: str) -> None:
    with httpx.Client(base_url=address, trust_env=False) as client:
        assert client.get("/notes").status_code == 401
        assert client.get("/notes", headers=bearer(token())).json() == []
