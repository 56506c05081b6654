"""Which requests are retried and which never are, counted at the backend."""

import asyncio
import socket
import struct

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from tests.gateway.backends import Backend, Conversation, echo
from tests.gateway.conftest import Start, StartBackend
from tests.gateway.support import eventually
from tests.support import free_port

REPEATABLE = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]


def reset(conversation: Conversation) -> None:
    """Close with a reset, as happens when a process dies with unread data."""
    connection: socket.socket = conversation.writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conversation.writer.transport.abort()


async def resets(conversation: Conversation) -> None:
    """Read a request and die."""
    await conversation.request()
    reset(conversation)


async def resets_in_the_head(conversation: Conversation) -> None:
    await conversation.request()
    await conversation.send("HTTP/1.1 200 O")
    reset(conversation)


class TestNothingWasSent:
    @pytest.mark.parametrize("method", [*REPEATABLE, "POST", "PATCH"])
    async def test_every_method_is_retried_elsewhere(
        self, start_gateway: Start, backend: Backend, method: str
    ) -> None:
        body = b"" if method in ("GET", "HEAD", "OPTIONS") else b"x" * 200_000  # more than any buffer
        gateway = await start_gateway(_routes(free_port(), backend.port, more="balance: round_robin"))
        for _ in range(4):
            assert (await gateway.request(method, "/x", body=body)).status == 200
        assert [len(received.body) for received in backend.received] == [len(body)] * 4

    async def test_connect_timeout_is_retried_elsewhere(self, start_gateway: Start, backend: Backend) -> None:
        # A full backlog, as on an overloaded machine.
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
            port = full.getsockname()[1]
            clogs = [socket.socket() for _ in range(8)]
            for clog in clogs:
                clog.setblocking(False)
                clog.connect_ex(("127.0.0.1", port))
            more = "balance: round_robin\n    timeout: {connect: 100ms}"
            gateway = await start_gateway(_routes(port, backend.port, more=more))
            assert [(await gateway.request("POST", "/x", body=b"x")).status for _ in range(2)] == [200, 200]
            for clog in clogs:
                clog.close()

    async def test_single_target_is_retried_after_a_pause(
        self, start_gateway: Start, start_backend: StartBackend
    ) -> None:
        port = free_port()
        gateway = await start_gateway(_routes(port, more="retry: {attempts: 3, backoff: 100ms..5s}"))
        with capture_logs() as lines:
            asking = asyncio.create_task(gateway.request("POST", "/x", body=b"once"))
            await eventually(lambda: any(line["event"] == "attempt_failed" for line in lines))
            async with Backend(echo, port) as late:
                assert (await asking).status == 200
                assert [received.body for received in late.received] == [b"once"]

    async def test_number_of_attempts_is_limited(self, start_gateway: Start) -> None:
        for attempts in (0, 2):
            ports = [free_port() for _ in range(4)]
            gateway = await start_gateway(_routes(*ports, more=f"retry: {{attempts: {attempts}}}"))
            with capture_logs() as lines:
                answer = await gateway.request("GET", "/x")
            assert (answer.status, answer.code) == (502, "upstream_unreachable")
            failed = [line for line in lines if line["event"] == "attempt_failed"]
            assert len(failed) == attempts + 1
            assert len({line["target"] for line in failed}) == attempts + 1
            (access,) = [line for line in lines if line["event"] == "request"]
            assert access["attempts"] == attempts + 1
            assert access["target"] == failed[-1]["target"]
            assert {line["request_id"] for line in failed} == {access["request_id"]}


