"""Session cookies of browsers: when they are accepted, and what is forwarded in their place."""

from collections.abc import Sequence
from functools import lru_cache

from gateway.http.headers import without
from gateway.policies.credential_exchange import CREDENTIAL_BYTES_MAX
from gateway.request import RequestState
from shared.identity.same_origin import is_same_origin

HEADERS_REMEMBERED = 2048
HEADER_BYTES_REMEMBERED = 1024  # remembering longer ones would take tens of megabytes
_SAFE = (b"GET", b"HEAD", b"OPTIONS")


def cookie_of(request: RequestState) -> bytes | None:
    """Return the session cookie of a request without an Authorization header."""
    name, fields = request.rules.session_cookie, request.fields
    if b"cookie" not in fields.seen or b"authorization" in fields.seen:
        return None
    if b"cookie" not in fields.doubled:  # as in nearly every request
        return _parts_of(fields.seen[b"cookie"], name)[0]
    contents = (_parts_of(value, name)[0] for field, value in request.request.headers if field == b"cookie")
    return next(filter(None, contents), None)


def split_cookies(header: bytes, name: bytes) -> tuple[bytes | None, bytes]:
    """Return the content of this cookie, and the header without it."""
    content, others = None, []
    for pair in (each.strip() for each in header.split(b";")):
        key, _, found = pair.partition(b"=")
        if key != name:
            others.append(pair)
        elif content is None and 0 < len(found) <= CREDENTIAL_BYTES_MAX:
            content = found
    return content, b"; ".join(others)


_remembered = lru_cache(maxsize=HEADERS_REMEMBERED)(split_cookies)


def _parts_of(header: bytes, name: bytes) -> tuple[bytes | None, bytes]:
    """Split a header; browsers send the same one with every request."""
    return (_remembered if len(header) <= HEADER_BYTES_REMEMBERED else split_cookies)(header, name)


def is_from_our_pages(request: RequestState) -> bool:
    """Whether to accept a cookie: the request changes nothing, or one of our own pages has sent it."""
    if request.request.method in _SAFE and not request.request.upgrade:
        return True
    site = origin = None
    for name, value in request.request.headers:
        if name == b"sec-fetch-site":
            site = value.strip().decode("latin-1")
        elif name == b"origin":
            origin = value.strip().decode("latin-1")
    return is_same_origin(site, origin, request.rules.origin)


def present(request: RequestState, token: str) -> None:
    """Forward the token in place of the credential."""
    known = request.known
    if known is None:
        request.passed = _with_token(request, token)
        return
    made_for = known.presented_for
    if made_for[0] is not token or made_for[1] is not request.policy:
        known.presented, known.presented_for = _with_token(request, token), (token, request.policy)
    request.passed = known.presented


def _with_token(request: RequestState, token: str) -> list[bytes]:
    """Return the headers with the token instead of the credential.

    An exchanged cookie is forwarded as well if the route requires no caller: auth's own pages read it.
    """
    passed = request.passed
    if b"authorization" in request.fields.seen:
        passed = without(passed, b"authorization")
    elif request.policy.auth == "required":
        passed = _without_session(passed, request.rules.session_cookie)
    return [*passed, b"authorization", b": ", b"Bearer " + token.encode(), b"\r\n"]


def _without_session(passed: Sequence[bytes], name: bytes) -> list[bytes]:
    """Return the headers without this cookie; a header is four items: name, colon, value, line end."""
    kept, start, names = [*passed], 0, passed[::4]
    for field in names:
        if field != b"cookie":
            start += 4
            continue
        others = _parts_of(kept[start + 2], name)[1]
        if others:
            kept[start + 2] = others
            start += 4
        else:
            del kept[start : start + 4]
    return kept
