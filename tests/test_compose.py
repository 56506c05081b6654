"""docker-compose.yml: what every container may not do, what it may use, and whom it can reach."""

import os
import re
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import support

ROOT = Path(__file__).parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
CONTAINERS: dict[str, dict[str, Any]] = COMPOSE["services"]
SERVERS = {"postgres", "redis"}
GATEWAYS = {name for name in CONTAINERS if name.startswith("gateway")}
SERVICES = CONTAINERS.keys() - SERVERS - GATEWAYS - {"nginx"}
HEALTHCHECK = ROOT / "deploy" / "healthcheck.sh"


@pytest.mark.parametrize("name", CONTAINERS)
def test_container_is_confined_and_bounded(name: str) -> None:
    container = CONTAINERS[name]

    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert container["read_only"] is True
    assert container["pids_limit"] > 0
    assert re.fullmatch(r"\d+[mg]", container["mem_limit"])
    assert "SYS_ADMIN" not in container.get("cap_add", [])


def networks(name: str) -> set[str]:
    return set(CONTAINERS[name].get("networks", ["default"]))


def test_each_container_reaches_only_those_it_calls() -> None:
    assert networks("nginx") == {"default"}
    for name in GATEWAYS:
        assert networks(name) == {"default", "services", "redis"}
    for name in SERVICES:
        assert networks(name) == {"services", "database", "redis"}
    assert networks("postgres") == {"database"}
    assert networks("redis") == {"redis"}
    assert COMPOSE["networks"]["database"] == COMPOSE["networks"]["redis"] == {"internal": True}


def test_each_program_believes_only_the_proxies_in_front_of_it() -> None:
    subnet = {
        name: COMPOSE["networks"][name]["ipam"]["config"][0]["subnet"] for name in ("default", "services")
    }
    for name in GATEWAYS:
        assert CONTAINERS[name]["environment"]["TRUSTED_PROXIES"] == subnet["default"]
    for name in SERVICES:
        assert CONTAINERS[name]["environment"]["TRUSTED_PROXIES"] == subnet["services"]


def test_health_checks_have_time_on_a_busy_machine() -> None:
    (line,) = re.findall(r"^HEALTHCHECK (.*)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    timeouts = [int(seconds) for seconds in re.findall(r"--timeout=(\d+)s", line)]
    timeouts += [
        int(container["healthcheck"]["timeout"].removesuffix("s"))
        for container in CONTAINERS.values()
        if "healthcheck" in container
    ]

    assert len(timeouts) == 4
    assert min(timeouts) >= 10
    assert "python" not in line


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_health_check_is_what_readiness_answers(status: int, code: int) -> None:
    asked = []

    class Service(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Host"]))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quietly."""

    with HTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        assert check_health(server.server_port) == code
        server.shutdown()
        thread.join()
    assert asked == [("/health/ready", "localhost")]


def test_health_check_fails_where_nothing_listens() -> None:
    assert check_health(support.free_port()) == 1


def test_health_check_ends_when_nothing_is_answered() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        assert check_health(mute.getsockname()[1], HEALTH_SECONDS="1") == 1


def check_health(port: int, **more: str) -> int:
    (bash,) = support.need("bash")
    environment = {"PATH": os.environ["PATH"], "PORT": str(port), **more}
    done = subprocess.run(
        [bash, str(HEALTHCHECK)], env=environment, capture_output=True, timeout=60, check=False
    )
    return done.returncode
