"""What RFC 9112 and 9110 say about request lines, fields, targets, methods, versions and connections.

Names are taken from Http11Probe where it has the case.
"""

# One line for each case.
# ruff: noqa: E501
# fmt: off

from tests.gateway.corpus.case import (
    HELLO,
    SMUGGLED,
    Case,
    chunked,
    declined,
    get,
    length,
    passes,
    post,
    refused,
    request,
    waits,
)

LINES = "RFC 9112 2.2: lines end with CR LF"
LINE = "RFC 9112 3: method, one space, target, one space, version"
BLANKS = "RFC 9112 3: several spaces may be read as one; one is written"
VERSION = "RFC 9112 2.3: HTTP/1.1 or HTTP/1.0"
HOST = "RFC 9112 3.2: exactly one Host, and it is a host"
TARGET = "RFC 9112 3.2: a path, or an absolute URI"
FIELD = "RFC 9112 5: name, colon, value"
BODY = "RFC 9112 6: a body with the announced framing"
METHOD = "RFC 9110 9.1: methods are known and in upper case"
BACKEND = "the backend decides"
CLOSE = "RFC 9112 9.3: the connection ends when one side says so"

CONNECTIONS_ARE_KEPT = "RFC 9112 9.3: a response of the gateway itself keeps the connection as well"
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
WEBSOCKET = ("Connection: Upgrade", "Upgrade: websocket", KEY, "Sec-WebSocket-Version: 13")
SWITCH = "RFC 9110 7.8: only the backend can switch, and only if it was asked to"


def hosted(host: str | None, *fields: str, line: str = "GET /x HTTP/1.1") -> bytes:
    return request(line, *fields, host=host)


REQUEST_LINES: tuple[Case, ...] = (
    passes("COMP-BASELINE", get(), "RFC 9112 2.1"),
    refused("RFC9112-2.2-BARE-LF-REQUEST-LINE", b"GET /x HTTP/1.1\nHost: a\r\n\r\n", LINES),
    refused("RFC9112-2.2-BARE-LF-HEADER", b"GET /x HTTP/1.1\r\nHost: a\nX-Test: value\r\n\r\n", LINES),
    refused("only LF at the line ends", b"GET /x HTTP/1.1\nHost: a\n\n", LINES),
    refused("an LF as the end of the head", b"GET /x HTTP/1.1\r\nHost: a\r\n\n" + SMUGGLED.encode(), LINES),
    refused("RFC9112-3-CR-ONLY-LINE-ENDING", b"GET /x HTTP/1.1\rHost: a\r\n\r\n", LINES),
    passes("RFC9112-3-MULTI-SP-REQUEST-LINE", hosted("a", line="GET  /x HTTP/1.1"), BLANKS, "GET /x"),
    passes("two spaces before the version", hosted("a", line="GET /x  HTTP/1.1"), BLANKS, "GET /x"),
    refused("a space after the version", hosted("a", line="GET /x HTTP/1.1 "), LINE),
    refused("a space before the method", hosted("a", line=" GET /x HTTP/1.1"), LINE),
    refused("RFC9112-3-MISSING-TARGET", hosted("a", line="GET HTTP/1.1"), LINE),
    refused("COMP-REQUEST-LINE-TAB", hosted("a", line="GET\t/x HTTP/1.1"), LINE),
    refused("COMP-SPACE-IN-TARGET", hosted("a", line="GET /pa th HTTP/1.1"), LINE),
    refused("COMP-WHITESPACE-BEFORE-HEADERS", b"GET /x HTTP/1.1\r\n \r\nHost: a\r\n\r\n", "RFC 9112 2.2"),
    passes("COMP-LEADING-CRLF", b"\r\n\r\n" + get(), "RFC 9112 2.2: an empty line before a request is skipped"),
    passes("an empty line between two requests", get() + b"\r\n" + get(), "RFC 9112 2.2", "GET /x", "GET /x"),
    refused("only a method", b"GET\r\n\r\n", LINE),
    waits("RFC9112-2.3-HTTP09-REQUEST", b"GET /x\r\n", "the next bytes decide"),
    refused("a complete HTTP/0.9 request", b"GET /x\r\n\r\n", VERSION),
    passes("a protocol like HTTP/1.0", hosted("a", line="GET /x RTSP/1.0"), "answered as HTTP/1.0", end="closed"),
)