class TestRequestMayHaveArrived:
    @pytest.mark.parametrize("method", REPEATABLE)
    async def test_idempotent_request_is_retried_elsewhere(
        self, start_gateway: Start, start_backend: StartBackend, method: str
    ) -> None:
        bad, good = await start_backend(resets), await start_backend()
        gateway = await start_gateway(_routes(bad.port, good.port, more="balance: round_robin"))
        for _ in range(4):
            assert (await gateway.request(method, "/x")).status == 200
        assert (len(bad.received), len(good.received)) == (2, 4)

    @pytest.mark.parametrize("method", ["POST", "PATCH"])
    @pytest.mark.parametrize("body", [b"", b"x"])
    async def test_other_request_is_sent_only_once(
        self, start_gateway: Start, start_backend: StartBackend, method: str, body: bytes
    ) -> None:
        backends = [await start_backend(resets) for _ in range(2)]
        gateway = await start_gateway(_routes(*(backend.port for backend in backends)))
        answer = await gateway.request(method, "/x", body=body)
        assert (answer.status, answer.code) == (502, "upstream_reset")
        assert sum(len(backend.received) for backend in backends) == 1

    async def test_small_body_is_resent_completely(
        self, start_gateway: Start, start_backend: StartBackend
    ) -> None:
        bad, good = await start_backend(_resets_at_the_first_piece), await start_backend()
        gateway = await start_gateway(_routes(bad.port, good.port, more="balance: round_robin"))
        answer = await gateway.request("PUT", "/x", body=b"first second third")
        assert (answer.status, answer.json()["body"]) == (200, "first second third")
        assert (len(bad.received), len(good.received)) == (1, 1)

    async def test_received_part_of_a_body_is_resent_and_the_rest_follows(
        self, start_gateway: Start, start_backend: StartBackend
    ) -> None:
        bad, good = await start_backend(_resets_at_the_first_piece), await start_backend()
        gateway = await start_gateway(_routes(bad.port, good.port, more="balance: round_robin"))
        wire = await gateway.connect()
        await wire.send(f"PUT /x HTTP/1.1\r\nHost: a\r\n{CHUNKED}\r\n\r\n6\r\nfirst \r\n")
        await eventually(lambda: len(good.received) == 1)
        await wire.send("7\r\nsecond \r\n", "5\r\nthird\r\n0\r\n\r\n")
        answer = await wire.answer()
        assert (answer.status, answer.json()["body"]) == (200, "first second third")
        assert (len(bad.received), len(good.received)) == (1, 1)

    async def test_body_beyond_the_buffer_is_not_resent(
        self, start_gateway: Start, start_backend: StartBackend
    ) -> None:
        backends = [await start_backend(resets) for _ in range(2)]
        more = "retry: {buffer: 1KiB}\n    balance: round_robin"
        gateway = await start_gateway(_routes(*(backend.port for backend in backends), more=more))
        assert (await gateway.request("PUT", "/x", body=b"x" * 1025)).status == 502
        assert sum(len(backend.received) for backend in backends) == 1
        assert (await gateway.request("PUT", "/x", body=b"x" * 1024)).status == 502
        assert sum(len(backend.received) for backend in backends) == 3

    async def test_no_retry_after_the_first_byte_of_a_response(
        self, start_gateway: Start, start_backend: StartBackend
    ) -> None:
        backends = [await start_backend(resets_in_the_head) for _ in range(2)]
        gateway = await start_gateway(_routes(*(backend.port for backend in backends)))
        answer = await gateway.request("GET", "/x")
        assert (answer.status, answer.code) == (502, "upstream_reset")
        assert sum(len(backend.received) for backend in backends) == 1

    async def test_no_retry_after_a_timeout(self, start_gateway: Start, start_backend: StartBackend) -> None:
        async def silent(conversation: Conversation) -> None:
            await conversation.request()
            await conversation.reader.read()

        backends = [await start_backend(silent) for _ in range(2)]
        more = "timeout: {first_byte: 100ms}"
        gateway = await start_gateway(_routes(*(backend.port for backend in backends), more=more))
        answer = await gateway.request("GET", "/x")
        assert (answer.status, answer.json()["phase"]) == (504, "first_byte")
        assert sum(len(backend.received) for backend in backends) == 1

    async def test_upgrade_request_is_sent_only_once(
        self, start_gateway: Start, start_backend: StartBackend
    ) -> None:
        backends = [await start_backend(resets) for _ in range(2)]
        gateway = await start_gateway(_routes(*(backend.port for backend in backends)))
        upgrade = {"Connection": "upgrade", "Upgrade": "websocket"}
        assert (await gateway.request("GET", "/x", upgrade)).status == 502
        assert sum(len(backend.received) for backend in backends) == 1


class TestBudget:
    async def test_budget_limits_the_retries_to_a_dying_service(
        self, start_gateway: Start, start_backend: StartBackend
    ) -> None:
        backend = await start_backend(resets)
        more = "ejection: {failures: 0}\n    retry: {backoff: 1ms..2ms}"
        gateway = await start_gateway(_routes(backend.port, more=more))
        before = {outcome: _retries(outcome) for outcome in ("answered", "failed", "denied")}
        requests = 400
        for _ in range(4):
            answers = await asyncio.gather(*(gateway.request("GET", "/x") for _ in range(requests // 4)))
            assert {answer.status for answer in answers} == {502}
        retried = len(backend.received) - requests
        # The retry budget: 20 % of requests, but at least three per second, over a window of ten seconds.
        assert 30 <= retried <= max(30, requests * 0.2)
        assert _retries("answered") == before["answered"]
        assert _retries("failed") - before["failed"] == retried
        assert _retries("denied") - before["denied"] == requests - retried

    async def test_successful_retries_are_counted_as_answered(
        self, start_gateway: Start, backend: Backend
    ) -> None:
        gateway = await start_gateway(_routes(free_port(), backend.port, more="balance: round_robin"))
        before = _retries("answered")
        for _ in range(4):
            assert (await gateway.request("GET", "/x")).status == 200
        assert _retries("answered") - before == 2


async def test_client_that_disconnects_ends_the_attempts(start_gateway: Start) -> None:
    gateway = await start_gateway(_routes(free_port(), more="retry: {attempts: 50, backoff: 50ms..50ms}"))
    with capture_logs() as lines:
        wire = await gateway.connect()
        await wire.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        await eventually(lambda: any(line["event"] == "attempt_failed" for line in lines))
        await wire.close()
        await eventually(lambda: any(line["event"] == "request" for line in lines))
        await eventually(lambda: not gateway.state._tasks)
    (access,) = [line for line in lines if line["event"] == "request"]
    assert access["status"] == 499
    assert len([line for line in lines if line["event"] == "attempt_failed"]) == access["attempts"] < 5


CHUNKED = "Transfer-Encoding: chunked"


async def _resets_at_the_first_piece(conversation: Conversation) -> None:
    received = await conversation.head()
    assert received is not None
    await conversation.reader.readexactly(6)
    reset(conversation)


def _routes(*ports: int, more: str = "") -> str:
    listed = ", ".join(f"'http://127.0.0.1:{port}'" for port in ports)
    return f"""
routes:
  - path: /x
    name: retried
    backends: [{listed}]
    auth: none
    methods: [GET, POST, PUT, PATCH, DELETE, OPTIONS]
    {more}
defaults: {{rate_limit: {{rate: 100000/s}}}}
"""


def _retries(outcome: str) -> float:
    labels = {"route": "retried", "outcome": outcome}
    return REGISTRY.get_sample_value("gateway_retries_total", labels) or 0
