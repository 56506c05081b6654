"""Requests to the gateway, byte by byte, and the expected outcome."""

from dataclasses import dataclass
from typing import Literal

End = Literal["open", "closed", "waits"]

CHUNKED = "Transfer-Encoding: chunked"
HELLO = "5\r\nhello\r\n0\r\n\r\n"
SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Case:
    """One connection: what the client sends, and the outcome.

    `open` connections serve another request, `closed` ones are closed by the gateway after the last response,
    and one that `waits` needs more input: it gets no response and is not closed.
    """

    name: str
    sent: bytes
    statuses: tuple[int, ...]
    forwarded: tuple[str, ...]  # what the backend sees, as "METHOD /target", in this order
    end: End
    why: str

    @property
    def is_head(self) -> bool:
        return self.sent.startswith(b"HEAD ")


def refused(name: str, sent: bytes, why: str, status: int = 400) -> Case:
    """A case that is refused with this status and closed; the backend never sees it."""
    return Case(name, sent, (status,), (), "closed", why)


def declined(name: str, sent: bytes, why: str, status: int) -> Case:
    """A case that is refused; it is unambiguous, so the connection can be kept."""
    return Case(name, sent, (status,), (), "open", why)


def passes(name: str, sent: bytes, why: str, *forwarded: str, end: End = "open") -> Case:
    """A case of which the backend sees the requests in `forwarded`, by default the first request line."""
    seen = forwarded or (_first_request(sent),)
    return Case(name, sent, (200,) * len(seen), seen, end, why)


def waits(name: str, sent: bytes, why: str, *forwarded: str) -> Case:
    """A case whose last request is incomplete; earlier ones get their responses."""
    return Case(name, sent, (200,) * len(forwarded), forwarded, "waits", why)


def _first_request(sent: bytes) -> str:
    method, target, _ = sent.lstrip(b"\r\n").decode("latin-1").split("\r\n")[0].split(" ")
    return f"{method} {target}"


def request(line: str, *fields: str, body: str = "", host: str | None = "a") -> bytes:
    """Return a request of exactly these lines; each character is one byte."""
    lines = [line, *([] if host is None else [f"Host: {host}"]), *fields, "", body]
    return "\r\n".join(lines).encode("latin-1")


def get(*fields: str, target: str = "/x", body: str = "") -> bytes:
    return request(f"GET {target} HTTP/1.1", *fields, body=body)


def post(*fields: str, body: str = "") -> bytes:
    return request("POST /x HTTP/1.1", *fields, body=body)


def chunked(body: str, *fields: str) -> bytes:
    return post(*fields, CHUNKED, body=body)


def length(value: str, body: str = "hello") -> bytes:
    return post(f"Content-Length: {value}", body=body)
