"""Calls to configured URLs: no private address is reached, and no server can stall a call."""

import asyncio
import gzip
import os
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any, ClassVar

import httpcore
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from shared.peers import guarded, outbound
from shared.peers.addresses import is_public, read_address
from shared.peers.outbound import Answer, BadAddress, CallFailed, Outbound, OutboundSettings, read_url
from shared.process.proxies import Networks
from shared.testing import TEST_INTERNAL_SECRET
from tests.shared.work.test_documentation import example

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
PUBLIC = "93.184.216.34"
SECONDS = 20

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Open = Callable[..., Outbound]


class Settings(OutboundSettings):
    service: ClassVar[str] = "billing"


def settings(folder: Path, environment: str = "development", **values: Any) -> Settings:
    given = {"data_dir": folder, "environment": environment, "internal_secret": TEST_INTERNAL_SECRET}
    return Settings.model_validate(given | values)


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Open]:
    made: list[Outbound] = []

    def make(
        environment: str = "development", allow: Networks = (), ca: Path | None = None, **limits: Any
    ) -> Outbound:
        chosen = settings(tmp_path, environment, outbound_allow=allow, outbound_ca_file=ca)
        made.append(Outbound(chosen, "tests", **limits))
        return made[-1]

    yield make
    for one in made:
        await one.close()


@asynccontextmanager
async def serving(handler: Handler, trust: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    writers: list[asyncio.StreamWriter] = []
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=trust)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for writer in writers:
            writer.transport.abort()
            if trust is None:  # with TLS it would wait for the client
                with suppress(OSError):
                    await writer.wait_closed()


