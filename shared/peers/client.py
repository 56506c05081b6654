"""Calls from one process to another. The only module in `shared` that uses httpx."""

import hmac
import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import jwt
import structlog

from shared.errors import InvalidToken, Problem, Unavailable
from shared.process.observe import current_request_id
from shared.process.settings import ProcessSettings
from shared.process.supervision import suite_is_starting
from shared.tracing import spans

if TYPE_CHECKING:
    import httpx

INTERNAL_TOKEN_SECONDS = 60
CONNECTIONS_MAX = 50
_TIMEOUTS = {"connect": 2.0, "read": 10.0, "write": 10.0, "pool": 2.0}

log = structlog.get_logger(__name__)


class PeerRefusal(Problem):
    """A refusal by another service, with its status, code and detail."""

    def __init__(self, status: int, document: dict[str, Any]) -> None:
        super().__init__(document.get("detail"), errors=document.get("errors", ()))
        self.status = status
        self.code = str(document.get("code", "refused"))


class NotReached(Unavailable):
    """The other service cannot be reached; try again in a moment."""


class AnswerLost(Unavailable):
    """The other service received the request, but the connection ended before it responded."""


class AnswerLate(Unavailable):
    """The other service received the request, but did not respond in time."""


class AnswerTooLarge(Unavailable):
    """The other service sent more than the caller accepts."""


class HttpClient:
    """A pooled HTTP client, created on first use."""

    def __init__(self) -> None:
        self._clients: dict[bool, httpx.AsyncClient] = {}

    async def get_json(self, url: str) -> Any:
        return await self.request("GET", url)

    async def request(
        self, method: str, url: str, *, body: Any = None, headers: dict[str, str] | None = None
    ) -> Any:
        """Send and receive JSON. A refusal raises PeerRefusal; any other non-success raises Unavailable.

        A `bytes` body must be JSON already.
        """
        with _calling(method, url) as span:
            response = await self._send(method, url, body, headers)
            if span is not None:
                span.put({"http.response.status_code": response.status_code})
            return _outcome(url, response.status_code, response.content)

    async def download(self, url: str, *, headers: dict[str, str], bytes_max: int) -> bytes:
        """Fetch a document. Beyond `bytes_max` bytes, stop reading and raise AnswerTooLarge."""
        with _calling("GET", url):
            return await self._download(url, headers, bytes_max)

    async def _download(self, url: str, headers: dict[str, str], bytes_max: int) -> bytes:
        import httpx

        content, sent = bytearray(), {**_traced(), "Accept-Encoding": "identity", **headers}
        try:
            async with self._pool(url).stream("GET", url, headers=sent) as response:
                async for piece in response.aiter_bytes():
                    content += piece
                    if len(content) > bytes_max:
                        raise AnswerTooLarge
        except httpx.HTTPError as error:
            raise _failed(url, error) from error
        if not response.is_success:
            _outcome(url, response.status_code, bytes(content))
        return bytes(content)

    async def long_poll(
        self,
        url: str,
        *,
        headers: dict[str, str],
        silence_seconds: float,
        on_sign_of_life: Callable[[], None],
    ) -> bytes:
        """Long poll: until the response arrives, the server sends whitespace as a keep-alive.

        Failures are raised but not logged: callers poll forever, and log a failure if it lasts.
        """
        import httpx

        timeout = httpx.Timeout(**{**_TIMEOUTS, "read": silence_seconds})
        pieces: list[bytes] = []
        try:
            async with self._pool(url).stream("GET", url, headers=headers, timeout=timeout) as response:
                if not response.is_success:
                    raise Unavailable(f"It responded with {response.status_code}.")
                async for piece in response.aiter_bytes():
                    if pieces or piece.strip():
                        pieces.append(piece)
                    else:
                        on_sign_of_life()
        except httpx.HTTPError as error:
            raise Unavailable(repr(error)) from error
        if not pieces:
            raise Unavailable("It ended without a response.")
        return b"".join(pieces)

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()

    async def _send(
        self, method: str, url: str, body: Any, headers: dict[str, str] | None
    ) -> "httpx.Response":
        import httpx

        sent = {"Accept": "application/json", **_traced()}
        try:
            if isinstance(body, bytes):
                sent["Content-Type"] = "application/json"
                return await self._pool(url).request(
                    method, url, content=body, headers=sent | (headers or {})
                )
            return await self._pool(url).request(method, url, json=body, headers=sent | (headers or {}))
        except httpx.HTTPError as error:
            raise _failed(url, error) from error

    def _pool(self, url: str) -> "httpx.AsyncClient":
        # Loading the CA certificates takes 10 MiB, which plain HTTP does not need.
        uses_tls = url.startswith("https:")
        if uses_tls not in self._clients:
            # Imported late: most processes make no calls, and httpx would be a fifth of their memory.
            import httpx

            self._clients[uses_tls] = httpx.AsyncClient(
                verify=uses_tls,
                timeout=httpx.Timeout(**_TIMEOUTS),
                limits=httpx.Limits(
                    max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX
                ),
                follow_redirects=False,
                trust_env=False,
            )
        return self._clients[uses_tls]


