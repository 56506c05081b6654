"""Headers that a route sets, adds and removes, and the security headers of its responses."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.http.headers import Header

SECRET = re.compile(r"auth|cookie|key|password|secret|token", re.IGNORECASE)
TRANSPORT_SECURITY = b"strict-transport-security"
PRESETS = {
    # Responses that browsers do not display as pages: JSON, downloads.
    "api": (
        "x-content-type-options: nosniff",
        "content-security-policy: default-src 'none'; frame-ancestors 'none'",
        "x-frame-options: DENY",
        "referrer-policy: no-referrer",
        "permissions-policy: camera=(), geolocation=(), microphone=()",
        "cross-origin-resource-policy: same-origin",
        "strict-transport-security: max-age=31536000",
    ),
    # Pages: only they know what they load, so the policy does not restrict it.
    "site": (
        "x-content-type-options: nosniff",
        "content-security-policy: base-uri 'self'; frame-ancestors 'self'; object-src 'none'",
        "x-frame-options: SAMEORIGIN",
        "referrer-policy: strict-origin-when-cross-origin",
        "permissions-policy: camera=(), geolocation=(), microphone=()",
        "cross-origin-opener-policy: same-origin-allow-popups",
        "cross-origin-resource-policy: same-site",
        "strict-transport-security: max-age=31536000",
    ),
}


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes to the headers of one direction; lines are `name: value`, names in lower case."""

    set: tuple[str, ...] = ()
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    _gone: frozenset[bytes] = field(init=False, repr=False, compare=False, default=frozenset())
    _new: tuple[Header, ...] = field(init=False, repr=False, compare=False, default=())

    def __post_init__(self) -> None:
        new = tuple(split(line) for line in (*self.set, *self.add))
        gone = {split(line)[0] for line in self.set} | {name.encode() for name in self.remove}
        object.__setattr__(self, "_gone", frozenset(gone))
        object.__setattr__(self, "_new", new)

    def of_request(self, passed: Sequence[bytes]) -> list[bytes]:
        """Return the headers for the backend, each as four items: name, colon, value, line end."""
        starts = [start for start in range(0, len(passed), 4) if passed[start] not in self._gone]
        kept = [part for start in starts for part in passed[start : start + 4]]
        return [*kept, *(part for name, value in self._new for part in (name, b": ", value, b"\r\n"))]

    def of_answer(self, headers: Sequence[Header]) -> list[Header]:
        return [*(each for each in headers if each[0] not in self._gone), *self._new]

    def shown(self) -> dict[str, Any]:
        """Return the changes for display; secret-looking values are masked."""
        return {
            "set": [masked(line) for line in self.set],
            "add": [masked(line) for line in self.add],
            "remove": list(self.remove),
        }


NO_CHANGES = Changes()


@dataclass(frozen=True, slots=True)
class HeaderPolicy:
    """The `headers:` of a route."""

    request: Changes = NO_CHANGES
    response: Changes = NO_CHANGES


@dataclass(frozen=True, slots=True)
class SecurityHeaders:
    """The security headers of every response, unless the service sends its own."""

    lines: tuple[str, ...] = ()
    _fields: tuple[Header, ...] = field(init=False, repr=False, compare=False, default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "_fields", tuple(split(line) for line in self.lines))

    def missing(self, headers: Sequence[Header], *, is_https: bool) -> list[Header]:
        """Return the security headers that the response lacks, except HSTS over plain HTTP."""
        there = {name for name, _ in headers}
        if not is_https:
            there.add(TRANSPORT_SECURITY)
        return [each for each in self._fields if each[0] not in there]


def split(line: str) -> Header:
    name, _, value = line.partition(": ")
    return name.encode(), value.encode()


def masked(line: str) -> str:
    name, colon, _ = line.partition(": ")
    return f"{name}: ***" if colon and SECRET.search(name) else line
