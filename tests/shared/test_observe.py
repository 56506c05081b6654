"""Observability of a process: its log lines, metrics and health."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from shared.data.database import Database
from shared.data.measures import LOG_SIZE
from shared.http.operations import Operation
from shared.identity.tokens import public
from shared.peers.client import HttpClient
from shared.service import create_service
from shared.testing import TEST_INTERNAL_SECRET, TEST_JWT_SECRET, bearer, running, token
from tests.shared.notes import handlers
from tests.shared.notes.app import Settings
from tests.shared.processes import Running, forked, service_environment
from tests.shared.test_server import wait_until_ready
from tests.support import free_port

FIELDS = {
    "service": "notes",
    "event": "request",
    "level": "info",
    "method": "GET",
    "path": "/notes",
    "status": 200,
}


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture(params=["json", "console"])
def service(request: pytest.FixtureRequest, tmp_path: Path, port: int) -> Iterator[Running]:
    environment = service_environment(tmp_path, port, LOG_FORMAT=request.param)
    with forked("tests.shared.notes", environment=environment) as running:
        wait_until_ready(running, f"http://127.0.0.1:{port}")
        yield running


@pytest.fixture
def client(port: int) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        yield client


@pytest.mark.parametrize("service", ["json"], indirect=True)
class TestLines:
    def test_each_request_is_logged_in_one_line(self, service: Running, client: httpx.Client) -> None:
        account, request_id = "0190b6f5-2b52-7f7f-8f6b-8d2f3f0c1a11", "find-me"
        client.get("/notes?limit=5", headers=bearer(token(account)) | {"X-Request-ID": request_id})
        line = json.loads(service.line_with(request_id))

        assert FIELDS.items() <= line.items()
        assert line["request_id"] == request_id
        assert line["user_id"] == account
        assert 0 < line["ms"] < 60_000
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line["timestamp"])
        assert sum(request_id in line for line in service.lines) == 1

    def test_health_and_metrics_requests_are_not_logged(self, service: Running, client: httpx.Client) -> None:
        for path in ("/health", "/health/live", "/health/ready", "/metrics"):
            assert client.get(path).status_code == 200
        client.get("/notes", headers={"X-Request-ID": "the-last"})
        service.line_with("the-last")

        requests = [line for line in map(json.loads, service.lines) if line["event"] == "request"]
        assert [line["path"] for line in requests] == ["/notes"]

    def test_requested_path_cannot_forge_a_log_line(self, service: Running, client: httpx.Client) -> None:
        client.get("/%0a%7b%22event%22:%22forged%22%7d%1b[31m%ff", headers={"X-Request-ID": "forger"})
        service.line_with("forger")

        for line in service.lines:
            assert json.loads(line)["event"] != "forged"
            assert "\x1b" not in line

    def test_handler_error_is_logged_with_its_request_id(
        self, service: Running, client: httpx.Client
    ) -> None:
        response = client.post("/accidents/anything", headers={"X-Request-ID": "find-me"})
        line = json.loads(service.line_with("unhandled_error"))
        service.line_with('"request"')

        assert response.headers["x-request-id"] == response.json()["request_id"] == "find-me"
        assert line["request_id"] == "find-me"
        assert "RuntimeError: unexpected; anything" in line["exception"]
        assert service.output.count("Traceback") == 1


class TestSecrets:
    def test_no_log_line_contains_a_secret(self, service: Running, client: httpx.Client) -> None:
        """This holds for secrets of the settings, the request and a row, even when something fails."""
        presented = token()
        for kind in ("serialisation", "database", "anything"):
            response = client.post(
                f"/accidents/{kind}?password=hunter2",
                headers=bearer(presented) | {"X-Request-ID": kind, "Cookie": "session=hunter2"},
            )
            assert response.status_code == 500
            service.line_with(kind)
        client.post("/numbers", json={"whole": "hunter2", "password": "hunter2"})
        client.get("/notes", headers=bearer("hunter2") | {"X-Request-ID": "the-last"})
        service.line_with("the-last")

        assert service.output.count("Traceback") >= 3
        assert "unhandled_error" in service.output
        for secret in (TEST_JWT_SECRET, TEST_INTERNAL_SECRET, presented, "hunter2", handlers.SECRET):
            assert secret not in service.output


@pytest.mark.parametrize("service", ["console"], indirect=True)
def test_requested_path_cannot_forge_a_line_on_a_terminal(service: Running, client: httpx.Client) -> None:
    client.get("/%0a12:00:00%20forged%1b[2J", headers={"X-Request-ID": "forger"})
    line = service.line_with("forger")

    assert "forged" in line
    assert "\x1b[2J" not in service.output


@pytest.mark.parametrize("service", ["console"], indirect=True)
def test_terminal_shows_a_request_as_one_short_line(service: Running, client: httpx.Client) -> None:
    client.get("/notes", headers={"X-Request-ID": "read-me"})
    line = re.sub(r"\x1b\[\d*m", "", service.line_with("read-me"))

    assert re.search(r"\] GET /notes 401 in [\d.]+ ms +request_id=read-me$", line)
    starting = service.lines[0]
    assert "starting" in starting
    assert "DATA_DIR" in starting
    assert "DRAIN_SECONDS" not in starting  # it has its default
    assert TEST_INTERNAL_SECRET not in starting


class TestMetrics:
    async def test_unknown_path_adds_no_label(self, notes: httpx.AsyncClient) -> None:
        await self.series(notes)  # adds its own series
        before = await self.series(notes)
        for number in range(20):
            await notes.get(f"/unknown/{number}")
            await notes.request(f"METHOD{number}", f"/unknown/{number}")
        await notes.get("/unknown/again")

        added = await self.series(notes) - before
        assert all('route="unmatched"' in one for one in added)
        assert len({one for one in added if one.startswith("http_requests_total")}) <= 2

    async def test_unknown_method_adds_no_label(self, notes: httpx.AsyncClient) -> None:
        await self.series(notes)  # adds its own series
        before = await self.series(notes)
        for number in range(20):
            assert (await notes.request(f"METHOD{number}", "/greeting")).status_code == 405

        added = await self.series(notes) - before
        assert not any("METHOD" in one for one in added)

    async def test_route_label_is_the_path_template(
        self, notes: httpx.AsyncClient, signed_in: dict[str, str]
    ) -> None:
        await notes.get("/notes/0190b6f5-2b52-7f7f-8f6b-8d2f3f0c1a11", headers=signed_in)
        found = await self.series(notes)

        assert 'http_requests_total{method="GET",route="/notes/{note_id}",status="404"}' in found
        assert 'http_request_duration_seconds_count{route="/notes/{note_id}"}' in found
        assert not any("0190b6f5" in one for one in found)

    async def series(self, notes: httpx.AsyncClient) -> set[str]:
        response = await notes.get("/metrics")
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/plain")
        return {
            line.rpartition(" ")[0]
            for line in response.text.splitlines()
            if line.startswith("http_") and "_created" not in line
        }


class TestHealth:
    @pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
    async def test_health_of_a_working_service_is_200(self, notes: httpx.AsyncClient, path: str) -> None:
        response = await notes.get(path)

        assert response.status_code == 200
        assert response.json()["status"] == "healthy"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", response.json()["timestamp"])

    async def test_service_without_its_database_is_not_ready(self, settings: Settings) -> None:
        url = f"sqlite:///{settings.data_dir}/folder/notes.db"
        database = Database(url)
        app = create_service(
            settings.model_copy(update={"database_url": url}),
            [Operation("GET", "/notes", handlers.list_notes, access=public)],
            client=HttpClient(),
            database=database,
        )
        LOG_SIZE.set(-1)
        async with running(lambda _settings: app, settings) as notes:
            async with asyncio.timeout(10):
                while REGISTRY.get_sample_value("database_wal_bytes") == -1:  # noqa: ASYNC110 - a thread sets no event
                    await asyncio.sleep(0.01)  # the first measurement would fail as well, and log it
            assert (await notes.get("/health/ready")).json()["checks"] == {
                "database": "up",
                "database_disk": "up",
                "revocations": "stale",  # no auth runs in this test
            }
            database.engine.dispose()
            (settings.data_dir / "folder").rename(settings.data_dir / "gone")
            with capture_logs() as lines:
                ready, alive = await notes.get("/health/ready"), await notes.get("/health")
                refused = await notes.get("/notes")
            (settings.data_dir / "gone").rename(settings.data_dir / "folder")

            assert ready.status_code == 503
            assert ready.json()["status"] == "unhealthy"
            assert ready.json()["checks"]["database"] == "down"
            assert ready.json()["checks"]["database_disk"] == "gone"
            assert alive.status_code == 200
            assert refused.status_code == 503
            assert refused.json()["code"] == "unavailable"
            assert [line["event"] for line in lines] == [
                "not_ready",
                "request",
                "database_failed",
                "request",
            ]
            assert (await notes.get("/health/ready")).status_code == 200
