"""The rate limiter against a reference implementation, and its memory."""

from fractions import Fraction
from itertools import pairwise
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Refusal
from gateway.policies import rate_limits
from gateway.policies.limit_subjects import counted
from gateway.policies.rate_limit_store import LimitStore
from gateway.policies.rate_limits import Limiter, RouteLimits
from gateway.request import RequestState
from gateway.routing.table import RateLimit
from tests.gateway.support import caller, request_state


@given(
    st.integers(1, 20),
    st.integers(1, 30),
    st.lists(st.integers(0, 3000), min_size=1, max_size=80),
)
def test_no_window_allows_more_than_burst_plus_rate(count: int, burst: int, gaps: list[int]) -> None:
    limiter = Limiter("x", RateLimit(count, 1.0, burst))
    now, passed = 1000.0, []
    for gap in gaps:
        now += gap / 1000
        verdict = limiter.take("key", now)
        assert 0 <= verdict.remaining <= burst
        if verdict.allowed:
            passed.append(now)
        else:
            assert verdict.retry_after >= 1
    for index, start in enumerate(passed):
        for later, end in enumerate(passed[index:], 1):
            assert later <= burst + count * (end - start) + 1e-6


@given(st.integers(1, 50), st.integers(1, 50))
def test_a_full_burst_passes_at_once_and_not_one_more(count: int, burst: int) -> None:
    limiter = Limiter("x", RateLimit(count, 1.0, burst))
    verdicts = [limiter.take("key", 5.0) for _ in range(burst + 1)]
    assert [verdict.allowed for verdict in verdicts] == [True] * burst + [False]
    assert [verdict.remaining for verdict in verdicts[:-1]] == list(reversed(range(burst)))


def test_waiting_for_retry_after_is_enough() -> None:
    limiter = Limiter("x", RateLimit(3, 60.0, 2))
    now = 0.0
    for _ in range(10):
        verdict = limiter.take("key", now)
        if not verdict.allowed:
            now += verdict.retry_after
            assert limiter.take("key", now).allowed


def test_memory_is_bounded_and_old_keys_are_dropped(monkeypatch: object) -> None:
    limiter = Limiter("x", RateLimit(10, 1.0, 10))
    for number in range(rate_limits.KEYS_MAX * 3):
        limiter.take(str(number), 0.0)
    assert limiter.keys <= 2 * rate_limits.KEYS_MAX
    for now in (100.0, 200.0):
        limiter.take("last", now)
    assert limiter.keys <= 2


def test_dropping_old_keys_does_not_allow_more_requests() -> None:
    limiter = Limiter("x", RateLimit(1, 10.0, 3))
    times = [0.0, 0.0, 0.0]
    for now in times:
        assert limiter.take("key", now).allowed
    answers = [limiter.take("key", float(now)).allowed for now in range(1, 60)]
    allowed = [now for now, passed in enumerate(answers, 1) if passed]
    assert all(later - earlier == 10 for earlier, later in pairwise(allowed))


class Bucket:
    """The naive equivalent without rounding: a bucket that refills, and one token per request."""

    def __init__(self, limit: RateLimit) -> None:
        self._burst, self._rate = limit.burst, Fraction(limit.count) / Fraction(limit.seconds)
        self._tokens, self._at = Fraction(limit.burst), Fraction(0)

    def has_one(self, now: Fraction) -> bool:
        self._tokens = min(Fraction(self._burst), self._tokens + (now - self._at) * self._rate)
        self._at = now
        return self._tokens >= 1

    def take(self, now: Fraction) -> bool:
        taken = self.has_one(now)
        self._tokens -= taken
        return taken


@given(
    st.integers(1, 20),
    st.sampled_from([1.0, 4.0, 60.0]),
    st.integers(1, 30),
    st.lists(st.integers(0, 4000), min_size=1, max_size=100),
)
def test_limiter_agrees_with_a_naive_bucket(count: int, seconds: float, burst: int, gaps: list[int]) -> None:
    limit = RateLimit(count, seconds, burst)
    limiter, bucket = Limiter("x", limit), Bucket(limit)
    now = Fraction(0)
    for gap in gaps:
        # No time falls exactly on a step, so that rounding does not decide.
        now += Fraction(gap, 1000) + Fraction(1, 7919)
        seen = limiter.look("key", float(now))
        assert (limiter.take("key", float(now)).allowed, seen.allowed) == (bucket.take(now), seen.allowed)
        after = limiter.look("key", float(now))
        assert after.remaining == seen.remaining - seen.allowed


