"""HTTPS at the gateway itself: requests, WebSockets, bad and slow handshakes, and renewed certificates."""

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gatehouse.certificate import write_pair
from gateway.forwarding.tls import refuse_taken_port
from gateway.runtime import certificate as certificates
from gateway.settings import Settings
from shared.process.settings import SettingsFaults
from tests import support as programs
from tests.gateway.backends import Backend, Conversation
from tests.gateway.conftest import Start, StartBackend
from tests.gateway.support import RunningGateway, Wire, eventually
from tests.support import free_port

PROJECT = Path(__file__).parents[2]
ROUTE = "path: /open, auth: none, rate_limit: {rate: 100000/s}, body_max: 1GiB"


def routes(backend: Backend) -> str:
    return f'routes: [{{{ROUTE}, backend: "{backend.url}"}}]'


def trusting(folder: Path) -> ssl.SSLContext:
    """Return a client's context that trusts the certificate in the folder only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(folder / "cert.pem")
    return context


def pair(folder: Path) -> dict[str, Any]:
    """Write a new pair in place of the former one, and return the settings for it."""
    for name in ("cert.pem", "key.pem"):
        (folder / name).unlink(missing_ok=True)
    write_pair(folder, "localhost")
    return {"tls_cert": folder / "cert.pem", "tls_key": folder / "key.pem"}


@pytest.fixture
def secure(start_gateway: Start, backend: Backend, tmp_path: Path) -> Callable[..., Any]:
    async def start(**more: Any) -> RunningGateway:
        settings = {**pair(tmp_path), "tls_port": free_port(), **more}
        return await start_gateway(routes(backend), **settings)

    return start


async def test_requests_arrive_with_their_scheme_and_large_bodies_whole(
    secure: Callable[..., Any], backend: Backend, tmp_path: Path
) -> None:
    gateway = await secure()
    wire = await gateway.connect(trusting(tmp_path))
    chosen = wire.writer.get_extra_info("ssl_object")
    assert chosen.version() == "TLSv1.3"
    for _ in range(2):  # on one connection
        body = os.urandom(3_000_000)
        answer = await wire.request("POST", "/open/x", body=body)
        assert (answer.status, answer.json()["body"].encode("latin-1")) == (200, body)
    assert backend.received[-1].value("x-forwarded-proto") == "https"
    missing = await wire.request("GET", "/nowhere")
    assert missing.code == "not_found"
    plain = await gateway.request("GET", "/open/x")
    assert plain.status == 200  # the plain port is still there


async def test_refused_request_is_answered_before_the_connection_ends(
    secure: Callable[..., Any], tmp_path: Path
) -> None:
    gateway = await secure()
    wire = await gateway.connect(trusting(tmp_path))
    await wire.send("GET /open HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"x" * 1_000_000)
    answer = await wire.answer()
    assert answer.status == 400
    assert await wire.is_closed()


async def test_websocket_frames_pass_both_ways(
    start_backend: StartBackend, start_gateway: Start, tmp_path: Path
) -> None:
    async def switch(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
        )
        conversation.writer.write(await conversation.reader.readexactly(7))
        await conversation.writer.drain()
        await conversation.reader.read()

    backend = await start_backend(switch)
    settings = {**pair(tmp_path), "tls_port": free_port()}
    gateway = await start_gateway(routes(backend), **settings)
    wire = await gateway.connect(trusting(tmp_path))
    await wire.send(
        "GET /open HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    assert (await wire.head()).status == 101
    await wire.send(b"\x81\x81\x00\x00\x00\x00a")
    assert await wire.reader.readexactly(7) == b"\x81\x81\x00\x00\x00\x00a"


async def test_host_may_be_an_ipv6_address(secure: Callable[..., Any], tmp_path: Path) -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as probe:
            port = probe.getsockname()[1]
    except OSError:
        pytest.skip("this machine has no IPv6")
    gateway = await secure(host="::1", tls_port=port)
    connecting = asyncio.open_connection("::1", port, ssl=trusting(tmp_path), server_hostname="localhost")
    wire = Wire(*await connecting)
    assert (await wire.request("GET", "/open")).status == 200
    await wire.close()
    with pytest.raises(SystemExit, match="4"):
        refuse_taken_port(gateway.settings)


@pytest.mark.parametrize("early", [True, False], ids=["before_the_start", "during_the_start"])
def test_taken_port_stops_the_start_with_its_name(early: bool, backend: Backend, tmp_path: Path) -> None:
    (tmp_path / "routes.yaml").write_text(routes(backend))
    environment = os.environ | {name.upper(): str(value) for name, value in pair(tmp_path).items()}
    environment |= {"ROUTES_FILE": str(tmp_path / "routes.yaml"), "DATA_DIR": str(tmp_path)}
    check = "" if early else "gateway.refuse_taken_port = lambda _: None; "
    start = [sys.executable, "-c", f"import gateway.__main__ as gateway; {check}gateway.main()"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environment |= {"TLS_PORT": str(port), "PORT": str(free_port()), "ADMIN_PORT": "0"}
        ended = subprocess.run(
            start, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False, timeout=60
        )
    assert ended.returncode == 4
    told = ended.stderr.splitlines()[-1]
    assert told.startswith(f"gateway: cannot listen on 127.0.0.1:{port} (Address already in use).")
    assert told.endswith("or set TLS_PORT to a free one.")
    assert "Traceback" not in ended.stderr


async def test_bad_and_slow_handshakes_are_counted_bounded_and_ended(secure: Callable[..., Any]) -> None:
    gateway = await secure(head_seconds=0.3, connections_max=3)
    port = gateway.settings.tls_port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")  # no TLS at all
    with suppress(ConnectionError):
        await reader.read()
    writer.close()
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
    await eventually(lambda: gateway.state.crowd.shaking == 3)
    fourth, other = await asyncio.open_connection("127.0.0.1", port)
    with suppress(ConnectionError):
        assert await fourth.read() == b""  # beyond the limit, it ends at once
    assert gateway.state.crowd.shaking == 3
    other.close()
    for reader, writer in silent:
        with suppress(ConnectionError):
            await reader.read()  # ends once HEAD_SECONDS are over
        writer.close()
    await eventually(lambda: not gateway.state.crowd.shaking)


async def test_renewed_pair_is_used_by_new_connections_and_a_misfit_is_not(
    secure: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "POLL_SECONDS", 0.01)
    gateway = await secure()
    wire = await gateway.connect(trusting(tmp_path))

    (tmp_path / "other").mkdir()
    pair(tmp_path / "other")
    before = trusting(tmp_path)
    (tmp_path / "key.pem").write_bytes((tmp_path / "other" / "key.pem").read_bytes())
    await eventually(lambda: certificates.SUCCESS._value.get() == 0)
    assert (await (await gateway.connect(before)).request("GET", "/open")).status == 200

    pair(tmp_path)
    await eventually(lambda: certificates.SUCCESS._value.get() == 1)
    assert (await (await gateway.connect(trusting(tmp_path))).request("GET", "/open")).status == 200
    with pytest.raises(ssl.SSLCertVerificationError):
        await gateway.connect(before)
    assert (await wire.request("GET", "/open")).status == 200  # the old connection is still there


async def test_renewed_pair_is_used_once_its_mode_lets_the_gateway_read_it(
    secure: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "POLL_SECONDS", 0.01)
    gateway = await secure()
    key, real = tmp_path / "key.pem", certificates.Certificate._load

    def load(certificate: certificates.Certificate) -> ssl.SSLContext:
        if key.stat().st_mode & 0o777 == 0:  # root could read it
            raise certificates.CertificateError("Permission denied")
        return real(certificate)

    monkeypatch.setattr(certificates.Certificate, "_load", load)
    (tmp_path / "new").mkdir()
    pair(tmp_path / "new")
    (tmp_path / "new" / "key.pem").chmod(0)
    for name in ("cert.pem", "key.pem"):
        (tmp_path / "new" / name).replace(tmp_path / name)
    await eventually(lambda: certificates.SUCCESS._value.get() == 0)

    key.chmod(0o600)
    await eventually(lambda: certificates.SUCCESS._value.get() == 1)
    assert (await (await gateway.connect(trusting(tmp_path))).request("GET", "/open")).status == 200


async def test_requests_under_way_end_before_the_gateway_does(
    start_backend: StartBackend, start_gateway: Start, tmp_path: Path
) -> None:
    may_answer = asyncio.Event()

    async def late(conversation: Conversation) -> None:
        await conversation.request()
        await may_answer.wait()
        await conversation.answer(b"late")

    backend = await start_backend(late)
    gateway = await start_gateway(routes(backend), **pair(tmp_path), tls_port=free_port())
    wire = await gateway.connect(trusting(tmp_path))
    await wire.send("GET /open HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await eventually(lambda: bool(backend.received))
    stopping = asyncio.create_task(gateway.stop())
    await eventually(lambda: gateway.server.server_state.draining)
    may_answer.set()
    answer = await wire.answer()
    assert (answer.body, answer.value("connection")) == (b"late", "close")
    await stopping


@pytest.mark.parametrize("given", [{"TLS_CERT": "cert.pem"}, {"TLS_KEY": "key.pem"}])
def test_half_a_pair_is_refused(given: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsFaults, match="TLS_CERT and TLS_KEY belong together"):
        Settings.load()


async def test_workers_serve_https_and_curl_trusts_them(backend: Backend, tmp_path: Path) -> None:
    (curl,) = programs.need("curl")
    (tmp_path / "routes.yaml").write_text(routes(backend))
    tls = {name.upper(): str(value) for name, value in pair(tmp_path).items()}
    port = free_port()
    environment = os.environ | tls | {"TLS_PORT": str(port), "PORT": str(free_port()), "WORKERS": "2"}
    environment |= {"ROUTES_FILE": str(tmp_path / "routes.yaml"), "DATA_DIR": str(tmp_path)}
    environment["ADMIN_PORT"] = "0"
    gateway = subprocess.Popen([sys.executable, "-m", "gateway"], cwd=PROJECT, env=environment)  # noqa: ASYNC220
    fetch = [curl, "--silent", "--fail", "--retry", "60", "--retry-connrefused", "--retry-delay", "1"]
    fetch += ["--cacert", str(tmp_path / "cert.pem"), f"https://localhost:{port}/open/x", "-d", "hello"]
    try:
        done = await asyncio.to_thread(subprocess.run, fetch, capture_output=True, check=False)
        assert b'"body": "hello"' in done.stdout, done
    finally:
        gateway.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(gateway.wait, 30) == 0
