"""Requests to providers, within limits, and a cache for their documents."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from typing import Any, Generic, TypeVar

from services.auth.providers.refusals import Refused, down, untrusted
from shared.identity.unverified import each_once
from shared.peers.outbound import Answer, BadAddress, CallFailed, Outbound

T = TypeVar("T")

KEPT_SECONDS = 3600.0
STALE_SECONDS = 24 * 3600.0  # how long a cached document is used while the provider cannot be reached
TRIED_AGAIN_SECONDS = 10.0
JSON = {"Accept": "application/json"}


async def call(
    outbound: Outbound,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] = JSON,
    body: bytes | None = None,
) -> Answer:
    """Send a request. Without a usable response it is refused, with a reason."""
    try:
        answer = await outbound.call(method, url, body=body, headers=headers)
    except BadAddress as error:
        raise untrusted("address_refused") from error
    except CallFailed as error:
        if error.reason in ("too_large", "encoded"):
            raise untrusted(f"response_{error.reason}") from error
        raise down(f"provider_{error.reason}", error.retry_after) from error
    if 300 <= answer.status < 400:
        raise untrusted("redirected")
    if answer.status >= 500 or answer.status == 429:
        raise down(f"status_{answer.status}", answer.retry_after)
    return answer


def json_in(answer: Answer) -> Any:
    """Parse the JSON of a response. Duplicate members are ambiguous, and refused."""
    try:
        return json.loads(answer.body, object_pairs_hook=each_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise untrusted("not_json") from error


def object_in(answer: Answer) -> dict[str, Any]:
    """Parse the JSON object of a response."""
    found = json_in(answer)
    if not isinstance(found, dict):
        raise untrusted("not_an_object")
    return found


async def fetch_object(outbound: Outbound, url: str, headers: Mapping[str, str] = JSON) -> dict[str, Any]:
    """Fetch a JSON object."""
    answer = await call(outbound, "GET", url, headers=headers)
    if answer.status != 200:
        raise untrusted(f"status_{answer.status}")
    return object_in(answer)


class CachedDocument(Generic[T]):
    """A cached document: fetched once for all waiting requests, and kept while the provider is down."""

    def __init__(self, fetch: Callable[[], Awaitable[T]]) -> None:
        self._fetch = fetch
        self._value: T | None = None
        self._fetched = self._tried = float("-inf")
        self._failure: Refused | None = None
        self._fetching = asyncio.Lock()

    async def get(self) -> T:
        """Return the document, at most an hour old unless the provider is down."""
        if self._value is not None and self._age() < KEPT_SECONDS:
            return self._value
        async with self._fetching:
            if self._value is None or self._age() >= KEPT_SECONDS:
                await self._try()
        return self._current()

    async def renewed(self, seen: T) -> T:
        """Fetch the document again if `seen` is the cached one, at most once in ten seconds."""
        async with self._fetching:
            if self._value is seen:
                await self._try()
        return self._current()

    async def _try(self) -> None:
        if monotonic() - self._tried < TRIED_AGAIN_SECONDS:
            return
        try:
            self._value = await self._fetch()
            self._fetched, self._failure = monotonic(), None
        except Refused as error:
            self._failure = error
        finally:
            self._tried = monotonic()

    def _current(self) -> T:
        if self._value is not None and (self._failure is None or self._age() < STALE_SECONDS):
            return self._value
        failure = self._failure
        raise down("provider_unknown") if failure is None else Refused(failure.problem, failure.reason)

    def _age(self) -> float:
        return monotonic() - self._fetched


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
