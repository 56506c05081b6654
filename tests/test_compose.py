"""docker-compose.yml: confinement, resource limits and networks of every container."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from gatehouse.compose import Container, NotDrawn, draw, drawn
from services.terminal.settings import BrokerSettings, Settings
from tests import support

ROOT = Path(__file__).parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
CONTAINERS: dict[str, dict[str, Any]] = COMPOSE["services"]
SERVERS = {"postgres", "redis"}
GATEWAYS = {"gateway"}
SERVICES = CONTAINERS.keys() - SERVERS - GATEWAYS - {"nginx"}
HEALTHCHECK = ROOT / "deploy" / "healthcheck.sh"


def test_compose_file_matches_the_services() -> None:
    assert {file.name for file, text in drawn(ROOT).items() if file.read_text() != text} == set()
    assert {folder.parent.name for folder in (ROOT / "services").glob("*/__main__.py")} == SERVICES


def test_generation_keeps_hand_written_parts_and_refuses_files_without_markers() -> None:
    services = [Container("billing", 8090, {"SIZE": "1"}, "invoices", {"shm_size": "64m"})]
    text = draw((ROOT / "docker-compose.yml").read_text(), services)
    billing = yaml.safe_load(text)["services"]["billing"]

    assert yaml.safe_load(text)["services"].keys() == {"nginx", "gateway", "billing", "postgres", "redis"}
    assert (billing["environment"]["SIZE"], billing["shm_size"]) == ("1", "64m")
    assert billing["volumes"] == ["billing:/data"]
    assert yaml.safe_load(text)["services"]["gateway"]["depends_on"].keys() == {"billing"}
    with pytest.raises(NotDrawn, match="addresses"):
        draw("services: {}\n", services)


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


def test_each_container_can_reach_only_those_it_calls() -> None:
    assert networks("nginx") == {"default"}
    for name in GATEWAYS:
        assert networks(name) == {"default", "services", "redis"}
    for name in SERVICES:
        assert networks(name) == {"services", "database", "redis"}
    assert networks("postgres") == {"database"}
    assert networks("redis") == {"redis"}
    assert COMPOSE["networks"]["database"] == COMPOSE["networks"]["redis"] == {"internal": True}


def test_each_program_trusts_only_the_proxies_in_front_of_it() -> None:
    subnet = {
        name: COMPOSE["networks"][name]["ipam"]["config"][0]["subnet"] for name in ("default", "services")
    }
    for name in GATEWAYS:
        assert CONTAINERS[name]["environment"]["TRUSTED_PROXIES"] == subnet["default"]
    for name in SERVICES:
        assert CONTAINERS[name]["environment"]["TRUSTED_PROXIES"] == subnet["services"]


def test_only_the_broker_of_boxes_has_the_socket_of_the_engine() -> None:
    boxes: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "deploy/compose.boxes.yml").read_text())[
        "services"
    ]
    terminal, broker = boxes["terminal"], boxes["terminal-broker"]
    sockets = [
        name
        for name, container in [*CONTAINERS.items(), *boxes.items()]
        if any("docker.sock" in volume for volume in container.get("volumes", []))
    ]

    assert sockets == ["terminal-broker"]
    assert boxes.keys() == {"terminal", "terminal-broker"}
    assert broker["image"] == CONTAINERS["terminal"]["image"]
    assert (broker["cap_drop"], broker["read_only"]) == (["ALL"], True)
    assert (broker["security_opt"], broker["network_mode"]) == (["no-new-privileges:true"], "none")
    assert not any("SECRET" in name or "DATABASE" in name for name in broker["environment"])
    shared = terminal["environment"]
    assert shared == {name: broker["environment"][name] for name in shared}
    (volume,) = terminal["volumes"]
    assert volume == f"{shared['DATA_DIR']}:{shared['DATA_DIR']}"  # the engine knows the host's paths only
    assert volume in broker["volumes"]


def test_settings_of_boxes_reach_the_service_and_the_broker_which_makes_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = yaml.safe_load((ROOT / "deploy/compose.boxes.yml").read_text())["services"]
    given: dict[str, str] = boxes["terminal-broker"]["environment"]
    named = {name.upper() for name in Settings.model_fields if name.startswith("box_")} - {"BOX_SHELL"}
    from_file = {name: value for name, value in given.items() if value.startswith("${BOX_")}
    for name in [*os.environ]:
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, re.sub(r"\$\{[A-Z_]+:-(.*)\}", r"\1", value))
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    broker = BrokerSettings.load()

    assert from_file.keys() == named - {"BOX_BROKER", "BOX_BACKEND"}
    assert all(value.startswith(f"${{{name}:-") for name, value in from_file.items())
    for name in from_file:
        assert getattr(broker, name.lower()) == Settings.model_fields[name.lower()].default
        assert boxes["terminal"]["environment"][name] == given[name]
    assert [*tmp_path.iterdir()] == []


def test_health_checks_have_timeouts_long_enough_for_a_busy_machine() -> None:
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
def test_health_check_returns_the_result_of_readiness(status: int, code: int) -> None:
    with responding(status, {"status": "degraded"}) as (port, asked):
        assert check_health(PORT=str(port)) == code
    assert asked == [("/health/ready", "localhost")]


@pytest.mark.parametrize(("status", "code"), [("healthy", 0), ("degraded", 1)])
def test_health_check_of_the_whole_suite_needs_every_service(status: str, code: int) -> None:
    with responding(200, {"status": status, "services": {"auth": {"status": "healthy"}}}) as (port, asked):
        assert check_health(GATEWAY_PORT=str(port)) == code
    assert asked == [("/health", "localhost")]


@contextmanager
def responding(status: int, body: dict[str, object]) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """Serve one response, without a newline at its end; yield the port, and what was asked for."""
    asked = []

    class Service(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Host"]))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body, separators=(",", ":")).encode())

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with HTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port, asked
        finally:
            server.shutdown()
            thread.join()


def test_health_check_fails_if_nothing_listens() -> None:
    assert check_health(PORT=str(support.free_port())) == 1


def test_health_check_times_out_without_a_response() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        assert check_health(PORT=str(mute.getsockname()[1]), HEALTH_SECONDS="1") == 1


def check_health(**settings: str) -> int:
    (bash,) = support.need("bash")
    environment = {"PATH": os.environ["PATH"], **settings}
    done = subprocess.run(
        [bash, str(HEALTHCHECK)], env=environment, capture_output=True, timeout=60, check=False
    )
    return done.returncode


def test_nginx_reloads_when_gateways_or_the_certificate_change_but_not_to_none_or_a_misfit(
    tmp_path: Path,
) -> None:
    (shell,) = support.need("sh")
    names, calls, asked = tmp_path / "names", tmp_path / "calls", tmp_path / "asked"
    programs = {
        "getent": f"cat {names}; [ -s {names} ] || touch {asked}",
        "nginx": f'echo "$@" >>{calls}\n'
        f'case "$1" in -s) ;; -t) [ ! -e {tmp_path}/misfit ] || {{ echo misfit >&2; exit 1; }} ;; '
        "*) exec sleep 60; esac",
    }
    for name, line in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)

    def resolve_to(*addresses: str) -> None:
        new = tmp_path / "new"
        new.write_text(
            "".join(f"{one} {kind} gateway\n" for one in addresses for kind in ("STREAM", "DGRAM"))
        )
        new.replace(names)

    def called(call: str) -> int:
        return calls.read_text().splitlines().count(call)

    def reloaded(times: int) -> bool:
        return support.eventually(lambda: called("-s reload") == times, seconds=30)

    resolve_to("10.0.0.1")
    (tmp_path / "tls").mkdir()
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "RESOLVE_SECONDS": "0.02"}
    environment["TLS_DIR"] = str(tmp_path / "tls")
    command = [shell, str(ROOT / "deploy/nginx-start.sh")]
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(command, env=environment, start_new_session=True, stderr=log) as running,
    ):
        try:
            assert support.eventually(calls.exists, seconds=30)
            for number, addresses in enumerate([("10.0.0.1", "10.0.0.2"), ("10.0.0.2",)], start=1):
                resolve_to(*addresses)
                assert reloaded(number)
            resolve_to()
            assert support.eventually(asked.exists, seconds=30)
            resolve_to("10.0.0.2", "10.0.0.3")
            assert reloaded(3)
            (tmp_path / "misfit").touch()
            (tmp_path / "tls" / "cert.pem").write_text("renewed")
            assert support.eventually(lambda: called("-t -q") > 2, seconds=30)
            (tmp_path / "tls" / "key.pem").write_text("renewed as well")
            tried = called("-t -q")
            assert support.eventually(lambda: called("-t -q") > tried + 2, seconds=30)
            assert (tmp_path / "log").read_text().splitlines() == ["misfit", "misfit"]  # once for each pair
            (tmp_path / "misfit").unlink()
            assert reloaded(4)
        finally:
            os.killpg(running.pid, signal.SIGKILL)
