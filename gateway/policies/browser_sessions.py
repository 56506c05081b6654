"""Browsers that show the cookie of a session: auth exchanges it for a short access token.

Services know bearer tokens only. A token is kept until shortly before it expires; whether it was revoked is
asked with every request, so a session that has ended is refused within a second like any other token.
"""

import time
from collections import OrderedDict
from typing import Any

from gateway.request import RequestState
from shared.identity.same_origin import is_same_origin
from shared.peers.client import HttpClient, InternalTokens
from shared.process.settings import ProcessSettings

EXCHANGE = "/internal/exchange"
COOKIE_BYTES_MAX = 200
KEPT_MAX = 10_000
SPARE_SECONDS = 30.0
_SAFE = (b"GET", b"HEAD", b"OPTIONS")


class BrowserSessions:
    """The access tokens of sessions that have shown their cookie."""

    def __init__(self, settings: ProcessSettings, client: HttpClient) -> None:
        self._url = settings.auth_url.rstrip("/") + EXCHANGE
        self._client = client
        self._internal = InternalTokens(settings)
        self._kept: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    def remembered(self, cookie: bytes) -> str | None:
        """The token of a cookie that was exchanged before. Never waits."""
        token, until = self._kept.get(cookie, ("", 0.0))
        return token if until > time.monotonic() else None

    async def exchange(self, cookie: bytes) -> str:
        """A new token for this cookie; PeerRefusal when auth knows no session that it stands for."""
        asked = time.monotonic()
        answer: dict[str, Any] = await self._client.request(
            "POST",
            self._url,
            body={"cookie": cookie.decode("latin-1")},
            headers={"Authorization": f"Bearer {self._internal.issue('auth')}"},
        )
        token: str = answer["token"]
        self._kept[cookie] = (token, asked + answer["expires_in"] - SPARE_SECONDS)
        self._kept.move_to_end(cookie)
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return token

    def forget(self, cookie: bytes) -> None:
        self._kept.pop(cookie, None)


def cookie_of(request: RequestState) -> bytes | None:
    """The session cookie of a request that shows no other credentials."""
    name, seen = request.rules.session_cookie, request.fields.seen
    if b"cookie" not in seen or b"authorization" in seen:
        return None
    for field, value in request.request.headers:
        if field == b"cookie" and name in value:
            for pair in value.split(b";"):
                key, _, content = pair.strip().partition(b"=")
                if key == name and 0 < len(content) <= COOKIE_BYTES_MAX:
                    return content
    return None


def is_from_our_pages(request: RequestState) -> bool:
    """Whether a cookie may count: the request changes nothing, or one of our own pages has sent it."""
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
    """Forward the token. Where the route demands a caller, the cookie itself is not forwarded."""
    fields = request.fields
    if request.policy.auth == "required":
        fields.passed = _without_session(fields.passed, request.rules.session_cookie)
    fields.passed += (b"authorization", b": ", b"Bearer " + token.encode(), b"\r\n")


def _without_session(passed: list[bytes], name: bytes) -> list[bytes]:
    """The same fields without this cookie; each takes four places: name, colon, value, line end."""
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