VERSIONS: tuple[Case, ...] = tuple(
    refused(name, hosted("a", line=f"GET /x {version}"), VERSION)
    for name, version in (
        ("RFC9112-2.3-INVALID-VERSION", "HTTP/9.9"),
        ("COMP-VERSION-MISSING-MINOR", "HTTP/1"),
        ("COMP-VERSION-LEADING-ZEROS", "HTTP/01.01"),
        ("COMP-VERSION-WHITESPACE", "HTTP/ 1.1"),
        ("COMP-VERSION-CASE", "http/1.1"),
        ("COMP-HTTP12-VERSION", "HTTP/1.2"),
        ("HTTP/2.0", "HTTP/2.0"),
        ("HTTP/1.10", "HTTP/1.10"),
        ("HTTP/11", "HTTP/11"),
        ("HTTP/1,1", "HTTP/1,1"),
        ("HTTPS/1.1", "HTTPS/1.1"),
        ("ICE/1.0", "ICE/1.0"),
    )
)

HOSTS: tuple[Case, ...] = (
    refused("RFC9112-7.1-MISSING-HOST", hosted(None), HOST),
    refused("RFC9110-5.4-DUPLICATE-HOST", hosted("a", "Host: other.example.com"), HOST),
    refused("COMP-DUPLICATE-HOST-SAME", hosted("a", "Host: a"), HOST),
    refused("COMP-HOST-WITH-USERINFO", hosted("user@a"), HOST),
    refused("COMP-HOST-WITH-PATH", hosted("a/path"), HOST),
    refused("COMP-HOST-EMPTY-VALUE", hosted(""), HOST),
    refused("SMUG-MULTIPLE-HOST-COMMA", hosted("a, other.example.com"), HOST),
    refused("a host with a space", hosted("a b"), HOST),
    refused("a host with a query", hosted("a?x"), HOST),
    refused("a host with a fragment", hosted("a#x"), HOST),
    refused("a host with a backslash", hosted("a\\b"), HOST),
    refused("a port that is not a number", hosted("a:http"), HOST),
    refused("two ports", hosted("a:80:80"), HOST),
    refused("a port too large", hosted("a:99999999"), HOST),
    refused("an open bracket", hosted("[::1"), HOST),
    refused("a host above ASCII", hosted("caf\xe9"), HOST),
    refused("an overlong host", hosted("a" * 300), HOST),
    refused("a folded Host", hosted("a\r\n b"), HOST),
    refused("only a Host with a space before its colon", hosted(None, "Host : a"), FIELD),
    refused("only a Host on a line that begins with a space", hosted(None, " Host: a"), FIELD),
    passes("a port", hosted("a.example:8080"), HOST),
    passes("an empty port", hosted("a.example:"), "RFC 3986 3.2.3: the port may be empty"),
    passes("an address", hosted("127.0.0.1:80"), HOST),
    passes("an IPv6 address", hosted("[::1]:80"), HOST),
    passes("a percent-encoded host", hosted("a%2Eb"), "RFC 3986 3.2.2: reg-name"),
    passes("an underscore in a host", hosted("my_service"), "RFC 3986 3.2.2: reg-name"),
    passes("COMP-HTTP10-NO-HOST", hosted(None, line="GET /x HTTP/1.0"), "HTTP/1.0 has no Host", end="closed"),
    refused("no Host for one of the gateway's own pages", hosted(None, line="GET /health/live HTTP/1.1"), HOST),
    refused("two Hosts for one of the gateway's own pages", hosted("a", "Host: b", line="GET /health/live HTTP/1.1"), HOST),
    refused("no Host for a path without a route", hosted(None, line="GET /internal/x HTTP/1.1"), HOST),
)

