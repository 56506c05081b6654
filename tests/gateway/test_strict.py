"""Ambiguous requests never become two requests."""

import pytest

from tests.gateway.backends import Backend
from tests.gateway.support import RunningGateway

SMUGGLED = "GET /open/smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
SIZE = f"{len(SMUGGLED):x}"
LENGTH = f"Content-Length: {len(SMUGGLED)}"
CHUNKED = "Transfer-Encoding: chunked"
SWITCH = "Connection: upgrade\r\nUpgrade:"
AMBIGUOUS = {
    "length and chunks": f"{LENGTH}\r\n{CHUNKED}\r\n\r\n0\r\n\r\n{SMUGGLED}",
    "chunks and length": f"{CHUNKED}\r\nContent-Length: 4\r\n\r\n{SIZE}\r\n{SMUGGLED}\r\n0\r\n\r\n",
    "two lengths": f"Content-Length: 0\r\nContent-Length: {len(SMUGGLED)}\r\n\r\n{SMUGGLED}",
    "two equal lengths": "Content-Length: 2\r\nContent-Length: 2\r\n\r\nab",
    "list of lengths": f"Content-Length: 0, {len(SMUGGLED)}\r\n\r\n{SMUGGLED}",
    "signed length": f"Content-Length: +{len(SMUGGLED)}\r\n\r\n{SMUGGLED}",
    "other coding": f"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n{SMUGGLED}",
    "unknown coding": f"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{SMUGGLED}",
    "two codings": f"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{SMUGGLED}",
    "space before colon": f"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{SMUGGLED}",
    "folded coding": f"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n{SMUGGLED}",
    "bad chunk size": f"Transfer-Encoding: chunked\r\n\r\nxyz\r\n{SMUGGLED}",
    "negative chunk size": f"Transfer-Encoding: chunked\r\n\r\n-1\r\n{SMUGGLED}",
    "huge chunk size": f"Transfer-Encoding: chunked\r\n\r\n{'f' * 17}\r\n{SMUGGLED}",
    "chunk without its end": f"Transfer-Encoding: chunked\r\n\r\n3\r\nabcde\r\n0\r\n\r\n{SMUGGLED}",
    "bare line feeds": f"X: 1\nContent-Length: {len(SMUGGLED)}\n\n{SMUGGLED}",
    "NUL in a value": f"X: a\0b\r\n\r\n{SMUGGLED}",
    "upgrade with a body": f"{SWITCH} websocket\r\n{LENGTH}\r\n\r\n{SMUGGLED}",
    "h2c with a body": f"{SWITCH} h2c\r\n{LENGTH}\r\n\r\n{SMUGGLED}",
    "two hosts": f"Host: b\r\nContent-Length: 0\r\n\r\n{SMUGGLED}",
    "two tokens": f"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n{SMUGGLED}",
}


@pytest.mark.parametrize("rest", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
async def test_ambiguous_request_is_refused_and_the_connection_closed(
    gateway: RunningGateway, backend: Backend, rest: str
) -> None:
    raw = await gateway.raw(f"POST /open HTTP/1.1\r\nHost: a\r\n{rest}")
    assert raw.startswith(b"HTTP/1.1 400 ")
    assert raw.count(b"HTTP/1.1 ") == 1
    assert b'"code":"bad_request"' in raw
    assert not any(request.target == "/open/smuggled" for request in backend.received)
    assert not any(request.body for request in backend.received)


async def test_chunks_in_http_1_0_are_refused(gateway: RunningGateway, backend: Backend) -> None:
    raw = await gateway.raw(f"POST /open HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}")
    assert raw.startswith(b"HTTP/1.1 400 ")
    assert not backend.received


@pytest.mark.parametrize(
    "bad", ["POST /open/bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "?"]
)
@pytest.mark.parametrize("is_warm", [False, True], ids=["new connection", "kept connection"])
async def test_malformed_request_does_not_affect_earlier_ones(
    gateway: RunningGateway, backend: Backend, is_warm: bool, bad: str
) -> None:
    if is_warm:
        await gateway.request("GET", "/open/warm")
        backend.received.clear()
    raw = await gateway.raw(f"GET /open/good HTTP/1.1\r\nHost: a\r\n\r\n{bad}")
    assert raw.index(b"HTTP/1.1 200 OK") < raw.index(b"HTTP/1.1 400 Bad Request")
    assert [request.target for request in backend.received] == ["/open/good"]


@pytest.mark.parametrize(
    "first_line", ["GET /open HTTP/2.0", "GET /open HTTP/0.9", "BREW /open HTTP/1.1", "hello"]
)
async def test_input_that_is_not_http_gets_a_problem(
    gateway: RunningGateway, backend: Backend, first_line: str
) -> None:
    raw = await gateway.raw(f"{first_line}\r\nHost: a\r\n\r\n")
    assert raw.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in raw
    assert not backend.received


async def test_endless_head_is_refused_with_431(gateway: RunningGateway) -> None:
    wire = await gateway.connect()
    await wire.send("GET /open HTTP/1.1\r\nHost: a\r\nX: ")
    for _ in range(10):
        await wire.send(b"x" * 65536)
    answer = await wire.answer()
    assert (answer.status, answer.code) == (431, "head_too_large")


async def test_connect_is_refused_with_405(gateway: RunningGateway) -> None:
    raw = await gateway.raw("CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: a\r\n\r\nhello")
    assert raw.startswith(b"HTTP/1.1 405 ")


async def test_upgrade_to_h2c_is_an_ordinary_request(gateway: RunningGateway, backend: Backend) -> None:
    fields = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__"}
    wire = await gateway.connect()
    assert (await wire.request("GET", "/open/first", fields)).status == 200
    assert (await wire.request("GET", "/open/second")).json()["target"] == "/open/second"
    names = {name for name, _ in backend.received[0].headers}
    assert not names & {"upgrade", "connection", "http2-settings"}


async def test_header_that_only_looks_like_framing_is_dropped(
    gateway: RunningGateway, backend: Backend
) -> None:
    fields = {
        "Transfer---Encoding": "chunked",
        "Content.Length": "9",
        "ContentLength": "9",
        "Content-Type": "a/b",
    }
    assert (await gateway.request("GET", "/open", fields)).status == 200
    names = {name for name, _ in backend.received[0].headers}
    assert {name for name in names if "encoding" in name or "content" in name} == {"content-type"}
