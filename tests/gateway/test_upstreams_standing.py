"""When a target is ejected, for how long, and what brings it back. The clock is the test's own."""

import pytest

from gateway.routing.upstreams import Care, Ejection, HealthCheck, Origin, Target
from gateway.upstream import ejection as module
from gateway.upstream.ejection import Standing

EJECTION = Ejection(failures=3, window=10, time=10, time_max=35)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def standing(clock: Clock) -> Standing:
    care = Care(ejection=EJECTION, health=HealthCheck("/", up=2, down=3))
    return Standing(Target(Origin("localhost", 9000), care), lambda: None)


def fail(standing: Standing, times: int) -> None:
    for _ in range(times):
        standing.failed(object())


def try_again(standing: Standing, clock: Clock, *, succeeds: bool) -> None:
    clock.now = standing.until
    assert standing.may_try(clock.now)
    trial = standing.trial = object()
    assert not standing.may_try(clock.now), "a second one tries"
    if succeeds:
        standing.answered()
    else:
        standing.failed(trial)


def test_failures_in_a_row_eject(standing: Standing, clock: Clock) -> None:
    fail(standing, 2)
    assert standing.is_healthy
    fail(standing, 1)
    assert not standing.is_healthy
    assert standing.until == clock.now + 10


def test_an_answer_in_between_starts_the_row_anew(standing: Standing) -> None:
    for _ in range(5):
        fail(standing, 2)
        standing.answered()
    assert standing.is_healthy


def test_failures_far_apart_do_not(standing: Standing, clock: Clock) -> None:
    for _ in range(10):
        fail(standing, 1)
        clock.now += 5.1
    assert standing.is_healthy
    fail(standing, 2)
    assert not standing.is_healthy


def test_what_was_on_its_way_does_not_make_it_longer(standing: Standing, clock: Clock) -> None:
    fail(standing, 3)
    until = standing.until
    clock.now += 5
    fail(standing, 20)
    assert standing.until == until


def test_each_trial_that_fails_doubles_the_time_up_to_a_limit(standing: Standing, clock: Clock) -> None:
    fail(standing, 3)
    terms = []
    for _ in range(4):
        try_again(standing, clock, succeeds=False)
        terms.append(standing.until - clock.now)
    assert terms == [20, 35, 35, 35]


def test_a_trial_that_is_answered_brings_it_back(standing: Standing, clock: Clock) -> None:
    fail(standing, 3)
    try_again(standing, clock, succeeds=True)
    assert standing.is_healthy
    fail(standing, 2)
    assert standing.is_healthy, "it had no new chance"


@pytest.mark.parametrize(("well_for", "term"), [(9, 20), (11, 10)])
def test_who_was_well_for_as_long_begins_anew(
    standing: Standing, clock: Clock, well_for: float, term: float
) -> None:
    fail(standing, 3)
    try_again(standing, clock, succeeds=True)
    clock.now += well_for
    fail(standing, 3)
    assert standing.until == clock.now + term


def test_a_trial_that_tells_nothing_leaves_it_to_the_next_one(standing: Standing, clock: Clock) -> None:
    fail(standing, 3)
    clock.now = standing.until
    trial = standing.trial = object()
    standing.let_go(object())
    assert standing.trial is trial
    standing.let_go(trial)
    assert standing.may_try(clock.now)
    assert not standing.is_healthy


def test_it_can_be_turned_off() -> None:
    care = Care(ejection=Ejection(failures=0))
    never = Standing(Target(Origin("localhost", 9000), care), lambda: None)
    fail(never, 100)
    assert never.is_healthy


def test_checks_in_a_row_take_it_down_and_up(standing: Standing) -> None:
    for is_well, is_down in (
        *((False, False), (False, False), (True, False)),  # two are not three
        *((False, False), (False, False), (False, True)),
        *((True, True), (False, True), (True, True), (True, False)),
    ):
        standing.checked(is_well=is_well)
        assert standing.is_down is is_down
