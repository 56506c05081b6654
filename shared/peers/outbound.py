"""Calls to URLs that users and administrators configure: webhooks, identity providers, external APIs.

Neither the URL nor the server behind it is trusted: calls have a deadline, responses a size limit, redirects
are not followed, and only public addresses, or networks that the operator allows, are reached.
"""

import asyncio
import json
import ssl
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import lru_cache
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

import structlog
from prometheus_client import Counter, Histogram

from shared.process.proxies import Networks
from shared.process.settings import ServiceSettings

if TYPE_CHECKING:
    import httpcore

    from shared.peers.guarded import GuardedNetwork

URL_CHARACTERS_MAX = 2_048
CONNECTIONS_MAX = 50
PER_HOST_MAX = 8
HOSTS_MAX = 1_000
FAILURES_UNTIL_OPEN = 5
OPEN_SECONDS_FIRST, OPEN_SECONDS_MAX = 30.0, 600.0
RETRY_AFTER_MAX = 3_600.0
_OWN_FAULTS = frozenset(("resting", "busy"))  # these say nothing about the host
_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1"))
_HOST_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-_:")

CALLS = Counter("outbound_calls_total", "Calls to configured URLs, by outcome", ["purpose", "outcome"])
SECONDS = Histogram("outbound_call_seconds", "Duration of calls to configured URLs", ["purpose"])

log = structlog.get_logger(__name__)


class OutboundSettings(ServiceSettings):
    """The settings of a service that calls configured URLs."""

    outbound_allow: Networks = ()  # private networks that may be called, even without TLS
    outbound_ca_file: Path | None = None  # CA certificates to trust in addition to the public ones

    @property
    def outbound_networks(self) -> Networks:
        return (*self.outbound_allow, *(_LOOPBACK if self.environment == "development" else ()))


class BadAddress(ValueError):
    """The URL cannot be called. The message says why, and may be shown to those who configured it."""


