"""Rate limits (GCRA): exact in one process with bounded memory, and across all gateways through a store."""

import time
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from math import ceil
from typing import NamedTuple

from gateway.errors import RATE_LIMITED, Refusal
from gateway.policies.limit_subjects import counted
from gateway.policies.rate_limit_store import Ask, LimitStore, Standing
from gateway.request import RequestState
from gateway.routing.table import RateLimit

KEYS_MAX = 100_000


class Verdict(NamedTuple):
    """The decision about one request; times are whole seconds, rounded up."""

    allowed: bool
    remaining: int
    reset: int
    retry_after: int


class Limiter:
    """The generic cell rate algorithm: one number per key, the time at which its bucket is full again.

    Keys live in two generations. A key unseen for one full refill period is back at full burst, so dropping
    the older generation after that time loses nothing.
    """

    def __init__(self, name: str, limit: RateLimit) -> None:
        self.name = name
        self.limit = limit
        self._interval = limit.seconds / limit.count
        self._span = self._interval * limit.burst
        self._young: dict[str, float] = {}
        self._old: dict[str, float] = {}
        self._turn = float("-inf")
        self._label = f'"{name}"'
        # The fields of draft-ietf-httpapi-ratelimit-headers-10.
        self.policy = f"{self._label};q={limit.burst};w={ceil(self._span)}"
        self._before = f"ratelimit-policy: {self.policy}\r\nratelimit: {self._label};r="

    def take(self, key: str, now: float) -> Verdict:
        """Count one request; a refused one is not counted."""
        if now >= self._turn or len(self._young) >= KEYS_MAX:
            self._next_generation(now)
        full_at = max(now, self._young.get(key) or self._old.get(key, now))
        next_full_at = full_at + self._interval
        # Tolerate the rounding errors of long sums.
        if next_full_at - now > self._span + 1e-9:
            return Verdict(False, 0, ceil(full_at - now), max(1, ceil(next_full_at - now - self._span)))
        self._young[key] = next_full_at
        remaining = int((self._span - (next_full_at - now)) / self._interval + 1e-6)
        return Verdict(True, remaining, ceil(next_full_at - now), 0)

    def give_back(self, key: str) -> None:
        """Undo the count of the last request."""
        self._young[key] -= self._interval

    def look(self, key: str, now: float) -> Verdict:
        """Return the decision that the next request would get, without counting it."""
        full_at = max(now, self._young.get(key) or self._old.get(key, now))
        remaining = int((self._span - (full_at - now)) / self._interval + 1e-6)
        wait = full_at + self._interval - now - self._span
        allowed = wait <= 1e-9
        return Verdict(allowed, remaining, ceil(full_at - now), 0 if allowed else max(1, ceil(wait)))

    def note(self, key: str, now: float) -> None:
        """Count a request that the store allowed; at worst, the bucket is then empty."""
        if now >= self._turn or len(self._young) >= KEYS_MAX:
            self._next_generation(now)
        full_at = max(now, self._young.get(key) or self._old.get(key, now))
        self._young[key] = min(full_at + self._interval, now + self._span)

    def divide(self, parts: int) -> None:
        """Allow one of `parts` equal shares of the limit, and at least one request."""
        whole = self.limit.seconds / self.limit.count
        self._interval = whole * parts
        self._span = max(whole * self.limit.burst, self._interval)

    def headers(self, verdict: Verdict) -> bytes:
        """Return both headers, for a single limit."""
        return f"{self._before}{verdict.remaining};t={verdict.reset}\r\n".encode()

    def header_of(self, verdict: Verdict) -> str:
        """Return this limit's item in the RateLimit header."""
        return f"{self._label};r={verdict.remaining};t={verdict.reset}"

    @property
    def keys(self) -> int:
        return len(self._young) + len(self._old)

    def _next_generation(self, now: float) -> None:
        self._old = self._young
        self._young = {}
        self._turn = now + max(self._span, 1.0)


