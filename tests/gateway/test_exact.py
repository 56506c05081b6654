"""Bytes arrive as sent, in both directions: names, values, order, duplicates, targets, bodies."""

import re
import string
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.http.headers import FORGED, FORGED_PREFIXES, READ_AND_PASSED, REWRITTEN
from shared.http.hop_by_hop import HOP_BY_HOP
from tests.gateway.backends import Backend, Conversation
from tests.gateway.conftest import Start, StartBackend
from tests.gateway.support import RunningGateway, Wire

EXAMPLES = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
MADE_HERE = (
    "host",
    "x-request-id",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "traceparent",
)
LIKE_FRAMING = re.compile("transfer[^a-z0-9]*encoding|content[^a-z0-9]*length")
TOKEN = (
    string.ascii_letters + string.digits + "!#$%&'*+-.^`|~"
)  # without `_`: the gateway drops names that contain it
QUERY = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "#")
PATH = QUERY.replace("?", "").replace("%", "").replace("/", "")
# What some parsers read as another path: backslashes, parameters, and encoded dots and slashes.
READ_DIFFERENTLY = re.compile(r"\\|;|%2E|%2F|%5C|%25|%3B")
ANSWER_FIELDS = ("X-A", "x-b", "Set-Cookie", "Vary", "ETag", "Cache-Control", "X-Caf")


def is_passed(name: str) -> bool:
    small = name.lower()
    known = {*HOP_BY_HOP, *FORGED, *REWRITTEN, *READ_AND_PASSED}
    is_ours = small.encode() in known or small.startswith(
        tuple(prefix.decode() for prefix in FORGED_PREFIXES)
    )
    return not is_ours and not LIKE_FRAMING.fullmatch(small)


names = st.text(TOKEN, min_size=1, max_size=20).filter(is_passed)
texts = st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f")
values = st.text(st.one_of(texts, st.sampled_from(" \t")), max_size=40).map(lambda text: text.strip(" \t"))
fields = st.lists(st.tuples(st.one_of(names, st.sampled_from(["X-Same", "x-same"])), values), max_size=12)
segments = st.one_of(
    st.text(PATH, min_size=1, max_size=12).filter(lambda part: part not in (".", "..")),
    st.text(PATH.replace("\\", "").replace(";", ""), min_size=2, max_size=12).map(lambda part: f"a{part}"),
    st.binary(min_size=1, max_size=4).map(lambda raw: "x" + "".join(f"%{byte:02X}" for byte in raw)),
)
targets = st.tuples(st.lists(segments, max_size=4), st.none() | st.text(QUERY, max_size=30)).map(
    lambda parts: "/open/" + "/".join(parts[0]) + ("" if parts[1] is None else f"?{parts[1]}")
)


@given(fields)
@EXAMPLES
async def test_headers_arrive_in_order(
    gateway: RunningGateway, backend: Backend, sent: list[tuple[str, str]]
) -> None:
    wire = await gateway.connect()
    lines = ["GET /open HTTP/1.1", "Host: a", *(f"{name}: {value}" for name, value in sent), "", ""]
    await wire.send("\r\n".join(lines))
    assert (await wire.answer()).status == 200
    await wire.close()
    seen = [(name, value) for name, value in backend.received.pop().headers if name not in MADE_HERE]
    assert seen == [(name.lower(), value) for name, value in sent]


@given(targets)
@EXAMPLES
async def test_targets_arrive_unchanged(gateway: RunningGateway, backend: Backend, target: str) -> None:
    wire = await gateway.connect()
    await wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
    answer = await wire.answer()
    await wire.close()
    # A path that other parsers could read differently may be refused; it is never changed.
    if answer.status == 200:
        assert backend.received.pop().target == target
    else:
        assert (answer.status, answer.code) == (400, "bad_path")
        assert READ_DIFFERENTLY.search(target)
        assert not backend.received


@given(st.binary(max_size=3000), st.lists(st.integers(1, 900), max_size=6))
@EXAMPLES
async def test_bodies_arrive_complete_however_they_are_chunked(
    gateway: RunningGateway, backend: Backend, body: bytes, sizes: list[int]
) -> None:
    cuts = [0, *sorted({size for size in sizes if size < len(body)}), len(body)]
    pieces = [body[start:end] for start, end in pairwise(cuts)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
    wire = await gateway.connect()
    await wire.send(
        "POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", chunks, "0\r\n\r\n"
    )
    assert (await wire.answer()).status == 200
    await wire.send(f"POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n", body)
    assert (await wire.answer()).status == 200
    await wire.close()
    assert [backend.received.pop().body for _ in range(2)] == [body, body]


answer_fields = st.lists(st.tuples(st.sampled_from(ANSWER_FIELDS), values), max_size=10)


@pytest.fixture
async def answering(start_gateway: Start, start_backend: StartBackend) -> Callable[[bytes], Awaitable[Wire]]:
    """Sends a request to the gateway; its backend responds with these bytes."""
    answers: list[bytes] = []

    async def handler(conversation: Conversation) -> None:
        while await conversation.request():
            await conversation.send(answers.pop())

    backend = await start_backend(handler)
    gateway = await start_gateway(
        f"routes: [{{path: /open, backend: '{backend.url}', auth: none, rate_limit: {{rate: 100000/s}}}}]"
    )

    async def ask(answer: bytes) -> Wire:
        answers.append(answer)
        wire = await gateway.connect()
        await wire.send("GET /open HTTP/1.1\r\nHost: a\r\n\r\n")
        return wire

    return ask


@given(st.integers(200, 599), answer_fields, st.binary(max_size=2000))
@EXAMPLES
async def test_responses_arrive_unchanged(
    answering: Callable[[bytes], Awaitable[Wire]], status: int, sent: list[tuple[str, str]], body: bytes
) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent).encode("latin-1")
    head = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n%b\r\n" % (status, len(body), lines)
    is_bodiless = status in (204, 304)
    wire = await answering(head + (b"" if is_bodiless else body))
    answer = await wire.answer()
    await wire.close()
    assert answer.status == status
    assert answer.body == (b"" if is_bodiless else body)
    theirs = {name.lower() for name in ANSWER_FIELDS}
    seen = [(name, value) for name, value in answer.headers if name in theirs]
    if ("vary", "Origin") in seen and ("Vary", "Origin") not in sent:
        seen.remove(("vary", "Origin"))  # added by the gateway
    assert seen == [(name.lower(), value) for name, value in sent]