class CallFailed(Exception):
    """There is no usable response; `reason` is one word, also used in the metric, and safe to show."""

    def __init__(self, reason: str, *, retry_after: float | None = None) -> None:
        self.reason, self.retry_after = reason, retry_after
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Answer:
    """The response, of any status; the caller decides whether that is a success."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def retry_after(self) -> float | None:
        """The seconds to wait according to Retry-After; at most an hour."""
        value = self.headers.get("retry-after", "")
        if value.isascii() and value.isdecimal():
            return min(float(value[:10]), RETRY_AFTER_MAX)
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
        return min(max(seconds, 0.0), RETRY_AFTER_MAX)

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise CallFailed("not_json") from error


@dataclass(slots=True)
class _Host:
    """The circuit breaker of one host: after several failures in a row it is not called for a while."""

    active: int = 0
    failures: int = 0
    open_until: float = 0.0
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PER_HOST_MAX))

    def require_closed(self) -> None:
        remaining = self.open_until - time.monotonic()
        if remaining > 0:
            raise CallFailed("resting", retry_after=remaining)
        if self.open_until:  # one call probes the host; the others keep waiting
            self.open_until = time.monotonic() + OPEN_SECONDS_FIRST

    def succeeded(self) -> None:
        self.failures, self.open_until = 0, 0.0

    def failed(self) -> None:
        self.failures += 1
        times = self.failures - FAILURES_UNTIL_OPEN
        if times >= 0:
            pause = min(OPEN_SECONDS_FIRST * 2 ** min(times, 10), OPEN_SECONDS_MAX)
            self.open_until = time.monotonic() + pause


class Outbound:
    """Makes guarded calls for one `purpose`, a metric label; `close` it when the service stops."""

    def __init__(
        self,
        settings: OutboundSettings,
        purpose: str,
        *,
        seconds_max: float = 10.0,
        answer_bytes_max: int = 1024 * 1024,
        has_breaker: bool = True,  # off if the caller has breakers of its own, finer than one per host
    ) -> None:
        self._settings, self._purpose = settings, purpose
        self._seconds_max, self._bytes_max = seconds_max, answer_bytes_max
        self._has_breaker = has_breaker
        self._hosts: OrderedDict[str, _Host] = OrderedDict()
        self._places = asyncio.Semaphore(CONNECTIONS_MAX)
        self._doors: dict[str, tuple[httpcore.AsyncConnectionPool, GuardedNetwork]] = {}

    async def check(self, url: str) -> None:
        """Raise BadAddress if this URL could not be called. Use it when a URL is configured."""
        from shared.peers.guarded import AddressRefused, NotResolved

        parts = read_url(url)
        _, network = self._door(parts.scheme)
        try:
            async with asyncio.timeout(self._seconds_max):
                await network.checked(str(parts.hostname), _port(parts))
        except AddressRefused as error:
            raise BadAddress(str(error)) from error
        except (NotResolved, TimeoutError) as error:
            raise BadAddress("The host name does not resolve.") from error

    async def call(
        self, method: str, url: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Return the response, of any status; raise BadAddress or CallFailed if there is none."""
        parts = read_url(url)
        host = self._host(parts)
        started, outcome = time.monotonic(), "cancelled"
        try:
            if self._has_breaker:
                host.require_closed()
            async with self._place(host):
                answer = await self._exchange(method, parts, url, body, headers or {})
            outcome = "answered"
            if answer.status >= 500:
                host.failed()
            else:
                host.succeeded()
        except BadAddress:
            outcome = "refused"
            raise
        except CallFailed as error:
            outcome = error.reason
            if outcome not in _OWN_FAULTS:
                host.failed()
            raise
        else:
            return answer
        finally:
            CALLS.labels(self._purpose, outcome).inc()
            SECONDS.labels(self._purpose).observe(time.monotonic() - started)
            if outcome != "answered":  # logged without path and query, which may hold a secret
                log.warning("outbound_failed", purpose=self._purpose, host=parts.hostname, outcome=outcome)

    async def close(self) -> None:
        for pool, network in self._doors.values():
            await pool.aclose()
            network.close()
        self._doors.clear()

    @asynccontextmanager
    async def _place(self, host: _Host) -> AsyncIterator[None]:
        """Wait for one of the host's slots and one of ours, so that a slow host blocks only a few calls.

        A call that gets no slot in half of its time is `busy`, and was not made. So the host always has the
        other half: `late` then says something about the host, which may have received the call.
        """
        host.active += 1
        has_place = False
        try:
            async with asyncio.timeout(self._seconds_max / 2) as limit, host.places, self._places:
                has_place = True
                limit.reschedule((limit.when() or 0.0) + self._seconds_max / 2)
                yield
        except TimeoutError as error:
            raise CallFailed("late" if has_place else "busy") from error
        finally:
            host.active -= 1

    async def _exchange(
        self, method: str, parts: SplitResult, url: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        import httpcore

        from shared.peers.guarded import AddressRefused, NotResolved

        pool, _ = self._door(parts.scheme)
        sent = {"Accept-Encoding": "identity", "User-Agent": "gatehouse", **headers}
        try:
            async with pool.stream(method, url, headers=list(sent.items()), content=body) as response:
                return await self._read(response)
        except AddressRefused as error:
            raise BadAddress(str(error)) from error
        except NotResolved as error:
            raise CallFailed("unknown_host") from error
        except httpcore.ConnectError as error:
            raise CallFailed("unreachable") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
            raise CallFailed("broken") from error

    async def _read(self, response: "httpcore.Response") -> Answer:
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers
        }
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise CallFailed("encoded")  # we asked for identity; a small body could decompress to a huge one
        body = bytearray()
        async for piece in response.aiter_stream():
            body += piece
            if len(body) > self._bytes_max:
                raise CallFailed("too_large")
        return Answer(response.status, headers, bytes(body))

    def _host(self, parts: SplitResult) -> _Host:
        name = f"{parts.hostname}:{_port(parts)}"
        host = self._hosts.setdefault(name, _Host())
        self._hosts.move_to_end(name)
        if len(self._hosts) > HOSTS_MAX:
            idle = next((one for one, state in self._hosts.items() if not state.active and one != name), None)
            if idle is not None:
                del self._hosts[idle]
        return host

    def _door(self, scheme: str) -> "tuple[httpcore.AsyncConnectionPool, GuardedNetwork]":
        """Return the connection pool of one scheme; without TLS it reaches only networks that are allowed."""
        if scheme not in self._doors:
            # Imported late: most processes make no outbound calls.
            import httpcore

            from shared.peers.guarded import GuardedNetwork

            network = GuardedNetwork(self._settings.outbound_networks, private_only=scheme == "http")
            pool = httpcore.AsyncConnectionPool(
                ssl_context=tls_context(self._settings, "http"),
                max_connections=CONNECTIONS_MAX,
                max_keepalive_connections=PER_HOST_MAX,
                keepalive_expiry=5.0,
                network_backend=network,
            )
            self._doors[scheme] = pool, network
        return self._doors[scheme]


def tls_context(settings: OutboundSettings, protocol: str) -> ssl.SSLContext:
    """Return the context that checks the certificates and names of strangers.

    Each protocol has its own, because that of HTTP also holds what HTTP negotiates (ALPN).
    """
    file = settings.outbound_ca_file
    return _tls_context(protocol, file, file and file.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _tls_context(_protocol: str, ca_file: Path | None, _changed_at: int | None) -> ssl.SSLContext:
    """Read all certificates, which takes more CPU time than a hundred requests."""
    import httpcore

    if ca_file is None:
        return httpcore.default_ssl_context()
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks certificates and names by default
    trust.load_default_certs()
    trust.load_verify_locations(ca_file)
    return trust


def read_url(url: str) -> SplitResult:
    """Split a URL; BadAddress says what is wrong with it."""
    if len(url) > URL_CHARACTERS_MAX:
        raise BadAddress(f"The URL has more than {URL_CHARACTERS_MAX} characters.")
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise BadAddress("The URL contains invalid characters.")
    try:
        parts = urlsplit(url)
        _port(parts)
    except ValueError as error:
        raise BadAddress("The URL is malformed.") from error
    if parts.scheme not in ("https", "http"):
        raise BadAddress("The URL must begin with https://.")
    if not parts.hostname or len(parts.hostname) > 253 or not _HOST_CHARACTERS.issuperset(parts.hostname):
        raise BadAddress("The URL must name a host, for example https://hooks.example.com/x.")
    if parts.username is not None or parts.password is not None:
        raise BadAddress("The URL must not contain a user name or a password.")
    return parts


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)
