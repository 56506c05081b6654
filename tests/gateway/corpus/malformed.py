"""Input that is not a request or is too large. Names are taken from Http11Probe where it has the case."""

# One line for each case.
# ruff: noqa: E501
# fmt: off

import random

from tests.gateway.corpus.case import (
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

TOO_LARGE = "RFC 6585 5: the head is larger than the gateway reads"
LINE = "RFC 9112 3: method, one space, target, one space, version"
EXTENSION = "RFC 9112 7.1.1: extensions are dropped, and their size is limited"
TARGET = "RFC 9112 3.2: a target is visible ASCII without `#`"
VALUE = "RFC 9110 5.5: a value has no CR, LF, NUL or other control characters"
NAME = "RFC 9110 5.1: a name is a token"
MORE = "RFC 9112 2.1: the head is not complete"
GARBAGE = bytes(random.Random(42).choices(range(256), k=256))

SIZES: tuple[Case, ...] = (
    refused("MAL-LONG-URL", get(target="/" + "A" * 100_000), TOO_LARGE, 431),
    refused("MAL-LONG-HEADER-VALUE", get("X-Big: " + "B" * 100_000), TOO_LARGE, 431),
    refused("MAL-MANY-HEADERS", get(*(f"X-H-{number}: value" for number in range(10_000))), TOO_LARGE, 431),
    refused("MAL-LONG-HEADER-NAME", get("A" * 100_000 + ": val"), TOO_LARGE, 431),
    refused("MAL-LONG-METHOD", request("A" * 100_000 + " /x HTTP/1.1"), LINE),
    passes("MAL-CHUNK-EXT-64K", chunked("5;ext=" + "a" * 65_536 + "\r\nhello\r\n0\r\n\r\n"), EXTENSION),
    refused("an endless extension", chunked("5;ext=" + "a" * 600_000), EXTENSION, 431),
    refused("MAL-CL-OVERFLOW", length("99999999999999999999", ""), "RFC 9110 8.6: the number is out of range"),
    refused("a length of 2 to the 63rd", length("9223372036854775808"), "RFC 9112 6.3: larger than the route accepts", 413),
    refused("MAL-POST-CL-HUGE-NO-BODY", length("999999999", ""), "RFC 9112 6.3: larger than the route accepts", 413),
    refused("a body larger than the route accepts", length(str(11 << 20), "x" * (11 << 20)), "RFC 9110 15.5.14", 413),
    passes("COMP-LONG-URL-OK", get(target="/" + "a" * 7900), "RFC 9112 3: at least 8,000 bytes are read"),
    passes("MAL-RANGE-OVERLAPPING", get("Range: bytes=" + ",".join(["0-"] * 1000)), "the backend decides about ranges"),
    passes("a hundred fields", get(*(f"X-H-{number}: value" for number in range(100))), "RFC 9110 5.4"),
    refused("endless empty lines", b"\r\n" * 50_000, "RFC 9112 2.2: an empty line may be skipped, not thousands", 431),
)

BYTES: tuple[Case, ...] = (
    refused("MAL-BINARY-GARBAGE", GARBAGE, LINE),
    refused("MAL-NUL-IN-URL", get(target="/\0test"), TARGET),
    refused("MAL-CONTROL-CHARS-HEADER", get("X-Test: abc\x07\x08\x0bdef"), VALUE),
    waits("MAL-INCOMPLETE-REQUEST", b"GET /x HTTP/1.1\r\nHost: a\r\nX-Test: value", MORE),
    waits("MAL-EMPTY-REQUEST", b"", MORE),
    refused("MAL-NON-ASCII-HEADER-NAME", get("X-T\xc3\xabst: value"), NAME),
    refused("MAL-NON-ASCII-URL", get(target="/caf\xc3\xa9"), TARGET),
    refused("MAL-WHITESPACE-ONLY-LINE", b"   \r\n\r\n", LINE),
    refused("MAL-NUL-IN-HEADER-VALUE", get("X-Test: val\0ue"), VALUE),
    refused("MAL-H2-PREFACE", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "RFC 9113 3.4: HTTP/2 is not supported"),
    refused("MAL-CL-EMPTY", length("", ""), "RFC 9110 8.6: a length is 1*DIGIT"),
    passes("MAL-CL-TAB-BEFORE-VALUE", post("Content-Length:\t5", body="hello"), "RFC 9110 5.5: whitespace around a value"),
    declined("MAL-URL-BACKSLASH", get(target="/path\\file"), "some parsers treat a backslash as a slash", 400),
    refused("MAL-URL-OVERLONG-UTF8", get(target="/\xc0\xaf"), TARGET),
    passes("MAL-URL-PERCENT-NULL", get(target="/path%00.html"), "RFC 3986 2.1: any byte may be percent-encoded"),
    passes("MAL-URL-PERCENT-CRLF", get(target="/path%0d%0aX-Injected:%20true"), "RFC 3986 2.1: stays encoded"),
    refused("a TLS greeting", bytes.fromhex("16030100c8010000c40303") + GARBAGE[:189], LINE),
    refused("an SSH greeting", b"SSH-2.0-OpenSSH_9.2\r\n", LINE),
    refused("SMTP", b"EHLO a\r\n", LINE),
    refused("a response instead of a request", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", LINE),
    refused("a NUL in the method", request("G\0T /x HTTP/1.1"), LINE),
    refused("a NUL before the request", b"\0" + get(), LINE),
    refused("DEL in a value", get("X: a\x7fb"), VALUE),
    refused("a name with DEL", get("X\x7f: b"), NAME),
    passes("bytes above ASCII in a value", get("X: caf\xe9 \xc3\xa9"), "RFC 9110 5.5: obs-text is allowed"),
    passes("a tab within a value", get("X: a\tb"), "RFC 9110 5.5: SP and HTAB are allowed within"),
    passes("an empty value", get("X:"), "RFC 9110 5.5: a value may be empty"),
    *(refused(f"{character!r} in a name", get(f"X{character}Y: z"), NAME) for character in '"(),/;<=>?@[\\]{} \t\x01'),
    *(passes(f"{character} in a name", get(f"X{character}Y: z"), NAME) for character in "!#$%&'*+-.^`|~09"),
)

CASES = (*SIZES, *BYTES)
