"""Session cookies of browsers: when they are accepted, and what is forwarded in their place."""

from gateway.policies.credential_exchange import CREDENTIAL_BYTES_MAX
from gateway.request import RequestState
from shared.identity.same_origin import is_same_origin

_SAFE = (b"GET", b"HEAD", b"OPTIONS")


def cookie_of(request: RequestState) -> bytes | None:
    """Return the session cookie of a request without an Authorization header."""
    name, seen = request.rules.session_cookie, request.fields.seen
    if b"cookie" not in seen or b"authorization" in seen:
        return None
    for field, value in request.request.headers:
        if field == b"cookie" and name in value:
            for pair in value.split(b";"):
                key, _, content = pair.strip().partition(b"=")
                if key == name and 0 < len(content) <= CREDENTIAL_BYTES_MAX:
                    return content
    return None


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
    """Forward the token in place of the credential.

    An exchanged cookie is forwarded as well if the route requires no caller: auth's own pages read it.
    """
    fields = request.fields
    if b"authorization" in fields.seen:
        fields.passed = fields.passed_without(b"authorization")
    elif request.policy.auth == "required":
        fields.passed = _without_session(fields.passed, request.rules.session_cookie)
    fields.passed += (b"authorization", b": ", b"Bearer " + token.encode(), b"\r\n")


def _without_session(passed: list[bytes], name: bytes) -> list[bytes]:
    """Return the headers without this cookie; a header is four items: name, colon, value, line end."""
    kept: list[bytes] = []
    for start in range(0, len(passed), 4):
        field, value = passed[start], passed[start + 2]
        if field == b"cookie":
            pairs = [pair.strip() for pair in value.split(b";")]
            value = b"; ".join(pair for pair in pairs if pair.partition(b"=")[0] != name)
            if not value:
                continue
        kept += (field, b": ", value, b"\r\n")
    return kept
