"""Responses of backends, byte by byte, and the outcome expected of the gateway.

In every case the next request gets its own response. What follows `PAUSE` is sent only after the client has
received what precedes it.
"""

# One line for each case.
# ruff: noqa: E501
# fmt: off

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answered:
    """A response to GET (or `method`), and what the client gets; `None` for a body that is cut off."""

    name: str
    sent: bytes
    status: int
    body: bytes | None
    is_kept: bool  # whether the connection to the backend serves the next request as well
    method: str
    closes: bool  # whether the backend closes afterwards


def passes(name: str, sent: str, status: int = 200, body: str = "hello", *, method: str = "GET") -> Answered:
    """A response that is passed on; the connection is kept."""
    return Answered(name, sent.encode("latin-1"), status, body.encode("latin-1"), True, method, False)


def ends(name: str, sent: str, status: int = 200, body: str = "hello", *, method: str = "GET", closes: bool = False) -> Answered:
    """A response that is passed on; nothing else is read from that connection."""
    return Answered(name, sent.encode("latin-1"), status, body.encode("latin-1"), False, method, closes)


def invalid(name: str, sent: str, *, method: str = "GET") -> Answered:
    """An invalid response, which is replaced by 502 `upstream_invalid`."""
    return Answered(name, sent.encode("latin-1"), 502, b"upstream_invalid", False, method, False)


def cut(name: str, sent: str, *, closes: bool = False) -> Answered:
    """A response that begins as a valid one, but becomes invalid or ends early."""
    return Answered(name, sent.encode("latin-1"), 200, None, False, "GET", closes)


OK = "HTTP/1.1 200 OK\r\n"
CHUNKED = f"{OK}Transfer-Encoding: chunked\r\n\r\n"
HELLO = f"{OK}Content-Length: 5\r\n\r\nhello"
EVIL = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
MANY = "".join(f"X-{number}: {'v' * 100}\r\n" for number in range(6000))