TARGETS: tuple[Case, ...] = (
    declined("RFC9112-3.2-FRAGMENT-IN-TARGET", get(target="/path#frag"), TARGET, 400),
    passes("COMP-ABSOLUTE-FORM", get(target="http://a/x"), "RFC 9112 3.2.2", "GET /x"),
    passes("absolute, nothing after the host", get(target="http://a"), "RFC 9112 3.2.2", "GET /"),
    passes("absolute, only a query", get(target="http://a?q=1"), "RFC 9112 3.2.2", "GET /?q=1"),
    passes("absolute and HTTPS", get(target="https://a/x"), "RFC 9112 3.2.2", "GET /x"),
    passes("SMUG-ABSOLUTE-URI-HOST-MISMATCH", get(target="http://other.example/x"), "RFC 9112 3.2.2: the target wins", "GET /x"),
    refused("absolute without Host", hosted(None, line="GET http://a/x HTTP/1.1"), HOST),
    declined("absolute without a host", get(target="http:///x"), TARGET, 400),
    passes("absolute with a user", get(target="http://user@a/x"), "RFC 9110 4.2.4: the user is ignored", "GET /x"),
    declined("absolute with another scheme", get(target="ftp://a/x"), TARGET, 400),
    refused("absolute with an invalid host", get(target="http://a b/x"), LINE),
    declined("absolute with an invalid port", get(target="http://a:b/x"), TARGET, 400),
    declined("COMP-ASTERISK-WITH-GET", get(target="*"), "RFC 9112 3.2.4: only with OPTIONS", 400),
    declined("COMP-OPTIONS-STAR", hosted("a", line="OPTIONS * HTTP/1.1"), "no route matches `*`", 400),
    refused("a name without a slash", get(target="x"), TARGET),
    refused("host and port", get(target="a:80"), TARGET),
    refused("a query alone", get(target="?x"), TARGET),
    passes("two leading slashes", get(target="//a/x"), "RFC 9112 3.2.1: a path, not an authority"),
    declined("dot segments", get(target="/a/../b"), "RFC 3986 5.2.4: parsers disagree about them", 400),
    declined("percent-encoded dot segments", get(target="/a/%2e%2e/b"), "RFC 3986 5.2.4: parsers disagree about them", 400),
    refused("a CR in the target", get(target="/x\ry"), TARGET),
    refused("an LF in the target", get(target="/x\ny"), TARGET),
    refused("DEL in the target", get(target="/x\x7f"), TARGET),
    passes("characters not allowed in a URI but sent by browsers", get(target='/a|b?c="{}<>^`'), "passed unchanged"),
    passes("percent signs without hexadecimal digits", get(target="/a%zz%"), "passed unchanged"),
)

FIELDS: tuple[Case, ...] = (
    refused("RFC9112-5.1-OBS-FOLD", get("X-Test: value\r\n continued"), "RFC 9112 5.2"),
    refused("a folded line with a tab", get("X-Test: value\r\n\tcontinued"), "RFC 9112 5.2"),
    refused("RFC9110-5.6.2-SP-BEFORE-COLON", get("X-Test : value"), FIELD),
    refused("RFC9112-5-EMPTY-HEADER-NAME", get(": empty-name"), FIELD),
    refused("RFC9112-5-INVALID-HEADER-NAME", get("Bad[Name: value"), FIELD),
    refused("RFC9112-5-HEADER-NO-COLON", get("NoColonHere"), FIELD),
    refused("SMUG-BARE-CR-HEADER-VALUE", post("Content-Length: 5", "X-Test: val\rue", body="hello"), LINES),
    refused("RFC9112-6.1-CL-NON-NUMERIC", length("abc", ""), BODY),
    refused("RFC9112-6.1-CL-PLUS-SIGN", length("+5"), BODY),
    refused("COMP-UNKNOWN-TE-501", post("Transfer-Encoding: gzip"), "RFC 9112 6.1"),
    refused("a NUL and a field after it", get("X: a\0\r\nY: b"), FIELD),
    passes("COMP-DUPLICATE-CT", post("Content-Length: 5", "Content-Type: text/plain", "Content-Type: text/html", body="hello"), BACKEND),
    refused("two tokens", get("Authorization: Bearer a", "Authorization: Bearer b"), "RFC 9110 11.6.2: one token"),
    passes("COMP-ACCEPT-NONSENSE", get("Accept: application/x-nonsense"), BACKEND),
    passes("COMP-RANGE-INVALID", get("Range: bytes=abc-xyz"), BACKEND),
    passes("COMP-RANGE-POST", post("Content-Length: 5", "Range: bytes=0-10", body="hello"), BACKEND),
    Case("COMP-EXPECT-UNKNOWN", get("Expect: 200-ok"), (417,), (), "open", "RFC 9110 10.1.1"),
    passes("hop-by-hop fields", get("Connection: close-not, X-Hop", "X-Hop: 1", "Keep-Alive: 5", "TE: trailers"), "RFC 9110 7.6.1"),
    passes("Host named as hop-by-hop", get("Connection: Host"), "RFC 9110 7.6.1: the gateway writes its own"),
    passes("the request id named as hop-by-hop", get("Connection: X-Request-ID"), "the gateway writes its own"),
)