ALL_KEYS = ["user", "ip", "client", "route", "user+ip", "ip+route", "client+user"]


@given(
    st.lists(
        st.builds(RateLimit, st.integers(1, 5), st.just(10.0), st.integers(1, 6), st.sampled_from(ALL_KEYS)),
        min_size=1,
        max_size=4,
    ),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3000)), min_size=1, max_size=60),
)
def test_request_counts_against_all_limits_or_none(
    wanted: list[RateLimit], requests: list[tuple[int, int]]
) -> None:
    """Compare with one naive bucket per limit and caller."""
    route = RouteLimits("x", wanted)
    buckets: dict[tuple[int, str], Bucket] = {}
    now = Fraction(100)
    for who, gap in requests:
        now += Fraction(gap, 1000) + Fraction(1, 7919)
        asks = request(who)
        mine = [
            buckets.setdefault((place, counted(limit.key)(asks)), Bucket(limit))
            for place, limit in enumerate(wanted)
        ]
        expected = all(bucket.has_one(now) for bucket in mine)
        for bucket in mine if expected else ():
            assert bucket.take(now)
        refused = refusal_of(route, asks, float(now))
        assert (refused is None) == expected
        assert refused is None or int(refused.headers["Retry-After"]) >= 1


def refusal_of(route: RouteLimits, asks: RequestState, now: float) -> Refusal | None:
    try:
        route.take(asks, now)
    except Refusal as refusal:
        return refusal
    return None


def request(who: int) -> RequestState:
    """Return a request: 1 and 2 are one user at two addresses; 3 has no token."""
    state = request_state(peer=f"10.0.0.{who}")
    if who != 3:
        state.caller = caller(f"u{min(who, 1)}", client_id="c" if who else None)
    return state


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("user", ["user u0", "user u1", "user u1", "10.0.0.3"]),
        ("ip", ["10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3"]),
        ("client", ["user u0", "client c", "client c", "10.0.0.3"]),
        ("route", ["", "", "", ""]),
        ("user+ip", ["user u0 10.0.0.0", "user u1 10.0.0.1", "user u1 10.0.0.2", "10.0.0.3 10.0.0.3"]),
    ],
)
def test_key_decides_who_shares_a_bucket(key: str, found: list[str]) -> None:
    assert [counted(key)(request(who)).replace("\x00", " ") for who in range(4)] == found


@given(
    st.builds(RateLimit, st.integers(1, 9), st.just(10.0), st.integers(1, 20)),
    st.integers(1, 6),
    st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 900)), min_size=1, max_size=120),
)
def test_shares_together_do_not_exceed_the_limit(
    limit: RateLimit, gateways: int, steps: list[tuple[int, bool, int]]
) -> None:
    """This holds whatever each gateway has counted before, except that every share allows one request."""
    limiters = [Limiter("x", limit) for _ in range(gateways)]
    for limiter in limiters:
        limiter.divide(gateways)
    now, passed = 1000.0, 0
    for who, is_noted, gap in steps:
        now += gap / 1000
        limiter = limiters[who % gateways]
        if is_noted:
            limiter.note("key", now)
            assert limiter.look("key", now).reset <= max(10 * limit.burst, 10 * gateways) / limit.count + 1
        else:
            passed += limiter.take("key", now).allowed
    assert passed <= max(limit.burst, gateways) + limit.count * (now - 1000.0) / 10 + 1e-6


def test_unchanged_limits_keep_their_counts() -> None:
    kept, changed = RateLimit(1, 60.0, 1, "user"), RateLimit(5, 60.0, 5, "ip")
    before = RouteLimits("x", [kept, changed])
    before.take(request(0), 0.0)
    after = RouteLimits("x", [kept, RateLimit(9, 60.0, 9, "ip")], before)
    assert (after.limiters[0] is before.limiters[0], after.limiters[1].keys) == (True, 0)
    with pytest.raises(Refusal):
        after.take(request(0), 1.0)


class TwoGateways:
    """A store that is down, and that knew two gateways before."""

    is_up = False
    gateways = 2


def test_share_depends_on_the_number_of_gateways_even_after_a_reload() -> None:
    limit, store = RateLimit(1, 60.0, 8), TwoGateways()
    before = RouteLimits("x", [limit], None, cast("LimitStore", store))
    before.take(request(0), 0.0)
    store.gateways = 1
    after = RouteLimits("x", [limit], before, cast("LimitStore", store))
    for _ in range(6):  # the first one, counted as one of two gateways, took two
        after.take(request(0), 0.0)
    with pytest.raises(Refusal):
        after.take(request(0), 0.0)
