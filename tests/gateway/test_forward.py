"""What arrives at the backend and what comes back."""

import asyncio
import json
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway.backends import Backend, Conversation
from tests.gateway.conftest import Start, StartBackend
from tests.gateway.support import RunningGateway

PATH_CHARACTERS = "abcXYZ019-_~!$&'()*+,;=:@"
segments = st.one_of(
    st.text(PATH_CHARACTERS, max_size=8),
    st.sampled_from(["%2F", "%25", "%c3%a9", "a%20b", "..x", "x.", "%2525"]),
)
queries = st.text(PATH_CHARACTERS + '/?%25&=[]|^`{}"<>', max_size=30)
values = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=40
).map(lambda text: text.strip(" \t"))


@given(st.lists(segments, max_size=4), queries, st.lists(values, max_size=4))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_path_query_and_values_arrive_byte_for_byte(
    gateway: RunningGateway, parts: list[str], query: str, sent: list[str]
) -> None:
    target = "/open/" + "/".join(parts) + (f"?{query}" if query else "")
    wire = await gateway.connect()
    lines = [f"GET {target} HTTP/1.1", "Host: a", *(f"X-Value: {value}" for value in sent), "", ""]
    await wire.send("\r\n".join(lines))
    answer = await wire.answer()
    await wire.close()
    assert answer.status == 200, answer
    seen = answer.json()
    assert seen["target"] == target
    assert [value for name, value in seen["headers"] if name == "x-value"] == sent


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_bodies_are_forwarded_for_every_method(gateway: RunningGateway, method: str) -> None:
    answer = await gateway.request(method, "/open/x", body=b"hello")
    assert answer.status == 200
    assert (answer.json()["method"], answer.json()["body"]) == (method, "hello")


async def test_chunked_body_is_passed_on_in_chunks(gateway: RunningGateway, backend: Backend) -> None:
    wire = await gateway.connect()
    await wire.send(
        "POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-User-Id\r\n\r\n",
        "3\r\nabc\r\n",
        "4;ext=1\r\ndefg\r\n0\r\nX-User-Id: 1\r\n\r\n",
    )
    assert (await wire.answer()).json()["body"] == "abcdefg"
    assert backend.received[0].values("transfer-encoding") == ["chunked"]
    assert backend.received[0].values("x-user-id") == []
    assert (await wire.request("GET", "/open/again")).json()["target"] == "/open/again"


async def test_connections_are_kept_on_both_sides(gateway: RunningGateway, backend: Backend) -> None:
    wire = await gateway.connect()
    for number in range(5):
        assert (await wire.request("GET", f"/open/{number}")).json()["target"] == f"/open/{number}"
    assert backend.connections == 1


