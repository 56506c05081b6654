"""nginx with the containers' configuration: the responses that it generates itself."""

import http.server
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from gatehouse.certificate import write_pair
from shared.errors import PROBLEM_JSON
from tests import support
from tests.suite.conftest import ROOT


@dataclass
class Edge:
    """A running nginx and its log file."""

    url: str
    port: int
    log: Path
    process: "subprocess.Popen[bytes]"
    tls_port: int

    def entries(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@contextmanager
def nginx(folder: Path, *gateway_ports: int, https: bool = False) -> Iterator[Edge]:
    """Run nginx with the configuration of the containers; for HTTPS, with a pair in the folder."""
    (program,) = support.need("nginx")
    port, log, tls_port = support.free_port(), folder / "access", support.free_port()
    log.touch()
    config = (ROOT / "nginx" / "nginx.conf").read_text()
    config = re.sub(
        r"server gateway[\w-]*:8000 ([^;]*;)",
        lambda found: " ".join(f"server 127.0.0.1:{number} {found[1]}" for number in gateway_ports),
        config,
    )
    for before, after in (
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        ("/tmp/", f"{folder}/"),
        ("/dev/stdout", str(log)),
        ("/etc/nginx/https/*.conf", f"{folder}/https/*.conf"),
    ):
        config = config.replace(before, after)
    if https:
        (folder / "https").mkdir()
        listen = (ROOT / "nginx" / "https" / "listen.conf").read_text()
        listen = listen.replace("listen 443 ", f"listen 127.0.0.1:{tls_port} ")
        (folder / "https" / "listen.conf").write_text(listen.replace("/etc/nginx/tls", str(folder)))
        write_pair(folder, "localhost")
    (folder / "nginx.conf").write_text(config)
    command = [
        program,
        "-p",
        str(folder),
        "-e",
        "stderr",
        "-c",
        str(folder / "nginx.conf"),
        "-g",
        "daemon off;" + (" user root;" if os.getuid() == 0 else ""),
    ]
    with (folder / "errors").open("wb") as errors, subprocess.Popen(command, stderr=errors) as process:
        try:
            assert support.eventually(lambda: _accepts(port, process), seconds=30), (
                folder / "errors"
            ).read_text()
            yield Edge(f"http://127.0.0.1:{port}", port, log, process, tls_port)
        finally:
            process.terminate()


def _accepts(port: int, process: "subprocess.Popen[bytes]") -> bool:
    assert process.poll() is None
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with nginx(tmp_path_factory.mktemp("nginx"), support.free_port()) as running:
        yield running


def test_response_without_a_gateway_is_a_problem_with_the_request_id_of_the_log_line(edge: Edge) -> None:
    answer = httpx.get(f"{edge.url}/orders?token=secret", trust_env=False)
    body = answer.json()

    assert answer.status_code == body["status"] == 502
    assert answer.headers["content-type"] == PROBLEM_JSON
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["retry-after"] == "1"
    assert body["code"] == "upstream_unreachable"
    assert body["request_id"] == answer.headers["x-request-id"]
    assert support.eventually(
        lambda: (
            [one["path"] for one in edge.entries() if one["request_id"] == body["request_id"]] == ["/orders"]
        ),
        seconds=10,
    )


def test_client_request_id_is_kept_if_it_is_a_plain_token(edge: Edge) -> None:
    kept = httpx.get(edge.url, headers={"X-Request-ID": "mine-1"}, trust_env=False)
    other = httpx.get(edge.url, headers={"X-Request-ID": 'mine", "x": "'}, trust_env=False)

    assert kept.json()["request_id"] == "mine-1"
    assert re.fullmatch("[0-9a-f]{32}", other.json()["request_id"])


def test_metrics_are_a_404_problem(edge: Edge) -> None:
    answer = httpx.get(f"{edge.url}/metrics", trust_env=False)

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "retry-after" not in answer.headers


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", 431, "head_too_large"),
        (b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "head_too_large"),
    ],
    ids=["two hosts", "large header", "long URL"],
)
def test_unacceptable_request_is_refused_with_a_problem(
    edge: Edge, request_bytes: bytes, status: int, code: str
) -> None:
    with socket.create_connection(("127.0.0.1", edge.port), timeout=30) as connection:
        connection.sendall(request_bytes)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"application/problem+json" in head
    assert (json.loads(body)["status"], json.loads(body)["code"]) == (status, code)


def test_responses_of_the_gateway_pass_unchanged(tmp_path: Path) -> None:
    """A 502 from the gateway names the service at fault and must not be replaced."""

    class Gateway(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(502)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(self.headers["X-Request-ID"][:2].encode())

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Gateway) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with nginx(tmp_path, server.server_port) as edge:
            answer = httpx.get(edge.url, headers={"X-Request-ID": "mine"}, trust_env=False)
        server.shutdown()

    assert (answer.status_code, answer.text) == (502, "mi")


class SlowGateway(http.server.BaseHTTPRequestHandler):
    """Says by which scheme the client asked; a request for /slow waits until it may be answered."""

    protocol_version = "HTTP/1.1"
    asked, may_answer = threading.Event(), threading.Event()

    def do_GET(self) -> None:
        self.asked.set()
        if self.path == "/slow":
            self.may_answer.wait()
        body = self.headers["X-Forwarded-Proto"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def trusting(edge: Edge, folder: Path, *protocols: str) -> ssl.SSLSocket:
    """Connect with the certificate in the folder as the only trusted one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(folder / "cert.pem")
    context.set_alpn_protocols(list(protocols))
    plain = socket.create_connection(("127.0.0.1", edge.tls_port), timeout=30)
    return context.wrap_socket(plain, server_hostname="localhost")


def answered(connection: ssl.SSLSocket, path: str) -> bytes:
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    return b"".join(iter(lambda: connection.recv(65536), b""))


def test_https_speaks_http_2_redirects_and_tells_browsers_to_stay(tmp_path: Path) -> None:
    with nginx(tmp_path, support.free_port(), https=True) as edge:
        redirect = httpx.get(f"{edge.url}/orders?limit=5", trust_env=False)
        with trusting(edge, tmp_path, "h2", "http/1.1") as connection:
            assert connection.selected_alpn_protocol() == "h2"
            assert connection.version() == "TLSv1.3"
        with trusting(edge, tmp_path, "http/1.1") as connection:
            refused = answered(connection, "/orders")
        assert "strict-transport-security" not in httpx.get(f"{edge.url}/metrics", trust_env=False).headers
    assert (redirect.status_code, redirect.headers["location"]) == (308, "https://127.0.0.1/orders?limit=5")
    assert refused.startswith(b"HTTP/1.1 502 ")
    assert b"Strict-Transport-Security: max-age=31536000" in refused


def test_renewed_certificate_is_taken_while_a_request_is_under_way(tmp_path: Path) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), SlowGateway) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with nginx(tmp_path, server.server_port, https=True) as edge:
            connection = trusting(edge, tmp_path)
            connection.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert SlowGateway.asked.wait(30)
            for name in ("cert.pem", "key.pem"):
                (tmp_path / name).unlink()
            write_pair(tmp_path, "localhost")
            edge.process.send_signal(signal.SIGHUP)  # as `nginx -s reload` does

            def is_renewed() -> bool:
                try:
                    with trusting(edge, tmp_path) as renewed:
                        return answered(renewed, "/").endswith(b"https")
                except ssl.SSLCertVerificationError:
                    return False

            assert support.eventually(is_renewed, seconds=30)
            SlowGateway.may_answer.set()
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
            connection.close()
        server.shutdown()
    assert answer.startswith(b"HTTP/1.1 200 ")
