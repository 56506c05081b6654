"""The rate limiter against a reference, and its memory."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway import limits
from gateway.limits import Limiter, household
from gateway.table import RateLimit


@given(
    st.integers(1, 20),
    st.integers(1, 30),
    st.lists(st.integers(0, 3000), min_size=1, max_size=80),
)
def test_no_window_ever_lets_more_through_than_burst_plus_rate(
    count: int, burst: int, gaps: list[int]
) -> None:
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


def test_waiting_as_told_is_enough() -> None:
    limiter = Limiter("x", RateLimit(3, 60.0, 2))
    now = 0.0
    for _ in range(10):
        verdict = limiter.take("key", now)
        if not verdict.allowed:
            now += verdict.retry_after
            assert limiter.take("key", now).allowed


def test_memory_is_bounded_and_old_keys_are_dropped(monkeypatch: object) -> None:
    limiter = Limiter("x", RateLimit(10, 1.0, 10))
    for number in range(limits.KEYS_MAX * 3):
        limiter.take(str(number), 0.0)
    assert limiter.keys <= 2 * limits.KEYS_MAX
    for now in (100.0, 200.0):
        limiter.take("last", now)
    assert limiter.keys <= 2


def test_dropping_old_keys_forgives_nothing() -> None:
    limiter = Limiter("x", RateLimit(1, 10.0, 3))
    times = [0.0, 0.0, 0.0]
    for now in times:
        assert limiter.take("key", now).allowed
    answers = [limiter.take("key", float(now)).allowed for now in range(1, 60)]
    allowed = [now for now, passed in enumerate(answers, 1) if passed]
    assert all(later - earlier == 10 for earlier, later in pairwise(allowed))


def test_an_ipv6_household_is_one_client() -> None:
    assert household("2001:db8::1") == household("2001:db8:0:0:ffff::9") == "2001:db8::/64"
    assert household("2001:db8:0:1::1") != household("2001:db8::1")
    assert household("::ffff:1.2.3.4") == household("1.2.3.4") == "1.2.3.4"
