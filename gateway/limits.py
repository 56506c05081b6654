"""Rate limits: GCRA, exact in one process, in memory that is bounded."""

from functools import lru_cache
from ipaddress import ip_address, ip_network
from math import ceil
from typing import NamedTuple

from gateway.table import RateLimit

KEYS_MAX = 100_000
IPV6_HOUSEHOLD_BITS = 64


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
        self.limit = limit
        self._interval = limit.seconds / limit.count
        self._span = self._interval * limit.burst
        self._young: dict[str, float] = {}
        self._old: dict[str, float] = {}
        self._turn = float("-inf")
        label = f'"{name}"'
        self._policy = (
            f"ratelimit-policy: {label};q={limit.burst};w={ceil(self._span)}\r\nratelimit: {label};r="
        )

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

    def headers(self, verdict: Verdict) -> bytes:
        """RateLimit and RateLimit-Policy of draft-ietf-httpapi-ratelimit-headers-10."""
        return f"{self._policy}{verdict.remaining};t={verdict.reset}\r\n".encode()

    @property
    def keys(self) -> int:
        return len(self._young) + len(self._old)

    def _next_generation(self, now: float) -> None:
        self._old = self._young
        self._young = {}
        self._turn = now + max(self._span, 1.0)


@lru_cache(maxsize=10_000)
def household(address: str) -> str:
    """What an address is counted as: an IPv6 user owns a whole /64, an IPv4 user one address."""
    if ":" not in address:
        return address
    ip = ip_address(address)
    mapped = getattr(ip, "ipv4_mapped", None)
    return str(mapped) if mapped else str(ip_network((int(ip) >> 64 << 64, IPV6_HOUSEHOLD_BITS)))
