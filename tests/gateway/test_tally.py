"""Tallies add the same numbers to the metrics as counting with the library directly."""

import re

from hypothesis import given
from hypothesis import strategies as some
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from gateway.telemetry.tally import Tally
from shared.process.observe import BOUNDS_SECONDS, Durations

# On, near and beyond the bucket bounds; sums of eighths are exact.
SECONDS = some.sampled_from(BOUNDS_SECONDS) | some.integers(0, 200).map(lambda eighths: eighths / 8)


def text_of(registry: CollectorRegistry) -> list[tuple[str, float]]:
    lines = re.findall(r"^([^#].*) (\S+)$", generate_latest(registry).decode(), re.MULTILINE)
    return [(name, round(float(value), 6)) for name, value in lines if "_created" not in name]


@given(some.lists(some.tuples(SECONDS, SECONDS), max_size=30), some.integers(1, 10))
def test_tally_counts_like_the_library(measured: list[tuple[float, float]], poured_every: int) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    requests = Counter("r", "r", ["a"], registry=ours).labels("x")
    durations, upstream = (
        Durations(name, name, ["a"], buckets=BOUNDS_SECONDS, registry=ours).labels("x") for name in "du"
    )
    expected_requests = Counter("r", "r", ["a"], registry=theirs).labels("x")
    expected, expected_upstream = (
        Histogram(name, name, ["a"], buckets=BOUNDS_SECONDS, registry=theirs).labels("x") for name in "du"
    )
    tally = Tally(requests, durations, upstream)

    for number, (seconds, upstream_seconds) in enumerate(measured):
        tally.count(seconds, upstream_seconds)
        expected_requests.inc()
        expected.observe(seconds)
        if upstream_seconds:  # otherwise no backend responded
            expected_upstream.observe(upstream_seconds)
        if number % poured_every == 0:
            tally.pour()
    tally.pour()
    tally.pour()

    assert text_of(ours) == text_of(theirs)