def answering(answer: bytes, requests: list[bytes] | None = None) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if requests is not None:
            requests.append(request)
        writer.write(answer)
        await writer.drain()
        writer.close()

    return handle


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Make names resolve to these addresses, one list after the other; return the names looked up."""
    asked: list[str] = []

    def resolve(host: str, _port: int) -> list[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    monkeypatch.setattr(guarded, "_resolve", resolve)
    return asked


async def failure(call: Awaitable[Answer]) -> str:
    with pytest.raises(CallFailed) as raised:
        await call
    return raised.value.reason


class TestAddresses:
    @pytest.mark.parametrize(
        "address",
        """
        127.0.0.1 127.255.255.254 0.0.0.0 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1
        169.254.169.254 100.64.0.1 100.100.100.200 168.63.129.16 192.0.0.192 192.0.2.1 198.18.0.1
        198.51.100.7 203.0.113.9 224.0.0.1 255.255.255.255 240.0.0.1 192.88.99.1 :: ::1 ::127.0.0.1
        ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:0:127.0.0.1 fe80::1 fe80::1%eth0 fec0::1 fc00::1
        fd00:ec2::254 ff02::1 64:ff9b::7f00:1 64:ff9b:1::7f00:1 2001::1 2001:db8::1 2002:7f00:1::
        100::1 3fff::1 5f00::1
        """.split(),
    )
    def test_address_that_is_not_public_is_recognised(self, address: str) -> None:
        assert not is_public(read_address(address))

    @pytest.mark.parametrize(
        "address",
        """
        93.184.216.34 1.1.1.1 172.15.255.255 172.32.0.1 100.128.0.1
        2606:2800:220:1::1 2a00:1450::1 ::ffff:1.1.1.1
        """.split(),
    )
    def test_public_address_is_recognised(self, address: str) -> None:
        assert is_public(read_address(address))

    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("ftp://example.com/", "must begin with https://"),
            ("//example.com/", "must begin with https://"),
            ("file:///etc/passwd", "must begin with https://"),
            ("https:///x", "must name a host"),
            ("https://ex ample.com/", "invalid characters"),
            ("https://example.com/\r\nHost: x", "invalid characters"),
            ("https://example.com\\@10.0.0.1/", "invalid characters"),
            ("https://exämple.com/", "invalid characters"),
            ("https://exam$ple.com/", "must name a host"),
            ("https://ann:secret@example.com/", "a user name or a password"),
            ("https://example.com:99999/", "malformed"),
            ("https://[::1/", "malformed"),
            ("https://example.com/" + "x" * 2048, "more than 2048 characters"),
            ("https://" + "x" * 254 + "/", "must name a host"),
        ],
    )
    def test_bad_url_is_refused_with_the_reason(self, url: str, words: str) -> None:
        with pytest.raises(BadAddress, match=words):
            read_url(url)


class TestGuard:
    @pytest.mark.parametrize(
        "host",
        "127.0.0.1 localhost 2130706433 0x7f.1 127.1 [::1] [::ffff:127.0.0.1] 169.254.169.254 0".split(),
    )
    async def test_private_address_is_refused_however_it_is_written(self, make: Open, host: str) -> None:
        requests: list[bytes] = []
        client = make("production")
        async with serving(answering(OK, requests)) as port:
            for scheme in ("http", "https"):
                with pytest.raises(BadAddress, match="must have a public IP address"):
                    await client.call("GET", f"{scheme}://{host}:{port}/")
                with pytest.raises(BadAddress, match="must have a public IP address"):
                    await client.check(f"{scheme}://{host}:{port}/")
        assert requests == []

    async def test_host_with_a_private_address_among_others_is_refused(
        self, make: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        resolving(monkeypatch, [PUBLIC, "10.0.0.1"])

        with pytest.raises(BadAddress):
            await make("production").call("GET", "https://example.com/")

    async def test_name_is_resolved_once_and_the_checked_address_is_used(
        self, make: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked, connected = resolving(monkeypatch, [PUBLIC], ["127.0.0.1"]), []

        async def connect(_self: object, host: str, *_: Any, **__: Any) -> Any:
            connected.append(host)
            raise httpcore.ConnectError

        monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", connect)
        client = make("production")

        assert await failure(client.call("GET", "https://example.com/")) == "unreachable"
        assert (asked, connected) == (["example.com"], [PUBLIC])
        with pytest.raises(BadAddress):  # the name now resolves to another address
            await client.call("GET", "https://example.com/")
        assert connected == [PUBLIC]

    async def test_next_address_is_tried_when_one_is_unreachable(
        self, make: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with serving(answering(OK)) as port:
            resolving(monkeypatch, ["127.0.0.2", "127.0.0.1"])  # the server listens only on the second
            answer = await make().call("GET", f"http://example.com:{port}/")
        assert answer.body == b"hi"

    async def test_public_address_needs_tls(self, make: Open, monkeypatch: pytest.MonkeyPatch) -> None:
        resolving(monkeypatch, [PUBLIC])
        client = make("production")

        for call in (client.check("http://example.com/"), client.call("GET", "http://example.com/")):
            with pytest.raises(BadAddress, match="must begin with https://"):
                await call
        await client.check("https://example.com/")

    async def test_host_in_an_allowed_network_is_called(self, make: Open) -> None:
        async with serving(answering(OK)) as port:
            allowed = make("production", (ip_network("127.0.0.1/32"),))
            assert (await allowed.call("GET", f"http://127.0.0.1:{port}/")).status == 200
            with pytest.raises(BadAddress):
                await allowed.call("GET", f"http://127.0.0.2:{port}/")

    async def test_unknown_host_name_is_reported(self, make: Open, monkeypatch: pytest.MonkeyPatch) -> None:
        def resolve(*_: object) -> list[str]:
            raise OSError("Name or service not known")

        monkeypatch.setattr(guarded, "_resolve", resolve)
        client = make("production")

        assert await failure(client.call("GET", "https://example.com/")) == "unknown_host"
        with pytest.raises(BadAddress, match="does not resolve"):
            await client.check("https://example.com/")

    async def test_redirect_is_not_followed(self, make: Open) -> None:
        requests: list[bytes] = []
        async with serving(answering(OK, requests)) as other:
            moved = f"HTTP/1.1 307 X\r\nLocation: http://127.0.0.1:{other}/\r\nContent-Length: 0\r\n\r\n"
            async with serving(answering(moved.encode())) as port:
                answer = await make().call("POST", f"http://127.0.0.1:{port}/", body=b"secret")
        assert (answer.status, answer.is_success, requests) == (307, False, [])

    async def test_proxy_environment_variables_are_ignored(
        self, make: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with serving(answering(OK)) as port:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, "http://127.0.0.1:9")
            assert (await make().call("GET", f"http://127.0.0.1:{port}/")).status == 200


class TestHostileServers:
    async def test_server_that_never_responds_times_out(self, make: Open) -> None:
        async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            await reader.read()

        async with serving(hang) as port:
            assert await failure(make(seconds_max=0.2).call("GET", f"http://127.0.0.1:{port}/")) == "late"

    @pytest.mark.parametrize(
        "start", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n"]
    )
    async def test_server_that_sends_byte_by_byte_times_out(self, make: Open, start: bytes) -> None:
        async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(start)
            while not writer.is_closing():
                writer.write(b"x")
                await asyncio.sleep(0.02)

        async with serving(drip) as port:
            started = time.monotonic()
            assert await failure(make(seconds_max=0.3).call("GET", f"http://127.0.0.1:{port}/")) == "late"
            assert time.monotonic() - started < SECONDS

    async def test_endless_interim_responses_time_out(self, make: Open) -> None:
        async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            while not writer.is_closing():
                writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
                await asyncio.sleep(0.02)

        async with serving(stall) as port:
            assert await failure(make(seconds_max=0.3).call("GET", f"http://127.0.0.1:{port}/")) == "late"

    @pytest.mark.parametrize("framing", [b"Content-Length: 1001\r\n\r\n", b"Connection: close\r\n\r\n"])
    async def test_body_over_the_limit_is_refused(self, make: Open, framing: bytes) -> None:
        async with serving(answering(b"HTTP/1.1 200 OK\r\n" + framing + b"x" * 1001)) as port:
            client = make(answer_bytes_max=1000)
            assert await failure(client.call("GET", f"http://127.0.0.1:{port}/")) == "too_large"

    async def test_endless_body_is_refused(self, make: Open) -> None:
        async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            try:
                while True:
                    writer.write(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
                    await writer.drain()
            except ConnectionError:
                writer.close()

        async with serving(pour) as port:
            assert await failure(make().call("GET", f"http://127.0.0.1:{port}/")) == "too_large"

    async def test_body_of_exactly_the_limit_is_accepted(self, make: Open) -> None:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000
        async with serving(answering(answer)) as port:
            taken = await make(answer_bytes_max=1000).call("GET", f"http://127.0.0.1:{port}/")
        assert len(taken.body) == 1000

    async def test_compressed_response_is_refused(self, make: Open) -> None:
        bomb = gzip.compress(b"\0" * 1_000_000)
        header = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"
        requests: list[bytes] = []
        async with serving(answering(header.encode() + bomb, requests)) as port:
            assert await failure(make().call("GET", f"http://127.0.0.1:{port}/")) == "encoded"
        assert b"Accept-Encoding: identity\r\n" in requests[0]

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"\x00" * 100,
            b"SSH-2.0-OpenSSH\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
        ],
    )
    async def test_broken_response_is_a_failure(self, make: Open, answer: bytes) -> None:
        async with serving(answering(answer)) as port:
            assert await failure(make().call("GET", f"http://127.0.0.1:{port}/")) == "broken"

    async def test_slow_host_does_not_block_calls_to_others(self, make: Open) -> None:
        waiting = asyncio.Semaphore(0)

        async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            waiting.release()
            await reader.read()

        client = make(seconds_max=SECONDS)
        async with serving(hang) as slow, serving(answering(OK)) as quick:
            calls = [asyncio.create_task(client.call("GET", f"http://127.0.0.1:{slow}/")) for _ in range(60)]
            for _ in range(outbound.PER_HOST_MAX):
                await waiting.acquire()
            answer = await client.call("GET", f"http://127.0.0.1:{quick}/")
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
        assert answer.status == 200
        assert waiting.locked(), "no more than eight calls reached the slow host"


class TestCircuitBreaker:
    async def test_failing_host_is_not_called_for_a_while_and_then_probed_by_one_call(
        self, make: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        requests: list[bytes] = []
        client, at = make(), [1_000.0]
        monkeypatch.setattr("shared.peers.outbound.time.monotonic", lambda: at[0])
        async with serving(answering(b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n", requests)) as port:
            url = f"http://127.0.0.1:{port}/"
            for _ in range(5):
                assert (await client.call("GET", url)).status == 503
            with pytest.raises(CallFailed, match="resting") as raised:
                await client.call("GET", url)
            assert raised.value.retry_after == 30.0
            assert len(requests) == 5
            at[0] += 30.0
            tries = await asyncio.gather(*(client.call("GET", url) for _ in range(4)), return_exceptions=True)
            assert sorted(type(one).__name__ for one in tries) == ["Answer", *["CallFailed"] * 3]
            with pytest.raises(CallFailed) as raised:
                await client.call("GET", url)
            assert raised.value.retry_after == 60.0
        assert len(requests) == 6

    async def test_successful_call_closes_the_breaker(
        self, make: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client, at = make(), [1_000.0]
        monkeypatch.setattr("shared.peers.outbound.time.monotonic", lambda: at[0])
        async with serving(answering(OK)) as port:
            url = f"http://127.0.0.1:{port}/"
            host = client._host(read_url(url))
            for _ in range(9):
                host.failed()
            at[0] += 600.0
            for _ in range(3):
                assert (await client.call("GET", url)).status == 200

    async def test_number_of_known_hosts_is_limited(
        self, make: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(outbound, "HOSTS_MAX", 3)
        client = make()
        for number in range(10):
            client._host(read_url(f"https://h{number}.example.com/"))
        assert list(client._hosts) == [f"h{number}.example.com:443" for number in (7, 8, 9)]


class TestTls:
    async def test_certificate_must_match_the_called_name(
        self, make: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file, trust = certificate(tmp_path, "hooks.example.com")
        resolving(monkeypatch, ["127.0.0.1"])
        client, untrusting = make(ca=file), make()
        async with serving(answering(OK), trust) as port:
            assert (await client.call("GET", f"https://hooks.example.com:{port}/")).body == b"hi"
            assert await failure(client.call("GET", f"https://other.example.com:{port}/")) == "unreachable"
            assert (
                await failure(untrusting.call("GET", f"https://hooks.example.com:{port}/")) == "unreachable"
            )

    async def test_connection_is_closed_if_the_deadline_ends_its_handshake(self, make: Open) -> None:
        closed = asyncio.Event()

        async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            await reader.read()  # until the client hangs up
            closed.set()

        async with serving(hang) as port:
            reason = await failure(make(seconds_max=0.3).call("GET", f"https://127.0.0.1:{port}/"))
            async with asyncio.timeout(SECONDS):
                await closed.wait()
        assert reason in ("late", "busy")


def test_certificates_are_read_once_until_the_file_changes(tmp_path: Path) -> None:
    file, _ = certificate(tmp_path, "localhost")
    chosen = settings(tmp_path, outbound_ca_file=file)
    first = outbound.tls_context(chosen, "http")
    assert outbound.tls_context(chosen, "http") is first
    assert outbound.tls_context(chosen, "ldap") is not first  # which must not negotiate HTTP
    changed = file.stat().st_mtime + 1
    os.utime(file, (changed, changed))
    assert outbound.tls_context(chosen, "http") is not first


def certificate(folder: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file, key_file = folder / "certificate.pem", folder / "key.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key_file.write_bytes(key.private_bytes(*form))
    trust = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trust.load_cert_chain(file, key_file)
    return file, trust


class TestAnswer:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            ("120", 120.0),
            ("99999999999999999999", 3600.0),
            (format_datetime(datetime(2000, 1, 1, tzinfo=UTC), usegmt=True), 0.0),
            ("-1", None),
            ("soon", None),
            ("", None),
            ("²", None),
        ],
    )
    def test_retry_after_is_parsed_and_limited(self, value: str, seconds: float | None) -> None:
        assert Answer(503, {"retry-after": value}, b"").retry_after == seconds

    @pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000])
    def test_body_that_is_not_json_is_a_failure(self, body: bytes) -> None:
        with pytest.raises(CallFailed, match="not_json"):
            Answer(200, {}, body).json()

    def test_json_body_is_parsed(self) -> None:
        assert Answer(200, {}, b'{"a": 1}').json() == {"a": 1}


async def test_calls_are_counted_and_logs_contain_no_secret(make: Open) -> None:
    async with serving(answering(b"")) as port:
        labels = {"purpose": "tests", "outcome": "broken"}
        before = REGISTRY.get_sample_value("outbound_calls_total", labels) or 0.0
        with capture_logs() as logs:
            await failure(make().call("GET", f"http://127.0.0.1:{port}/T0P/s3cret?token=s3cret"))
    assert REGISTRY.get_sample_value("outbound_calls_total", labels) == before + 1
    assert [(line["event"], line["outcome"]) for line in logs] == [("outbound_failed", "broken")]
    assert "s3cret" not in str(logs)


@pytest.mark.parametrize(
    ("url", "answer", "outcome"),
    [
        ("http://127.0.0.1:{port}/", OK, "done"),
        ("http://127.0.0.1:{port}/", b"HTTP/1.1 429 X\r\nRetry-After: 7\r\n\r\n", "later: 429 in 7.0 s"),
        ("http://127.0.0.1:{port}/", b"", "later: broken"),
        ("http://10.0.0.1:{port}/", b"", "never: The host must have a public IP address."),
    ],
)
async def test_example_of_outbound_delivers(tmp_path: Path, url: str, answer: bytes, outcome: str) -> None:
    names: dict[str, Any] = {
        "OutboundSettings": OutboundSettings,
        "Outbound": Outbound,
        "BadAddress": BadAddress,
        "CallFailed": CallFailed,
        "settings": settings(tmp_path),
    }
    names["ClassVar"] = ClassVar
    exec(example("outbound.md"), names)
    async with serving(answering(answer)) as port:
        told = await deliver_with(names, url.format(port=port))
    assert told == outcome


async def deliver_with(names: dict[str, Any], url: str) -> Any:
    try:
        return await names["deliver"](url, b"{}")
    finally:
        await names["WEBHOOKS"].close()


class TestSlots:
    @pytest.mark.parametrize("of", ["the host", "all"])
    async def test_call_that_gets_no_slot_is_busy_and_does_not_count_against_the_host(
        self, make: Open, of: str
    ) -> None:
        client = make(seconds_max=0.01)
        async with serving(answering(OK)) as port:
            url = f"http://127.0.0.1:{port}/"
            host = client._host(read_url(url))
            slots = host.places if of == "the host" else client._places
            while not slots.locked():
                await slots.acquire()
            before = counted("busy")
            for _ in range(outbound.FAILURES_UNTIL_OPEN):
                assert await failure(client.call("GET", url)) == "busy"
            assert counted("busy") == before + outbound.FAILURES_UNTIL_OPEN
            assert host.failures == 0
            slots.release()
            client._seconds_max = SECONDS
            assert (await client.call("GET", url)).status == 200

    async def test_call_that_got_a_slot_is_late_and_one_that_gets_it_too_late_is_not_made(
        self, make: Open
    ) -> None:
        calls, closing = 0, asyncio.Event()

        async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal calls
            await reader.readuntil(b"\r\n\r\n")
            calls += 1
            await closing.wait()
            writer.close()

        client = make(seconds_max=0.5)
        async with serving(hang) as port:
            made = [failure(client.call("GET", f"http://127.0.0.1:{port}/")) for _ in range(20)]
            reasons = await asyncio.gather(*made)
            closing.set()

        assert (reasons.count("late"), reasons.count("busy")) == (outbound.PER_HOST_MAX, 12)
        assert calls <= outbound.PER_HOST_MAX


def counted(outcome: str) -> float:
    labels = {"purpose": "tests", "outcome": outcome}
    return REGISTRY.get_sample_value("outbound_calls_total", labels) or 0
