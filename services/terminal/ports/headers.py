"""What a proxied request and its response may carry: pure functions on headers.

The program at a port is not trusted. It must not receive the cookie that lets a browser in, and its
response must not set cookies for other host names or for the proxy itself.
"""

from collections.abc import Iterable, Sequence

from shared.http.hop_by_hop import HOP_BY_HOP

Header = tuple[bytes, bytes]

# Written by the gateway, or here.
NOT_FOR_PROGRAMS = frozenset((b"host", b"origin", b"cookie", b"expect", b"traceparent", b"x-request-id"))
# These would apply to more than the port's own host, or are written by the server.
NOT_FOR_BROWSERS = frozenset(
    (
        b"strict-transport-security",
        b"clear-site-data",
        b"alt-svc",
        b"set-cookie",
        b"location",
        b"date",
        b"server",
        b"x-request-id",
    )
)
OF_SOCKETS = b"sec-websocket-"
COOKIES_MAX = 4
WITHOUT_CONTENT = frozenset((204, 304))  # a length announces a body, which the server would wait for


def cookies_of(headers: Iterable[Header], name: str) -> list[str]:
    """Return the values of our cookie. A page of another port may have set more of the same name."""
    found = []
    for key, value in _cookies(headers):
        if key == name.encode():
            found.append(value.decode("latin-1"))
    return found[:COOKIES_MAX]


def _cookies(headers: Iterable[Header]) -> Iterable[Header]:
    for field, text in headers:
        if field == b"cookie":
            for pair in text.split(b";"):
                key, _, value = pair.strip().partition(b"=")
                yield key, value


def for_program(
    headers: Sequence[Header], *, cookie: str, own: str, local: str, is_https: bool
) -> list[Header]:
    """Return the headers for the program at a port, which is addressed as `local`.

    Programs under development usually accept requests only for `localhost`, and compare Origin with Host.
    """
    named = _named_by_connection(headers)
    passed = [
        (name, value)
        for name, value in headers
        if name not in HOP_BY_HOP
        and name not in NOT_FOR_PROGRAMS
        and name not in named
        and not name.startswith((b"x-forwarded-", b"x-user-", b"x-gatehouse-"))
    ]
    rest = b"; ".join(b"%b=%b" % pair for pair in _cookies(headers) if pair[0] and pair[0] != cookie.encode())
    scheme = "https" if is_https else "http"
    passed += [(b"host", local.encode()), (b"x-forwarded-host", own.encode("latin-1"))]
    passed += [(b"x-forwarded-proto", scheme.encode())]
    if rest:
        passed.append((b"cookie", rest))
    origin = next((value for name, value in headers if name == b"origin"), None)
    if origin is not None:
        is_own = origin == f"{scheme}://{own}".encode("latin-1")
        passed.append((b"origin", f"http://{local}".encode() if is_own else origin))
    return passed


def for_browser(headers: Sequence[Header], status: int, *, cookie: str, local: str) -> list[Header]:
    """Return the headers of a program's response for the browser."""
    named = _named_by_connection(headers)
    passed = [
        (name, value)
        for name, value in headers
        if name not in HOP_BY_HOP
        and name not in NOT_FOR_BROWSERS
        and name not in named
        and not name.startswith(b"x-accel-")  # orders to nginx
        and not (name == b"content-length" and status in WITHOUT_CONTENT)
    ]
    for name, value in headers:
        if name == b"location":
            passed.append((name, _local_link(value, local)))
        elif name == b"set-cookie" and value.partition(b"=")[0].strip() != cookie.encode():
            passed.append((name, _without_domain(value)))
    return passed


def _named_by_connection(headers: Iterable[Header]) -> set[bytes]:
    values = [value for name, value in headers if name == b"connection"]
    return {token.strip().lower() for value in values for token in value.split(b",")} - {b"content-length"}


def _local_link(value: bytes, local: str) -> bytes:
    for start in (f"http://{local}", f"https://{local}"):
        if value == start.encode():
            return b"/"
        if value.startswith(f"{start}/".encode()):
            return value[len(start) :]
    return value


def _without_domain(value: bytes) -> bytes:
    """Remove the attribute that would share a cookie with the other names of the domain."""
    parts = value.split(b";")
    return b";".join(one for one in parts[:1] + [part for part in parts[1:] if not _is_domain(part)])


def _is_domain(part: bytes) -> bool:
    return part.partition(b"=")[0].strip().lower() == b"domain"
