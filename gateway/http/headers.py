"""Request heads, and which headers are forwarded in each direction."""

import random
import re
from collections.abc import Collection, Sequence
from functools import lru_cache

from gateway.errors import Refusal
from shared.http.hop_by_hop import HOP_BY_HOP
from shared.tracing.context import TRACEPARENT

Header = tuple[bytes, bytes]

# Headers that a service might trust; only the gateway and trusted proxies may send them.
FORGED = frozenset((b"x-role", b"x-roles", b"x-email", b"x-real-ip", b"forwarded"))
FORGED_PREFIXES = (b"x-user-", b"x-internal-", b"x-forwarded-", b"x-gatehouse-")
# Read by the gateway, which then writes them itself.
REWRITTEN = frozenset(
    (
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"connection",
        b"upgrade",
        b"expect",
        b"x-request-id",
        b"traceparent",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
    )
)
READ_AND_PASSED = frozenset((b"authorization", b"cookie", b"origin", b"access-control-request-method"))
FRAMING = frozenset((b"content-length", b"transfer-encoding"))
NAMES_REMEMBERED = 2048
NAME_BYTES_REMEMBERED = 256  # a few thousand longer ones would take a hundred megabytes

_USUAL_CONNECTION = frozenset((b"keep-alive", b"close", b"upgrade", b"keep-alive, upgrade", b"te"))
_LIKE_FRAMING = re.compile(rb"transfer[^a-z0-9]*encoding|content[^a-z0-9]*length")

DROP, PASS, READ, READ_AND_PASS, PASS_LINK = range(5)


class Request:
    """The head of a request as parsed."""

    __slots__ = ("fault", "headers", "is_http10", "method", "target", "upgrade")

    def __init__(self, method: bytes, target: bytes, headers: list[Header]) -> None:
        self.method = method
        self.target = target  # as the client wrote it
        self.headers = headers
        self.is_http10 = False
        self.upgrade = False
        self.fault: Refusal | None = None

    @property
    def size(self) -> int:
        lines = (len(name) + len(value) + len(": \r\n") for name, value in self.headers)
        return len(self.target) + sum(lines)


class Fields:
    """The headers of one request, sorted once: those the gateway reads, and those it forwards unchanged.

    They follow from the bytes of the request alone. Policies that change what is forwarded set `passed` of
    the request instead, so that two requests with equal headers can share one object.
    """

    __slots__ = ("doubled", "passed", "seen")

    def __init__(self, headers: Sequence[Header]) -> None:
        self.seen: dict[bytes, bytes] = {}
        self.doubled: set[bytes] = set()
        self.passed: Sequence[bytes] = self._sort(headers, ())
        connection = self.seen.get(b"connection")
        if connection is not None and connection.lower() not in _USUAL_CONNECTION:
            self.passed = self._sort(headers, {token.strip() for token in connection.lower().split(b",")})

    def _sort(self, headers: Sequence[Header], named: Collection[bytes]) -> list[bytes]:
        seen = self.seen
        passed: list[bytes] = []
        for name, value in headers:
            rule = (request_rule if len(name) <= NAME_BYTES_REMEMBERED else rule_of_request)(name)
            if rule >= READ:
                if not named and name in seen:
                    self._again(name, value)
                else:
                    seen.setdefault(name, value.strip())
            if rule in (PASS, READ_AND_PASS) and name not in named:
                passed += (name, b": ", value, b"\r\n")
        return passed

    def _again(self, name: bytes, value: bytes) -> None:
        self.doubled.add(name)
        if name in (b"connection", b"x-forwarded-for", b"transfer-encoding"):
            self.seen[name] += b", " + value


def without(passed: Sequence[bytes], name: bytes) -> list[bytes]:
    """Return these lines without one header; a header is four items: name, colon, value, line end."""
    starts = [start for start in range(0, len(passed), 4) if passed[start] != name]
    return [part for start in starts for part in passed[start : start + 4]]


def rule_of_request(name: bytes) -> int:
    """Return how to treat a request header; the name is in lower case."""
    if name in REWRITTEN:
        return READ
    if name in READ_AND_PASSED:
        return READ_AND_PASS
    # Some frameworks treat X_User_Id as X-User-Id, so an `_` would bypass the check for forged names.
    forged = b"_" in name or name in FORGED or name.startswith(FORGED_PREFIXES)
    forged = forged or _LIKE_FRAMING.fullmatch(name) is not None
    return DROP if forged or name in HOP_BY_HOP else PASS


request_rule = lru_cache(maxsize=NAMES_REMEMBERED)(rule_of_request)


class AnswerFields:
    """The headers of one response, sorted once: how its body ends, and what is forwarded to the client."""

    __slots__ = ("framing", "headers", "links", "passed")

    def __init__(self, headers: Sequence[Header]) -> None:
        self.headers = headers
        self.framing: list[Header] = []
        self.passed: list[bytes] = []
        self.links: list[int] = []  # indexes in `passed` of values with backend URLs
        named = self._sort(headers, ())
        if named:
            self.framing.clear()
            self.passed.clear()
            self.links.clear()
            self._sort(headers, named)

    @property
    def length(self) -> bytes | None:
        """The value of Content-Length, if it frames the body."""
        name, value = self.framing[0] if self.framing else (b"", b"")
        return value if name == b"content-length" else None

    def _sort(self, headers: Sequence[Header], named: Collection[bytes]) -> Collection[bytes]:
        """Sort the headers; return the names that the response declares hop-by-hop."""
        passed = self.passed
        found: Collection[bytes] = ()
        for name, value in headers:
            rule = answer_rule(name)
            if rule >= PASS and name not in named:
                passed += (name, b": ", value, b"\r\n")
                if rule == PASS_LINK:
                    self.links.append(len(passed) - 2)
            elif name in FRAMING:
                self.framing.append((name, value))
            elif name == b"connection" and value.lower() not in _USUAL_CONNECTION:
                found = {*found, *(token.strip() for token in value.lower().split(b","))}
        return found


@lru_cache(maxsize=NAMES_REMEMBERED)
def answer_rule(name: bytes) -> int:
    """Return how to treat a response header; the name is in lower case."""
    own = name in (b"x-request-id", b"ratelimit", b"ratelimit-policy", b"content-length")
    if own or name in HOP_BY_HOP or name.startswith(b"access-control-"):
        return DROP
    return PASS_LINK if name in (b"location", b"link") else PASS


def is_event_stream(fields: AnswerFields | None) -> bool:
    """Whether a response consists of server-sent events."""
    types = [value for name, value in fields.headers if name == b"content-type"] if fields else []
    return any(value.partition(b";")[0].strip().lower() == b"text/event-stream" for value in types)


def trace_parent(value: bytes | None) -> bytes:
    """Return the caller's trace if it is well-formed, otherwise a new one."""
    if value is not None and TRACEPARENT.fullmatch(value):
        return value
    # Trace ids are not secret; a system call for each would be the most expensive part of a request's head.
    return b"00-%032x-%016x-01" % (random.getrandbits(128) or 1, random.getrandbits(64) or 1)


def may_switch(headers: Sequence[Header]) -> bool:
    """Whether the requested protocol may be forwarded. HTTP/2 would carry requests past every check."""
    offered = b",".join(value for name, value in headers if name == b"upgrade").lower()
    return not any(token.strip().startswith((b"h2c", b"http", b"tls")) for token in offered.split(b","))


def has_body(headers: Sequence[Header]) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0")
        for name, value in headers
    )