BODIES: tuple[Case, ...] = (
    passes("COMP-POST-CL-BODY", length("5"), BODY),
    passes("COMP-POST-CL-ZERO", length("0", ""), BODY),
    passes("COMP-POST-NO-CL-NO-TE", post(), "RFC 9112 6.3: no framing, no body"),
    waits("COMP-POST-CL-UNDERSEND", length("10"), BODY),
    passes("COMP-CHUNKED-BODY", chunked(HELLO), BODY),
    passes("COMP-CHUNKED-MULTI", chunked("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"), BODY),
    passes("COMP-CHUNKED-EMPTY", chunked("0\r\n\r\n"), BODY),
    waits("COMP-CHUNKED-NO-FINAL", chunked("5\r\nhello\r\n"), BODY),
    waits("last chunk without the final CRLF", chunked("5\r\nhello\r\n0\r\n"), BODY),
    passes("COMP-CHUNKED-EXTENSION", chunked("5;ext=value\r\nhello\r\n0\r\n\r\n"), BODY),
    passes("COMP-CHUNKED-HEX-UPPERCASE", chunked("A\r\nhelloworld\r\n0\r\n\r\n"), BODY),
    passes("COMP-GET-WITH-CL-BODY", get("Content-Length: 5", body="hello"), "RFC 9110 9.3.1: unusual but valid"),
    passes("GET with chunks", get("Transfer-Encoding: chunked", body=HELLO), "RFC 9110 9.3.1: unusual but valid"),
    passes("COMP-POST-UNSUPPORTED-CT", post("Content-Length: 5", "Content-Type: application/x-nonsense", body="hello"), BACKEND),
    passes("COMP-HEAD-NO-BODY", request("HEAD /x HTTP/1.1"), "RFC 9110 9.3.2: no response body"),
    passes("a body that looks like a request", length(str(len(SMUGGLED)), SMUGGLED), BODY),
    passes("a body and a pipelined request", length("5") + get(), BODY, "POST /x", "GET /x"),
)

METHODS: tuple[Case, ...] = (
    refused("COMP-METHOD-CASE", hosted("a", line="get /x HTTP/1.1"), METHOD),
    refused("COMP-UNKNOWN-METHOD", hosted("a", line="FOOBAR /x HTTP/1.1"), METHOD),
    refused("COMP-METHOD-CONNECT", hosted("a", line="CONNECT example.com:443 HTTP/1.1"), "RFC 9110 9.3.6: no tunnels", 405),
    declined("COMP-METHOD-TRACE", hosted("a", line="TRACE /x HTTP/1.1"), "RFC 9110 9.3.8: TRACE would reveal secrets", 405),
    declined("COMP-TRACE-SENSITIVE", hosted("a", "Authorization: Bearer secret", line="TRACE /x HTTP/1.1"), "RFC 9110 9.3.8", 405),
    declined("COMP-TRACE-WITH-BODY", request("TRACE /x HTTP/1.1", "Content-Length: 5", body="hello"), CONNECTIONS_ARE_KEPT, 405),
    passes("COMP-405-ALLOW", hosted("a", line="DELETE /x HTTP/1.1"), BACKEND),
    passes("COMP-OPTIONS-ALLOW", hosted("a", line="OPTIONS /x HTTP/1.1"), BACKEND),
    declined("a WebDAV method", hosted("a", line="PROPFIND /x HTTP/1.1"), METHOD, 405),
    refused("an empty method", hosted("a", line=" /x HTTP/1.1"), LINE),
)