class InternalTokens:
    """Short-lived tokens between services, signed with the shared secret and bound to the receiver."""

    def __init__(self, settings: ProcessSettings) -> None:
        self._service = settings.service
        self._secrets = settings.internal_secrets

    def key_for(self, purpose: str) -> bytes:
        """Return a key that all replicas of this service share, and no other service uses for the purpose."""
        return hmac.digest(self._secrets[0].encode(), f"{self._service}\n{purpose}".encode(), "sha256")

    def issue(self, audience: str) -> str:
        now = int(time.time())
        claims = {
            "iss": self._service,
            "aud": f"internal:{audience}",
            "iat": now,
            "exp": now + INTERNAL_TOKEN_SECONDS,
        }
        return jwt.encode(claims, self._secrets[0], algorithm="HS256")

    def verify(self, token: str) -> str:
        """Return the name of the calling service."""
        try:
            claims = self._decode(token)
        except (jwt.PyJWTError, TypeError, ValueError) as error:
            raise InvalidToken from error
        return str(claims["iss"])

    def _decode(self, token: str) -> dict[str, Any]:
        *others, last = self._secrets
        for secret in others:
            with suppress(jwt.InvalidSignatureError):  # try the next secret
                return self._claims(token, secret)
        return self._claims(token, last)

    def _claims(self, token: str, secret: str) -> dict[str, Any]:
        claims: dict[str, Any] = jwt.decode(
            token,
            secret,
            algorithms=["HS256"],
            audience=f"internal:{self._service}",
            leeway=5,
            options={"require": ["iss", "aud", "exp"]},
        )
        return claims


class Peer:
    """Another service, called through its internal API.

    A service that calls several peers has a subclass for each, so that handlers can request each by its type.
    """

    def __init__(self, client: HttpClient, tokens: InternalTokens, *, name: str, url: str) -> None:
        self._client = client
        self._tokens = tokens
        self._name = name
        self._url = url.rstrip("/")

    @classmethod
    def of(cls, settings: ProcessSettings, client: HttpClient, *, name: str, url: str) -> Self:
        return cls(client, InternalTokens(settings), name=name, url=url)

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        return await self._client.request(method, f"{self._url}{path}", body=body, headers=self._headers())

    async def download(self, path: str, *, bytes_max: int) -> bytes:
        """Fetch a document, such as a PDF, of at most `bytes_max`."""
        return await self._client.download(f"{self._url}{path}", headers=self._headers(), bytes_max=bytes_max)

    async def call_as(self, authorization: str, method: str, path: str) -> Any:
        """Call the public API with the caller's own `Authorization`: the peer decides what they may see."""
        headers = {"Authorization": authorization}
        return await self._client.request(method, f"{self._url}{path}", headers=headers)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._tokens.issue(self._name)}"}


def _traced() -> dict[str, str]:
    request_id, trace = current_request_id.get(), spans.header()
    found = {"X-Request-ID": request_id} if request_id else {}
    return found if trace is None else {**found, "traceparent": trace}


def _calling(method: str, url: str) -> AbstractContextManager[spans.Span | None]:
    """Trace a call within a sampled trace, without its path and query, which may contain secrets."""
    span = spans.sampled()
    if span is None:
        return nullcontext()
    called, address = span.child(method, "client"), urlsplit(url)
    called.put(
        {"http.request.method": method, "server.address": address.hostname, "server.port": address.port}
    )
    return spans.within(called)


def _failed(url: str, error: "httpx.HTTPError") -> Unavailable:
    """Log the failure, and return what to raise."""
    say = log.debug if suite_is_starting() else log.warning
    say("peer_unreachable", url=url, error=repr(error))
    return _failure(error)


def _failure(error: "httpx.HTTPError") -> Unavailable:
    """Return what the error reveals about the outcome of the request."""
    import httpx

    if isinstance(error, httpx.ReadTimeout):
        return AnswerLate()
    is_lost = isinstance(error, httpx.ReadError | httpx.RemoteProtocolError)
    return AnswerLost() if is_lost else NotReached()


def _outcome(url: str, status: int, content: bytes) -> Any:
    document = _json(content)
    if 200 <= status < 300:
        return document
    if 400 <= status < 500 and isinstance(document, dict) and status not in (401, 403, 429):
        raise PeerRefusal(status, document)
    # 401 and 403 are faults in the suite's configuration, which the caller cannot fix.
    log.error("peer_failed", url=url, status=status)
    raise Unavailable


def _json(content: bytes) -> Any:
    if not content:
        return None
    try:
        return json.loads(content)
    except ValueError:
        return None
