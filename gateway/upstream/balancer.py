"""Chooses the target of a request."""

import random
import time
import zlib
from bisect import bisect
from collections import deque
from collections.abc import Collection, Mapping
from itertools import accumulate
from math import ceil

from gateway.errors import OPEN, Refusal
from gateway.request import RequestState
from gateway.routing.upstreams import Split, Target, Upstream
from gateway.upstream.pool import Backend

BUDGET_SECONDS = 10
RETRIES_PER_SECOND_MIN = 3


class Group:
    """The targets of one upstream: which one is next, and how many retries are allowed."""

    def __init__(self, upstream: Upstream, backends: Mapping[Target, Backend]) -> None:
        self.upstream = upstream
        self.retry = upstream.retry
        self.requests = self.retries = 0
        self._history: deque[tuple[int, int]] = deque([(0, 0)], maxlen=BUDGET_SECONDS)
        self._history_turn = 0.0
        self._members = [(backends[share.target], share.weight) for share in upstream.shares if share.weight]
        self._turns = dict.fromkeys((backend for backend, _ in self._members), 0)
        self._usable: list[Backend] = []
        self._weights: list[int] = []
        self._cumulative: list[int] = []
        self._ejected: list[Backend] = []
        self._choose = self._by_turns if upstream.balance == "round_robin" else self._better_of_two
        for backend, _ in self._members:
            backend.subscribe(self.sort_out)
        self.sort_out()

    def sort_out(self) -> None:
        """Sort the targets into usable and ejected ones, after the health of one has changed.

        At most half of the targets are ejected, the first ones to fail. A single target may be ejected,
        since trying it would only make callers wait for the same error. If none of several targets would be
        left, all are used: then the health information is more likely to be wrong.
        """
        up = [member for member in self._members if not member[0].standing.is_down] or self._members
        ejected = sorted(
            (backend for backend, _ in up if backend.standing.is_ejected),
            key=lambda backend: backend.standing.since,
        )
        self._ejected = ejected[: max(1, len(self._members) // 2)]
        usable = [member for member in up if member[0] not in self._ejected]
        if not usable and len(self._members) > 1:
            usable, self._ejected = self._members, []
        self._usable = [backend for backend, _ in usable]
        self._weights = [weight for _, weight in usable]
        self._cumulative = list(accumulate(self._weights))

    def pick(self, request: RequestState, tried: Collection[Backend] = ()) -> Backend:
        """Return the target for this request, preferably one that it has not tried."""
        if self._ejected:
            now = time.monotonic()
            for backend in self._ejected:
                if backend not in tried and backend.standing.may_try(now):
                    backend.standing.trial = request
                    return backend
        usable = self._usable
        if tried:
            others = [backend for backend in usable if backend not in tried]
            if others:
                return min(others, key=lambda backend: backend.load)
        if len(usable) == 1:
            return usable[0]
        if not usable:
            seconds = ceil(min(backend.standing.until for backend in self._ejected) - time.monotonic())
            raise Refusal(OPEN, headers={"Retry-After": str(max(1, seconds))})
        return self._choose()

    @property
    def may_be_asked(self) -> bool:
        now = time.monotonic()
        return bool(self._usable) or any(backend.standing.may_try(now) for backend in self._ejected)

    def _better_of_two(self) -> Backend:
        """Draw two targets, the first by weight; use the second only if it is less loaded."""
        backends, weights = self._usable, self._weights
        count = len(backends)
        first = bisect(self._cumulative, random.random() * self._cumulative[-1])  # noqa: S311 - spreads load
        second = (first + 1 + int(random.random() * (count - 1))) % count  # noqa: S311
        if (backends[second].load + 1) * weights[first] <= backends[first].load * weights[second]:
            return backends[second]
        return backends[first]

    def _by_turns(self) -> Backend:
        """Smooth weighted round robin: the turns of a heavy target are spread out."""
        turns = self._turns
        for backend, weight in zip(self._usable, self._weights, strict=True):
            turns[backend] += weight
        chosen = max(self._usable, key=lambda backend: turns[backend])
        turns[chosen] -= self._cumulative[-1]
        return chosen

    # The retry budget.

    def remember(self, now: float) -> None:
        """Record the counts once a second; may be called more often."""
        if now >= self._history_turn:
            self._history_turn = now + 1
            self._history.append((self.requests, self.retries))

    @property
    def may_retry(self) -> bool:
        """Whether the budget allows one more retry: a failing service must not get every request twice."""
        requests, retries = self._history[0]
        share = self.retry.budget * (self.requests - requests)
        return self.retries - retries < max(share, RETRIES_PER_SECOND_MIN * BUDGET_SECONDS)


def is_split(request: RequestState, split: Split) -> bool:
    """Whether this caller belongs to the split: always the same result for the same caller."""
    if split.header is not None and split.header in request.request.headers:
        return True
    if not split.weight:
        return False
    assert request.route is not None
    who = request.caller.id if request.caller is not None else request.address
    # If the weight grows later, callers in the split stay in it.
    return zlib.crc32(f"{request.route.name} {who}".encode()) < split.weight * 2**32