CONNECTIONS: tuple[Case, ...] = (
    passes("COMP-CONNECTION-CLOSE", get("Connection: close"), CLOSE, end="closed"),
    passes("a request pipelined after Connection: close", get("Connection: close") + get(), CLOSE, "GET /x", end="closed"),
    passes("close among other options", get("Connection: X-A, Close"), CLOSE, end="closed"),
    passes("COMP-HTTP10-DEFAULT-CLOSE", hosted("a", line="GET /x HTTP/1.0"), CLOSE, end="closed"),
    passes("HTTP/1.0 with keep-alive", hosted("a", "Connection: keep-alive", line="GET /x HTTP/1.0"), CLOSE, end="closed"),
    passes("two HTTP/1.0 requests", hosted("a", line="GET /x HTTP/1.0") + get(), CLOSE, "GET /x", end="closed"),
    passes("COMP-NO-1XX-HTTP10", request("POST /x HTTP/1.0", "Expect: 100-continue", "Content-Length: 5", body="hello"), "RFC 9110 15.2", end="closed"),
    declined("a refusal keeps the connection", get(target="/internal/x"), CONNECTIONS_ARE_KEPT, 404),
    passes("twenty pipelined requests", get() * 20, CLOSE, *(["GET /x"] * 20)),
    Case("a valid request and an invalid one", get() + b"GET /y HTTP/9.9\r\n\r\n", (200, 400), ("GET /x",), "closed", CLOSE),
    Case("an invalid request and a valid one", b"GET /y HTTP/9.9\r\n\r\n" + get(), (400,), (), "closed", CLOSE),
)

UPGRADES: tuple[Case, ...] = (
    passes("COMP-UPGRADE-POST", post(*WEBSOCKET), SWITCH),
    passes("COMP-UPGRADE-MISSING-CONN", get(*WEBSOCKET[1:]), SWITCH),
    passes("COMP-UPGRADE-UNKNOWN", get("Connection: Upgrade", "Upgrade: totally-made-up/1.0"), SWITCH),
    passes("COMP-UPGRADE-INVALID-VER", get(*WEBSOCKET[:3], "Sec-WebSocket-Version: 99"), SWITCH),
    passes("COMP-UPGRADE-HTTP10", hosted("a", *WEBSOCKET, line="GET /x HTTP/1.0"), SWITCH, end="closed"),
    passes("a request pipelined after a declined upgrade", get(*WEBSOCKET) + SMUGGLED.encode(), SWITCH, "GET /x", "GET /smuggled"),
    passes("a request pipelined after a bad WebSocket version", get(*WEBSOCKET[:3], "Sec-WebSocket-Version: 777") + SMUGGLED.encode(), SWITCH, "GET /x", "GET /smuggled"),
    refused("a handshake with a body", get(*WEBSOCKET, f"Content-Length: {len(SMUGGLED)}", body=SMUGGLED), SWITCH),
    refused("a handshake with chunks", get(*WEBSOCKET, "Transfer-Encoding: chunked", body="0\r\n\r\n" + SMUGGLED), SWITCH),
    passes("h2c", get("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"), "HTTP/2 is never offered"),
    passes("a request pipelined after h2c", get("Connection: Upgrade", "Upgrade: h2c") + SMUGGLED.encode(), SWITCH, "GET /x", "GET /smuggled"),
    refused("h2c with a body", get("Connection: Upgrade", "Upgrade: h2c", "Content-Length: 5", body="hello"), SWITCH),
    passes("h2c among other protocols", get("Connection: Upgrade", "Upgrade: websocket, h2c"), "HTTP/2 is never offered"),
    passes("two Upgrade fields", get("Connection: Upgrade", "Upgrade: websocket", "Upgrade: h2c"), "HTTP/2 is never offered"),
)

CASES = (*REQUEST_LINES, *VERSIONS, *HOSTS, *TARGETS, *FIELDS, *BODIES, *METHODS, *CONNECTIONS, *UPGRADES)
