"""Counts requests in plain numbers, which are added to the metrics a few times a second and on demand.

The Prometheus library takes a lock for every number and compares it with one bucket after another; with
several workers, it also writes each number to a file. That is too slow for every request.
"""

from bisect import bisect_left

from prometheus_client import Counter

from shared.process.observe import BOUNDS_SECONDS, Durations


class Tally:
    """Counts since the last transfer into the metrics. Only the event loop's thread updates them."""

    __slots__ = (
        "_buckets",
        "_durations",
        "_requests",
        "_seconds",
        "_upstream_buckets",
        "_upstream_durations",
        "_upstream_seconds",
        "requests",
    )

    def __init__(self, requests: Counter, durations: Durations, upstream_durations: Durations) -> None:
        self._requests = requests
        self._durations = durations
        self._upstream_durations = upstream_durations
        self._begin()

    def _begin(self) -> None:
        self.requests = 0
        self._seconds = self._upstream_seconds = 0.0
        self._buckets = [0] * (len(BOUNDS_SECONDS) + 1)
        self._upstream_buckets = self._buckets.copy()

    def count(self, seconds: float, upstream_seconds: float) -> None:
        """Count one request, and the time its backend took if it responded."""
        self.requests += 1
        self._seconds += seconds
        self._buckets[bisect_left(BOUNDS_SECONDS, seconds)] += 1
        if upstream_seconds:
            self._upstream_seconds += upstream_seconds
            self._upstream_buckets[bisect_left(BOUNDS_SECONDS, upstream_seconds)] += 1

    def pour(self) -> None:
        if self.requests:
            self._requests.inc(self.requests)
            self._durations.add(self._seconds, self._buckets)
            self._upstream_durations.add(self._upstream_seconds, self._upstream_buckets)
            self._begin()
