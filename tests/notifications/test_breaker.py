"""How long sending pauses while the mail server is away."""

import pytest

from services.notifications import breaker as module
from services.notifications.breaker import Breaker, Outcome

AWAY, SENT = Outcome("away", "unreachable"), Outcome("sent")


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def test_failures_of_attempts_made_at_once_cause_one_pause_and_those_of_probes_longer_ones(
    clock: Clock,
) -> None:
    breaker, pauses = Breaker("mail"), list[float]()
    for _ in range(8):  # as many as are submitted at once: one hiccup of the server fails them all
        breaker.note(AWAY)
    assert breaker.wait_seconds == 15.0
    for _ in range(6):
        clock.seconds += breaker.wait_seconds
        assert breaker.is_probing
        assert breaker.wait_seconds == 0.0
        breaker.note(AWAY)
        pauses.append(breaker.wait_seconds)

    assert pauses == [30.0, 60.0, 120.0, 240.0, 300.0, 300.0]


def test_success_ends_the_count(clock: Clock) -> None:
    breaker = Breaker("mail")
    for outcome in (*[AWAY] * 4, SENT, *[AWAY] * 4):
        breaker.note(outcome)

    assert (breaker.wait_seconds, breaker.is_probing) == (0.0, False)
    breaker.note(AWAY)
    assert breaker.wait_seconds == 15.0
