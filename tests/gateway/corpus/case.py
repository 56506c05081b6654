"""What is sent to the gateway, byte by byte, and what has to become of it."""

from dataclasses import dataclass
from typing import Literal

End = Literal["open", "closed", "waits"]

CHUNKED = "Transfer-Encoding: chunked"
HELLO = "5\r\nhello\r\n0\r\n\r\n"
SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Case:
    """One connection: what the client sends, and what comes of it.

    `open` connections serve another request, `closed` ones are closed by the gateway after the last answer,
    and one that `waits` has not been sent enough yet: nothing comes, and nothing is closed.
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
    """Answered by the gateway with this status, closed, and never seen by the backend."""
    return Case(name, sent, (status,), (), "closed", why)


def declined(name: str, sent: bytes, why: str, status: int) -> Case:
    """Answered by the gateway; the request is clear, and so the connection can be kept."""
    return Case(name, sent, (status,), (), "open", why)


def passes(name: str, sent: bytes, why: str, *forwarded: str, end: End = "open") -> Case:
    """Seen by the backend, once for each name in `forwarded`; by default as the first line says."""
    seen = forwarded or (_first_request(sent),)
    return Case(name, sent, (200,) * len(seen), seen, end, why)


def waits(name: str, sent: bytes, why: str, *forwarded: str) -> Case:
    """Not yet a whole request; what came before it is answered."""
    return Case(name, sent, (200,) * len(forwarded), forwarded, "waits", why)


def _first_request(sent: bytes) -> str:
    method, target, _ = sent.lstrip(b"\r\n").decode("latin-1").split("\r\n")[0].split(" ")
    return f"{method} {target}"


def request(line: str, *fields: str, body: str = "", host: str | None = "a") -> bytes:
    """A request of exactly these lines; characters stand for bytes."""
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