async def test_duplicate_headers_and_cookies_are_kept(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    async def cookies(conversation: Conversation) -> None:
        while await conversation.request():
            await conversation.answer(
                b"x",
                "200 OK",
                "Set-Cookie: a=1; Path=/",
                "Set-Cookie: b=2",
                "Set-Cookie: c=3, d",
                "Vary: A",
                "Vary: B",
            )

    backend = await start_backend(cookies)
    gateway = await start_gateway(_open_route(backend))
    wire = await gateway.connect()
    await wire.send(
        "GET /open HTTP/1.1\r\nHost: a\r\nCookie: a=1\r\nCookie: b=2\r\nAccept: x\r\nAccept: y\r\n\r\n"
    )
    answer = await wire.answer()
    assert answer.values("set-cookie") == ["a=1; Path=/", "b=2", "c=3, d"]
    assert answer.values("vary")[:2] == ["A", "B"]
    assert backend.received[0].values("cookie") == ["a=1", "b=2"]
    assert backend.received[0].values("accept") == ["x", "y"]


async def test_hop_by_hop_headers_are_not_forwarded(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    async def answer(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.answer(
            b"x",
            "200 OK",
            "Connection: keep-alive, X-Secret",
            "X-Secret: 1",
            "Keep-Alive: timeout=5",
            "X-Open: 2",
        )

    backend = await start_backend(answer)
    gateway = await start_gateway(_open_route(backend))
    hop = {
        "Connection": "keep-alive, X-Mine",
        "X-Mine": "1",
        "Keep-Alive": "timeout=9",
        "TE": "trailers",
        "Proxy-Authorization": "Basic x",
        "X-Yours": "2",
    }
    answered = await gateway.request("GET", "/open", hop)
    assert (answered.value("x-open"), answered.value("x-secret"), answered.value("keep-alive")) == (
        "2",
        None,
        None,
    )
    names = {name for name, _ in backend.received[0].headers}
    assert "x-yours" in names
    assert not names & {"connection", "x-mine", "keep-alive", "te", "proxy-authorization"}


async def test_forged_identity_headers_are_dropped(gateway: RunningGateway, backend: Backend) -> None:
    forged = {
        "X-User-Id": "1",
        "X-User-Email": "a@b.c",
        "X-Role": "admin",
        "X-Roles": "admin",
        "X-Email": "a@b.c",
        "X-Internal-Call": "1",
        "X-Real-IP": "9.9.9.9",
        "X-Forwarded-For": "9.9.9.9",
        "X-Forwarded-Prefix": "/x",
        "Forwarded": "for=9.9.9.9",
        "X_User_Id": "1",
        "x-useragent": "kept",
    }
    await gateway.request("GET", "/open", forged)
    received = backend.received[0]
    kept = {"host", "x-request-id", "traceparent", "x-useragent"}
    assert {name for name, _ in received.headers} == kept | {
        f"x-forwarded-{x}" for x in ("for", "proto", "host")
    }
    assert received.value("x-forwarded-for") == "127.0.0.1"
    assert received.value("x-forwarded-host") == "gateway.test"
    assert received.value("x-forwarded-proto") == "http"
    assert received.value("host") == f"127.0.0.1:{backend.port}"


async def test_forwarded_headers_of_trusted_proxies_are_kept(start_gateway: Start, backend: Backend) -> None:
    gateway = await start_gateway(_open_route(backend), trusted_proxies="127.0.0.0/8, 10.0.0.0/8")
    told = {
        "X-Forwarded-For": "6.6.6.6, 9.9.9.9, 10.1.1.1",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "shop",
    }
    await gateway.request("GET", "/open", told)
    received = backend.received[0]
    assert received.value("x-forwarded-for") == "6.6.6.6, 9.9.9.9, 10.1.1.1, 127.0.0.1"
    assert (received.value("x-forwarded-proto"), received.value("x-forwarded-host")) == ("https", "shop")


@pytest.mark.parametrize(
    ("sent", "kept"), [("good-id_1.2", True), ("", False), ("two words", False), ("x" * 129, False)]
)
async def test_request_id_of_the_caller_is_kept_if_well_formed(
    gateway: RunningGateway, backend: Backend, sent: str, kept: bool
) -> None:
    answer = await gateway.request("GET", "/open", {"X-Request-ID": sent})
    told = answer.value("x-request-id")
    assert (told == sent) is kept
    assert backend.received[0].values("x-request-id") == [told]
    refused = await gateway.request("GET", "/orders", {"X-Request-ID": sent})
    assert refused.status == 401
    assert (refused.value("x-request-id") == sent) is kept


async def test_trace_is_continued_or_started(gateway: RunningGateway, backend: Backend) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await gateway.request("GET", "/open", {"traceparent": trace})
    await gateway.request("GET", "/open", {"traceparent": "nonsense"})
    first, second = (request.value("traceparent") for request in backend.received)
    assert first == trace
    assert second is not None
    assert [len(part) for part in second.split("-")] == [2, 32, 16, 2]


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_responses_without_a_body_have_no_framing(
    start_gateway: Start, start_backend: StartBackend, status: str
) -> None:
    async def bodiless(conversation: Conversation) -> None:
        while await conversation.request():
            await conversation.send(f'HTTP/1.1 {status}\r\nETag: "1"\r\n\r\n')

    backend = await start_backend(bodiless)
    gateway = await start_gateway(_open_route(backend))
    wire = await gateway.connect()
    for _ in range(2):
        answer = await wire.request("GET", "/open")
        assert (f"{answer.status}", answer.value("etag")) == (status[:3], '"1"')
        assert (answer.value("transfer-encoding"), answer.value("content-length")) == (None, None)


async def test_head_has_a_length_and_no_body(start_gateway: Start, start_backend: StartBackend) -> None:
    async def head(conversation: Conversation) -> None:
        while received := await conversation.request():
            body = b"" if received.method == "HEAD" else b"12345"
            await conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", body)

    backend = await start_backend(head)
    gateway = await start_gateway(_open_route(backend))
    wire = await gateway.connect()
    for _ in range(2):
        assert (await wire.request("HEAD", "/open")).value("content-length") == "5"
        assert (await wire.request("GET", "/open")).body == b"12345"
    assert backend.connections == 1


async def test_response_without_length_is_sent_in_chunks(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    async def until_close(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send("HTTP/1.0 200 OK\r\n\r\n", b"abc", b"def")

    gateway = await start_gateway(_open_route(await start_backend(until_close)))
    wire = await gateway.connect()
    answer = await wire.request("GET", "/open")
    assert (answer.body, answer.value("transfer-encoding")) == (b"abcdef", "chunked")
    assert (await wire.request("GET", "/open")).body == b"abcdef"


async def test_trailers_of_chunked_responses_are_dropped(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    async def chunked(conversation: Conversation) -> None:
        while await conversation.request():
            await conversation.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "3\r\nabc\r\n")
            await conversation.send("2\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n")

    backend = await start_backend(chunked)
    gateway = await start_gateway(_open_route(backend))
    wire = await gateway.connect()
    assert [(await wire.request("GET", "/open")).body for _ in range(3)] == [b"abcde"] * 3
    assert backend.connections == 1


async def test_http_1_0_clients_get_no_chunks(start_gateway: Start, start_backend: StartBackend) -> None:
    async def chunked(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send("HTTP/1.1 103 Early Hints\r\n\r\n")
        await conversation.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")

    gateway = await start_gateway(_open_route(await start_backend(chunked)))
    raw = await gateway.raw("GET /open HTTP/1.0\r\n\r\n")
    head, _, body = raw.partition(b"\r\n\r\n")
    assert body == b"abc"
    assert b"connection: close" in head
    assert b"chunked" not in head


async def test_pipelined_requests_get_responses_in_order(gateway: RunningGateway) -> None:
    wire = await gateway.connect()
    own = "GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n"
    refused = "GET /orders HTTP/1.1\r\nHost: a\r\n\r\n"
    posts = [f"POST /open/{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{n:02}" for n in range(20)]
    await wire.send("".join([*posts[:10], own, refused, *posts[10:]]))
    answers = [await wire.answer() for _ in range(22)]
    forwarded = answers[:10] + answers[12:]
    assert [answer.json()["target"] for answer in forwarded] == [f"/open/{n}" for n in range(20)]
    assert [answer.json()["body"] for answer in forwarded] == [f"{n:02}" for n in range(20)]
    assert answers[10].json()["status"] == "healthy"
    assert answers[11].code == "unauthenticated"


# One request of every kind, with the status and, if forwarded, the target and body that arrive.
HOST = b" HTTP/1.1\r\nHost: a\r\n"
CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
KINDS = {
    b"GET /open/a" + HOST + b"\r\n": (200, "/open/a", ""),
    b"POST /open/b" + HOST + b"Content-Length: 5\r\n\r\nhello": (200, "/open/b", "hello"),
    b"PUT /open/c" + HOST + CHUNKS: (200, "/open/c", "abc"),
    b"GET /open/d" + HOST + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n": (200, "/open/d", ""),
    b"GET /health/live" + HOST + b"\r\n": (200, None, None),
    b"POST /nowhere" + HOST + b"Content-Length: 3\r\n\r\nabc": (404, None, None),
    b"POST /orders" + HOST + b"Content-Length: 3\r\n\r\nabc": (401, None, None),
    b"GET /open/../x" + HOST + b"\r\n": (400, None, None),
}
streams = st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=8)


@given(streams, st.lists(st.integers(1, 700), max_size=12))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_order_of_requests_and_packet_boundaries_do_not_matter(
    gateway: RunningGateway, sent: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(sent)
    wire = await gateway.connect()
    for start, end in pairwise([0, *sorted({cut for cut in cuts if cut < len(stream)}), len(stream)]):
        await wire.send(stream[start:end])
        await asyncio.sleep(0)
    for kind in sent:
        status, target, body = KINDS[kind]
        answer = await wire.answer()
        assert answer.status == status
        if target is not None:
            assert (answer.json()["target"], answer.json()["body"]) == (target, body)
    await wire.close()


async def test_number_of_pipelined_requests_is_limited(gateway: RunningGateway) -> None:
    raw = await gateway.raw(b"GET /open HTTP/1.1\r\nHost: a\r\n\r\n" * 5000)
    assert 50 < raw.count(b"HTTP/1.1 200 OK") < 500
    assert raw.count(b"connection: close") == 1


async def test_backend_decides_about_expect_continue(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    async def asks(conversation: Conversation) -> None:
        received = await conversation.head()
        assert received is not None
        assert received.value("expect") == "100-continue"
        await conversation.send("HTTP/1.1 100 Continue\r\n\r\n")
        body = b"".join([piece async for piece in conversation.pieces(received)])
        await conversation.answer(body)

    gateway = await start_gateway(_open_route(await start_backend(asks)))
    wire = await gateway.connect()
    await wire.send("POST /open HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    assert (await wire.answer()).status == 100
    await wire.send("12345")
    assert (await wire.answer()).body == b"12345"


async def test_refused_expectation_closes_the_connection(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    async def refuses(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.answer(b"no", "403 Forbidden")

    gateway = await start_gateway(_open_route(await start_backend(refuses)))
    wire = await gateway.connect()
    await wire.send("POST /open HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    answer = await wire.answer()
    assert (answer.status, answer.value("connection")) == (403, "close")
    assert await wire.is_closed()


async def test_early_hints_are_forwarded(start_gateway: Start, start_backend: StartBackend) -> None:
    async def hints(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
        await conversation.answer(b"done")

    gateway = await start_gateway(_open_route(await start_backend(hints)))
    wire = await gateway.connect()
    first = await wire.request("GET", "/open")
    assert (first.status, first.value("link")) == (103, "</a.css>; rel=preload")
    assert (await wire.answer()).body == b"done"


async def test_redirects_do_not_leak_the_address_of_a_backend(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    async def redirects(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.answer(
            b"", "307 Temporary Redirect", f"Location: {conversation.backend.url}/open/"
        )

    gateway = await start_gateway(_open_route(await start_backend(redirects)))
    assert (await gateway.request("GET", "/open")).value("location") == "/open/"


async def test_absolute_targets_are_forwarded_as_paths(gateway: RunningGateway) -> None:
    answer = await gateway.request("GET", "http://elsewhere.test/open/x?y")
    assert answer.json()["target"] == "/open/x?y"


async def test_concurrent_clients_each_get_their_own_response(gateway: RunningGateway) -> None:
    async def client(number: int) -> None:
        wire = await gateway.connect()
        for turn in range(10):
            body = json.dumps([number, turn]).encode()
            answer = await wire.request("POST", f"/open/{number}/{turn}", body=body)
            assert (answer.json()["target"], answer.json()["body"]) == (
                f"/open/{number}/{turn}",
                body.decode(),
            )

    await asyncio.gather(*(client(number) for number in range(40)))


def _open_route(backend: Backend) -> str:
    return f"routes: [{{path: /open, backend: '{backend.url}', auth: none, rate_limit: {{rate: 100000/s}}}}]"
