"""Calls from one service to another, over a real connection."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from shared.errors import InvalidToken, Unavailable
from shared.peers.client import (
    INTERNAL_TOKEN_SECONDS,
    AnswerLost,
    AnswerTooLarge,
    HttpClient,
    InternalTokens,
    Peer,
    PeerRefusal,
)
from shared.process.observe import current_request_id
from shared.testing import token
from tests.shared.notes.app import Settings
from tests.shared.processes import Running, forked, service_environment
from tests.shared.test_server import wait_until_ready
from tests.support import free_port


@pytest.fixture(scope="module")
def url() -> str:
    return f"http://127.0.0.1:{free_port()}"


@contextmanager
def service_at(url: str, folder: Path) -> Iterator[Running]:
    port = int(url.rpartition(":")[2])
    environment = service_environment(folder, port, LOG_FORMAT="json")
    with forked("tests.shared.notes", environment=environment) as running:
        wait_until_ready(running, url)
        yield running


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, url: str) -> Iterator[Running]:
    with service_at(url, tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture
async def peer(make_settings: Callable[..., Any], url: str) -> AsyncIterator[Peer]:
    client = HttpClient()
    yield Peer.of(make_settings(Settings), client, name="notes", url=f"{url}/")
    await client.close()


async def test_call_passes_on_the_request_id(service: Running, peer: Peer) -> None:
    current_request_id.set("follow-me")
    assert await peer.call("GET", "/internal/count") == {"count": 0}

    line = json.loads(service.line_with('"/internal/count"'))
    assert line["request_id"] == "follow-me"
    assert line["status"] == 200


async def test_call_sends_its_body_as_json(service: Running, peer: Peer) -> None:
    assert (await peer.call("POST", "/numbers", {"whole": 7}))["whole"] == 7


async def test_call_as_sends_the_token_of_the_caller_instead_of_our_own(service: Running, peer: Peer) -> None:
    assert await peer.call_as(f"Bearer {token()}", "GET", "/notes") == []

    with pytest.raises(Unavailable):  # our own token may not read people's notes
        await peer.call("GET", "/notes")


async def test_refusal_is_passed_on_with_status_code_and_detail(service: Running, peer: Peer) -> None:
    with pytest.raises(PeerRefusal) as raised:
        await peer.call("POST", "/numbers", {"whole": "7"})

    assert raised.value.status == 422
    assert raised.value.code == "validation_failed"
    assert [fault["field"] for fault in raised.value.errors] == ["whole"]
    assert raised.value.detail.startswith("Some fields")


async def test_refusals_do_not_affect_each_other(service: Running, peer: Peer) -> None:
    for path, status in (("/nowhere", 404), ("/numbers", 400)):
        with pytest.raises(PeerRefusal) as raised:
            await peer.call("POST", path)
        assert raised.value.status == status
    assert PeerRefusal.status == 500


@pytest.mark.parametrize(("method", "path"), [("GET", "/notes"), ("POST", "/accidents/x")])
async def test_failure_that_the_caller_cannot_fix_is_unavailable(
    service: Running, peer: Peer, method: str, path: str
) -> None:
    """A 401 between services is a fault in the configuration, and a 500 is one in the peer."""
    with capture_logs() as lines, pytest.raises(Unavailable):
        await peer.call(method, path)

    assert [line["event"] for line in lines] == ["peer_failed"]


async def test_unreachable_peer_is_unavailable_and_logged_once(make_settings: Callable[..., Any]) -> None:
    client = HttpClient()
    peer = Peer.of(make_settings(Settings), client, name="notes", url=f"http://127.0.0.1:{free_port()}")
    with capture_logs() as lines, pytest.raises(Unavailable) as raised:
        await peer.call("GET", "/internal/count")
    await client.close()

    assert raised.value.headers["Retry-After"] == "1"
    assert [line["event"] for line in lines] == ["peer_unreachable"]


async def test_calls_work_again_once_the_service_is_back(
    make_settings: Callable[..., Any], tmp_path: Path
) -> None:
    """A pooled connection that was closed meanwhile does not fail a call."""
    client, url = HttpClient(), f"http://127.0.0.1:{free_port()}"
    peer = Peer.of(make_settings(Settings), client, name="notes", url=url)
    with service_at(url, tmp_path):
        assert await peer.call("GET", "/internal/count") == {"count": 0}
    with capture_logs(), pytest.raises(Unavailable):
        await peer.call("GET", "/internal/count")
    with service_at(url, tmp_path):
        assert await peer.call("GET", "/internal/count") == {"count": 0}
    await client.close()


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """Run a foreign server that answers everything with these bytes."""

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(reply, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\noops",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"not http at all\r\n\r\n",
        b"",
    ],
)
async def test_nonsensical_response_is_unavailable(answer: bytes) -> None:
    client = HttpClient()
    async with answering(answer) as url:
        with capture_logs(), pytest.raises(Unavailable):
            await client.get_json(url)
    await client.close()


async def test_response_without_content_is_none() -> None:
    client = HttpClient()
    async with answering(b"HTTP/1.1 204 No Content\r\n\r\n") as url:
        assert await client.get_json(url) is None
    await client.close()


async def test_unused_client_can_be_closed() -> None:
    await HttpClient().close()


def test_token_signed_with_the_previous_secret_is_accepted_during_rotation(
    make_settings: Callable[..., Any],
) -> None:
    """First all services accept the new secret, then all sign with it, then the old one is removed."""
    old, new = "4f1c83d2a6b94e07b86d0a51c3f24e9a", "9d2b57e0f1a84c36a0e5d7c48b1f6230"
    only_old, only_new = (make_settings(Settings, internal_secret=one) for one in (old, new))
    both_old = make_settings(Settings, internal_secret=old, internal_secret_previous=new)
    both_new = make_settings(Settings, internal_secret=new, internal_secret_previous=old)
    for sender, receiver in (
        (only_old, both_old),
        (both_old, only_old),
        (both_old, both_new),
        (both_new, both_old),
        (both_new, only_new),
        (only_new, both_new),
    ):
        assert InternalTokens(receiver).verify(InternalTokens(sender).issue("notes")) == "notes"
    with pytest.raises(InvalidToken):
        InternalTokens(only_new).verify(InternalTokens(both_old).issue("notes"))
    with pytest.raises(InvalidToken):
        InternalTokens(both_new).verify(InternalTokens(both_old).issue("orders"))


def test_weak_previous_secret_is_refused(make_settings: Callable[..., Any]) -> None:
    with pytest.raises(ValidationError, match="internal_secret_previous"):
        make_settings(Settings, internal_secret_previous="change-me")


def test_internal_token_is_valid_for_a_minute() -> None:
    assert INTERNAL_TOKEN_SECONDS == 60


def test_internal_token_names_its_sender_and_is_valid_for_one_receiver(
    make_settings: Callable[..., Any],
) -> None:
    tokens = InternalTokens(make_settings(Settings))

    assert tokens.verify(tokens.issue("notes")) == "notes"
    with pytest.raises(InvalidToken):
        tokens.verify(tokens.issue("orders"))
    with pytest.raises(InvalidToken):
        tokens.verify(tokens.issue("notes") + "x")


async def test_download_is_bounded_and_refusals_keep_their_code(make_settings: Callable[..., Any]) -> None:
    client = HttpClient()
    documents = {
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n%PDF": b"%PDF",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n%PDF-": AnswerTooLarge,
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n%PD": AnswerLost,
        b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\n{}": Unavailable,
    }
    found: list[Any] = []
    for answer in documents:
        async with answering(answer) as url:
            peer = Peer.of(make_settings(Settings), client, name="notes", url=url)
            try:
                found.append(await peer.download("/internal/x", bytes_max=4))
            except Unavailable as error:
                found.append(type(error))
    gone = b'HTTP/1.1 404 Gone\r\nContent-Length: 15\r\n\r\n{"code":"gone"}'
    async with answering(gone) as url:
        peer = Peer.of(make_settings(Settings), client, name="notes", url=url)
        with pytest.raises(PeerRefusal) as raised:
            await peer.download("/internal/x", bytes_max=400)
    await client.close()

    assert found == [*documents.values()]
    assert raised.value.code == "gone"
