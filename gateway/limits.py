"""Rate limits: GCRA, exact in one process, in memory that is bounded."""

from collections.abc import Callable, Sequence
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from gateway.counted import counted
from gateway.errors import RATE_LIMITED, Refusal
from gateway.table import RateLimit

if TYPE_CHECKING:
    from gateway.forward import Exchange

KEYS_MAX = 100_000


class Verdict(NamedTuple):
    """What one request was told; times are whole seconds, rounded up."""

    allowed: bool
    remaining: int
    reset: int
    retry_after: int


class Limiter:
    """The generic cell rate algorithm: one number per key, the time at which its bucket is full again.

    Keys live in two generations. Those that were not seen for as long as a bucket takes to fill are at
    their full burst, so dropping the older generation then forgets nothing that counts.
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
        # Floats of long sums are off by a hair; nobody is refused for that.
        if next_full_at - now > self._span + 1e-9:
            return Verdict(False, 0, ceil(full_at - now), max(1, ceil(next_full_at - now - self._span)))
        self._young[key] = next_full_at
        remaining = int((self._span - (next_full_at - now)) / self._interval + 1e-6)
        return Verdict(True, remaining, ceil(next_full_at - now), 0)

    def look(self, key: str, now: float) -> Verdict:
        """What the next request will be told, without counting it."""
        full_at = max(now, self._young.get(key) or self._old.get(key, now))
        remaining = int((self._span - (full_at - now)) / self._interval + 1e-6)
        wait = full_at + self._interval - now - self._span
        allowed = wait <= 1e-9
        return Verdict(allowed, remaining, ceil(full_at - now), 0 if allowed else max(1, ceil(wait)))

    def headers(self, verdict: Verdict) -> bytes:
        """Both fields, for a limit that is the only one."""
        return f"{self._before}{verdict.remaining};t={verdict.reset}\r\n".encode()

    def told(self, verdict: Verdict) -> str:
        """What stands in the list of a RateLimit field."""
        return f"{self._label};r={verdict.remaining};t={verdict.reset}"

    @property
    def keys(self) -> int:
        return len(self._young) + len(self._old)

    def _next_generation(self, now: float) -> None:
        self._old = self._young
        self._young = {}
        self._turn = now + max(self._span, 1.0)


Ask = Callable[[Limiter, str, float], Verdict]


class RouteLimits:
    """All rate limits of one route. A request counts for each of them, or is refused and counts for none."""

    def __init__(self, route: str, limits: Sequence[RateLimit], before: "RouteLimits | None" = None) -> None:
        kept = {} if before is None else {(each.name, each.limit): each for each in before.limiters}
        self.limiters: tuple[Limiter, ...] = tuple(
            kept.get((name, limit)) or Limiter(name, limit)
            for name, limit in zip(_names(route, limits), limits, strict=True)
        )
        self._counted = tuple(counted(limit.key) for limit in limits)
        self._policies = ", ".join(limiter.policy for limiter in self.limiters)

    def take(self, exchange: "Exchange", now: float) -> None:
        """Count the request, or raise why not; either way every answer says how it stands."""
        if len(self.limiters) == 1:
            (limiter,), (key,) = self.limiters, self._counted
            verdict = limiter.take(key(exchange), now)
            exchange.limit_headers = limiter.headers(verdict)
            if not verdict.allowed:
                raise _refused(verdict.retry_after)
            return
        keys = [key(exchange) for key in self._counted]
        verdicts = self._verdicts(Limiter.look, keys, now)
        if all(verdict.allowed for verdict in verdicts):
            verdicts = self._verdicts(Limiter.take, keys, now)
        exchange.limit_headers = self._headers(verdicts)
        retry_after = max(verdict.retry_after for verdict in verdicts)
        if retry_after:
            raise _refused(retry_after)

    def _verdicts(self, ask: Ask, keys: Sequence[str], now: float) -> list[Verdict]:
        return [ask(limiter, key, now) for limiter, key in zip(self.limiters, keys, strict=True)]

    def _headers(self, verdicts: Sequence[Verdict]) -> bytes:
        pairs = zip(self.limiters, verdicts, strict=True)
        told = ", ".join(limiter.told(verdict) for limiter, verdict in pairs)
        return f"ratelimit-policy: {self._policies}\r\nratelimit: {told}\r\n".encode()


def _names(route: str, limits: Sequence[RateLimit]) -> list[str]:
    """What each limit is called in answers: as the route, and where there are several after its key, too."""
    if len(limits) == 1:
        return [route]
    names = [f"{route}.{limit.key}" for limit in limits]
    return [
        name if names.count(name) == 1 else f"{name}.{names[: place + 1].count(name)}"
        for place, name in enumerate(names)
    ]


def _refused(retry_after: int) -> Refusal:
    return Refusal(RATE_LIMITED, headers={"Retry-After": str(retry_after)})
