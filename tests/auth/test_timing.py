"""The comparison of times: it notices small differences, and noise alone never makes one."""

import random

import pytest

from tests.auth.timing import gap_of


def measured(gap: float, noise: float, pairs: int = 60) -> list[tuple[float, float]]:
    """Times of two kinds of requests on a machine where every third one is disturbed."""
    source = random.Random(7)

    def disturbed(seconds: float) -> float:
        return seconds * (1 + noise * source.random() + source.choice((0, 0, 2)) * source.random())

    return [(disturbed(1 + gap), disturbed(1)) for _ in range(pairs)]


@pytest.mark.parametrize("gap", [0.25, -0.25])
def test_difference_is_noticed_despite_noise(gap: float) -> None:
    assert gap_of(measured(gap, 0.05)).is_beyond(0.05)


@pytest.mark.parametrize("noise", [0.05, 1.0])
def test_noise_is_no_difference(noise: float) -> None:
    assert not gap_of(measured(0, noise)).is_beyond(0.05)


def test_interval_contains_the_median_and_narrows_with_more_pairs() -> None:
    few, many = gap_of(measured(0, 0.05, 30)), gap_of(measured(0, 0.05, 300))

    assert few.low < many.low < 0 < many.high < few.high