class RouteLimits:
    """The rate limits of one route. A request counts against all of them, or against none if it is refused.

    With a store, requests at other gateways count as well. A local limiter mirrors each shared limit, so that
    it knows the recent usage if the store becomes unavailable.
    """

    def __init__(
        self,
        route: str,
        limits: Sequence[RateLimit],
        before: "RouteLimits | None" = None,
        store: LimitStore | None = None,
    ) -> None:
        kept = {} if before is None else {(each.name, each.limit): each for each in before.limiters}
        self.limiters: tuple[Limiter, ...] = tuple(
            kept.get((name, limit)) or Limiter(name, limit)
            for name, limit in zip(_names(route, limits), limits, strict=True)
        )
        self._only = self.limiters[0] if len(limits) == 1 else None
        self._counted = tuple(counted(limit.key) for limit in limits)
        # Anonymous callers are counted by network, unless the limit counts all callers together.
        self._by_client = [place for place, limit in enumerate(limits) if limit.key != "route"]
        self._store = store
        self._parts = 0  # unknown, because limiters of the previous routing may have been divided already
        self._shared = [
            (place, _prefix(route, limit), *_microseconds(limit))
            for place, limit in enumerate(limits)
            if store is not None and limit.store == "shared"
        ]
        self._policies = ", ".join(limiter.policy for limiter in self.limiters)

    @property
    def is_shared(self) -> bool:
        """Whether the store is used."""
        return bool(self._shared) and self._store is not None and self._store.is_up

    async def take_shared(self, request: RequestState) -> None:
        """Do the same as `take` across all gateways, or locally if the store is unavailable."""
        assert self._store is not None
        now = time.monotonic()
        keys = [key(request) for key in self._counted]
        own = [place for place in range(len(keys)) if place not in {each[0] for each in self._shared}]
        found = {place: self.limiters[place].look(keys[place], now) for place in own}
        if all(verdict.allowed for verdict in found.values()):
            asks = [
                Ask(prefix + _digest(keys[place]), interval, span)
                for place, prefix, interval, span in self._shared
            ]
            standings = await self._store.take(asks)
            if standings is None:
                self.take(request, time.monotonic())
                return
            for (place, _, interval, span), standing in zip(self._shared, standings, strict=True):
                found[place] = _verdict(standing, interval / 1e6, span / 1e6)
            if all(verdict.allowed for verdict in found.values()):
                self._divide()
                for place, _, _, _ in self._shared:
                    self.limiters[place].note(keys[place], now)
                found |= {place: self.limiters[place].take(keys[place], now) for place in own}
        self._tell(request, found)

    def _divide(self) -> None:
        """Set the share of each shared limit that this gateway enforces without the store."""
        if self._store is not None and self._store.gateways != self._parts:
            self._parts = self._store.gateways
            for place, _, _, _ in self._shared:
                self.limiters[place].divide(self._parts)

    def take(self, request: RequestState, now: float) -> None:
        """Count the request or raise the refusal; either way the response reports the limits."""
        if self._shared:
            self._divide()
        only = self._only
        if only is not None:
            verdict = only.take(self._counted[0](request), now)
            request.limit_headers = only.headers(verdict)
            if not verdict.allowed:
                raise _refused(verdict.retry_after)
            return
        keys = [key(request) for key in self._counted]
        verdicts = [limiter.take(key, now) for limiter, key in zip(self.limiters, keys, strict=True)]
        if not all(verdict.allowed for verdict in verdicts):
            for limiter, key, verdict in zip(self.limiters, keys, verdicts, strict=True):
                if verdict.allowed:
                    limiter.give_back(key)
            verdicts = [limiter.look(key, now) for limiter, key in zip(self.limiters, keys, strict=True)]
        self._tell(request, dict(enumerate(verdicts)))

    def take_refused(self, request: RequestState, now: float) -> None:
        """Count a request that lacks a valid token, or refuse it because of the limit.

        It counts only against the limits of its network, so that strangers cannot use up a limit that a whole
        route shares, and only in this process, so that it costs no round trip.
        """
        for place in self._by_client:
            verdict = self.limiters[place].take(self._counted[place](request), now)
            if not verdict.allowed:
                raise _refused(verdict.retry_after)

    def _tell(self, request: RequestState, verdicts: Mapping[int, Verdict]) -> None:
        shown = ", ".join(self.limiters[place].header_of(verdicts[place]) for place in sorted(verdicts))
        request.limit_headers = f"ratelimit-policy: {self._policies}\r\nratelimit: {shown}\r\n".encode()
        retry_after = max(verdict.retry_after for verdict in verdicts.values())
        if retry_after:
            raise _refused(retry_after)


def _verdict(standing: Standing, interval: float, span: float) -> Verdict:
    remaining = int((span - standing.ahead) / interval + 1e-6)
    return Verdict(standing.wait == 0, remaining, ceil(standing.ahead), ceil(standing.wait))


def _prefix(route: str, limit: RateLimit) -> str:
    """Return the prefix of one limit's keys; the braces keep a route's limits in one slot of a Redis cluster.

    A changed limit starts with full buckets, as it does without Redis.
    """
    rate = f"{limit.count}/{limit.seconds:g}s:{limit.burst}"
    return f"gatehouse:limit:{{{route}}}:{rate}:{limit.key}:"


def _microseconds(limit: RateLimit) -> tuple[int, int]:
    """Return interval and span, rounded so that the limit is never exceeded."""
    interval = ceil(limit.seconds * 1e6 / limit.count)
    return interval, interval * limit.burst


def _digest(key: str) -> str:
    """Return a digest, so that keys have a bounded length and Redis never sees an id."""
    return blake2b(key.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def _names(route: str, limits: Sequence[RateLimit]) -> list[str]:
    """Return the name of each limit in responses: the route, and the key as well if there are several."""
    if len(limits) == 1:
        return [route]
    names = [f"{route}.{limit.key}" for limit in limits]
    return [
        name if names.count(name) == 1 else f"{name}.{names[: place + 1].count(name)}"
        for place, name in enumerate(names)
    ]


def _refused(retry_after: int) -> Refusal:
    return Refusal(RATE_LIMITED, headers={"Retry-After": str(retry_after)})