GOOD: tuple[Answered, ...] = (
    passes("a length", HELLO),
    passes("chunks", f"{CHUNKED}5\r\nhello\r\n0\r\n\r\n"),
    passes("chunks with extensions", f"{CHUNKED}2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
    passes("chunks with trailers", f"{CHUNKED}5\r\nhello\r\n0\r\nX-A: b\r\nSet-Cookie: evil=1\r\n\r\n"),
    passes("no reason", "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello"),
    passes("an odd status", "HTTP/1.1 299 So So\r\nContent-Length: 5\r\n\r\nhello", 299),
    passes("an error", "HTTP/1.1 500 Oops\r\nContent-Length: 5\r\n\r\nhello", 500),
    passes("204", "HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
    passes("304 with a length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, ""),
    passes("HEAD with a length", f"{OK}Content-Length: 5\r\n\r\n", 200, "", method="HEAD"),
    passes("HEAD with chunks", CHUNKED, 200, "", method="HEAD"),
    passes("an empty body with a length", f"{OK}Content-Length: 0\r\n\r\n", 200, ""),
    passes("an empty line before the response", f"\r\n{HELLO}"),
    passes("100 before the response", f"HTTP/1.1 100 Continue\r\n\r\n{HELLO}"),
    passes("103 before the response", f"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{HELLO}"),
    passes("an unknown interim response", f"HTTP/1.1 199 Odd\r\n\r\n{HELLO}"),
    passes("a thousand interim responses", "HTTP/1.1 102 Processing\r\n\r\n" * 1000 + HELLO),
    passes("bytes above ASCII", f"{OK}X-A: caf\xe9\r\nContent-Length: 5\r\n\r\nhello"),
    passes("HTTP/1.0 with keep-alive", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello"),
)

LAST: tuple[Answered, ...] = (
    ends("HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    ends("a protocol like HTTP/1.0", "RTSP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    ends("close", f"{OK}Connection: close\r\nContent-Length: 5\r\n\r\nhello"),
    ends("close in a trailer", f"{CHUNKED}5\r\nhello\r\n0\r\nConnection: close\r\n\r\n"),
    ends("body until close", f"{OK}\r\nhello", closes=True),
    ends("body until close, HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nhello", closes=True),
    ends("a second response at once", HELLO + EVIL),
    ends("a second response after chunks", f"{CHUNKED}5\r\nhello\r\n0\r\n\r\n{EVIL}"),
    ends("a second response, later", f"{HELLO}PAUSE{EVIL}"),
    ends("an extra byte, later", f"{HELLO}PAUSEx"),
    ends("a body for HEAD, later", f"{OK}Content-Length: {len(EVIL)}\r\n\r\nPAUSE{EVIL}", 200, "", method="HEAD"),
    ends("an extra byte", f"{HELLO}x"),
    ends("a longer body than was announced", f"{OK}Content-Length: 5\r\n\r\nhello world"),
    ends("204 with a body", f"HTTP/1.1 204 No Content\r\nContent-Length: {len(EVIL)}\r\n\r\n{EVIL}", 204, ""),
    ends("204 with chunks", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n", 204, ""),
    ends("304 with a body", f"HTTP/1.1 304 Not Modified\r\nContent-Length: {len(EVIL)}\r\n\r\n{EVIL}", 304, ""),
    ends("HEAD with a body", HELLO, 200, "", method="HEAD"),
    ends("HEAD with a response as its body", f"{OK}Content-Length: {len(EVIL)}\r\n\r\n{EVIL}", 200, "", method="HEAD"),
    ends("HEAD with chunks as its body", f"{CHUNKED}4\r\nevil\r\n0\r\n\r\n", 200, "", method="HEAD"),
    ends("100 after the response", f"{HELLO}HTTP/1.1 100 Continue\r\n\r\n"),
)

BAD: tuple[Answered, ...] = (
    invalid("two lengths", f"{OK}Content-Length: 5\r\nContent-Length: 9\r\n\r\nhello"),
    invalid("two equal lengths", f"{OK}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    invalid("a list of lengths", f"{OK}Content-Length: 5, 5\r\n\r\nhello"),
    invalid("a signed length", f"{OK}Content-Length: +5\r\n\r\nhello"),
    invalid("a negative length", f"{OK}Content-Length: -5\r\n\r\nhello"),
    invalid("a length in hexadecimal", f"{OK}Content-Length: 0x5\r\n\r\nhello"),
    invalid("an empty length", f"{OK}Content-Length:\r\n\r\nhello"),
    invalid("a length beyond 64 bits", f"{OK}Content-Length: 99999999999999999999\r\n\r\nhello"),
    invalid("length and chunks", f"{OK}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    invalid("chunks and length", f"{OK}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    invalid("another coding", f"{OK}Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    invalid("another coding alone", f"{OK}Transfer-Encoding: gzip\r\n\r\nhello"),
    invalid("identity", f"{OK}Transfer-Encoding: identity\r\n\r\nhello"),
    invalid("chunked twice", f"{OK}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    invalid("chunked that is not last", f"{OK}Transfer-Encoding: chunked, gzip\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    invalid("chunks in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    invalid("a bad chunk", f"{CHUNKED}zz\r\nhello\r\n0\r\n\r\n"),
    invalid("a chunk size beyond 64 bits", f"{CHUNKED}fffffffffffffffff\r\nhello"),
    invalid("a chunk longer than it says", f"{CHUNKED}3\r\nhello\r\n0\r\n\r\n"),
    invalid("chunks with LF", f"{CHUNKED}5\nhello\n0\n\n"),
    invalid("a space before the colon", f"{OK}Content-Length : 5\r\n\r\nhello"),
    invalid("a field without a name", f"{OK}: 5\r\nContent-Length: 5\r\n\r\nhello"),
    invalid("a field without a colon", f"{OK}hello\r\n\r\nhello"),
    invalid("a NUL in a value", f"{OK}X: a\0b\r\nContent-Length: 5\r\n\r\nhello"),
    invalid("a bare CR in a value", f"{OK}X: a\rSet-Cookie: evil=1\r\nContent-Length: 5\r\n\r\nhello"),
    invalid("a bare LF", f"{OK}X: a\nSet-Cookie: evil=1\r\nContent-Length: 5\r\n\r\nhello"),
    invalid("a folded line", f"{OK}X: a\r\n b\r\nContent-Length: 5\r\n\r\nhello"),
    invalid("a status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 5\r\n\r\nhello"),
    invalid("a status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 5\r\n\r\nhello"),
    invalid("a status that is not a number", "HTTP/1.1 abc OK\r\nContent-Length: 5\r\n\r\nhello"),
    invalid("a status too high", "HTTP/1.1 600 OK\r\nContent-Length: 5\r\n\r\nhello"),
    invalid("a status too low", "HTTP/1.1 099 OK\r\nContent-Length: 5\r\n\r\nhello"),
    invalid("no status", "HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"),
    invalid("no version", "200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    invalid("a length as a trailer", f"{CHUNKED}5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n"),
    invalid("a request", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    invalid("binary", "\x16\x03\x01\x00\xc8\x01\x00"),
    invalid("an unrequested 101", "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n"),
    invalid("an endless head", f"{OK}{MANY}"),
    invalid("an endless field", f"{OK}X: {'v' * 600_000}"),
    cut("a bad chunk later on", f"{CHUNKED}5\r\nhello\r\nPAUSEzz\r\n"),
    cut("a body that ends early", f"{OK}Content-Length: 9\r\n\r\nhello", closes=True),
    cut("chunks that end early", f"{CHUNKED}5\r\nhello\r\n", closes=True),
    cut("endless trailers", f"{CHUNKED}5\r\nhello\r\nPAUSE0\r\nX: {'v' * 600_000}"),
)

CASES = (*GOOD, *LAST, *BAD)
