"""Limits invalid tokens and keys per network: after too many, no others are verified for a while.

Verifying a token costs more than the rest of a refused request, and strangers can send any number of them.
Tokens that were verified before still pass, since looking them up costs almost nothing.
"""

from gateway.errors import TOO_MANY_FAILURES, Refusal
from gateway.policies.rate_limits import Limiter
from gateway.routing.table import RateLimit
from shared.process.proxies import limited_network

BURST_SECONDS = 10


class Failures:
    """Invalid credentials by network, in bounded memory; each worker counts separately."""

    def __init__(self, per_second: int) -> None:
        self._limiter: Limiter | None = None
        if per_second:
            limit = RateLimit(per_second, 1.0, per_second * BURST_SECONDS, "ip", "local")
            self._limiter = Limiter("failures", limit)

    def require_few(self, address: str, now: float) -> None:
        """Refuse a network that has failed too often, before verifying anything from it."""
        if self._limiter is not None:
            verdict = self._limiter.look(limited_network(address), now)
            if not verdict.allowed:
                raise _refused(verdict.retry_after)

    def add(self, address: str, now: float) -> None:
        """Count a failure, and refuse the request if that is one too many."""
        if self._limiter is not None:
            verdict = self._limiter.take(limited_network(address), now)
            if not verdict.allowed:
                raise _refused(verdict.retry_after)


def _refused(retry_after: int) -> Refusal:
    return Refusal(TOO_MANY_FAILURES, headers={"Retry-After": str(retry_after)})
