"""When a target is ejected, for how long, and what brings it back, with a fake clock."""

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
    assert not standing.may_try(clock.now), "a second request probes"
    if succeeds:
        standing.answered()
    else:
        standing.failed(trial)


def test_consecutive_failures_eject_a_target(standing: Standing, clock: Clock) -> None:
    fail(standing, 2)
    assert standing.is_healthy
    fail(standing, 1)
    assert not standing.is_healthy
    assert standing.until == clock.now + 10


def test_response_in_between_resets_the_failures(standing: Standing) -> None:
    for _ in range(5):
        fail(standing, 2)
        standing.answered()
    assert standing.is_healthy


def test_failures_far_apart_do_not_eject(standing: Standing, clock: Clock) -> None:
    for _ in range(10):
        fail(standing, 1)
        clock.now += 5.1
    assert standing.is_healthy
    fail(standing, 2)
    assert not standing.is_healthy


def test_failures_of_earlier_requests_do_not_extend_an_ejection(standing: Standing, clock: Clock) -> None:
    fail(standing, 3)
    until = standing.until
    clock.now += 5
    fail(standing, 20)
    assert standing.until == until


def test_each_failed_probe_doubles_the_time_up_to_a_maximum(standing: Standing, clock: Clock) -> None:
    fail(standing, 3)
    terms = []
    for _ in range(4):
        try_again(standing, clock, succeeds=False)
        terms.append(standing.until - clock.now)
    assert terms == [20, 35, 35, 35]


def test_successful_probe_brings_the_target_back(standing: Standing, clock: Clock) -> None:
    fail(standing, 3)
    try_again(standing, clock, succeeds=True)
    assert standing.is_healthy
    fail(standing, 2)
    assert standing.is_healthy, "the failure count was not reset"


@pytest.mark.parametrize(("well_for", "term"), [(9, 20), (11, 10)])
def test_healthy_period_as_long_as_the_ejection_resets_its_time(
    standing: Standing, clock: Clock, well_for: float, term: float
) -> None:
    fail(standing, 3)
    try_again(standing, clock, succeeds=True)
    clock.now += well_for
    fail(standing, 3)
    assert standing.until == clock.now + term


def test_probe_without_a_result_is_left_to_the_next_request(standing: Standing, clock: Clock) -> None:
    fail(standing, 3)
    clock.now = standing.until
    trial = standing.trial = object()
    standing.let_go(object())
    assert standing.trial is trial
    standing.let_go(trial)
    assert standing.may_try(clock.now)
    assert not standing.is_healthy


def test_ejection_can_be_turned_off() -> None:
    care = Care(ejection=Ejection(failures=0))
    never = Standing(Target(Origin("localhost", 9000), care), lambda: None)
    fail(never, 100)
    assert never.is_healthy


def test_consecutive_checks_take_a_target_down_and_up(standing: Standing) -> None:
    for is_well, is_down in (
        *((False, False), (False, False), (True, False)),  # two failed checks are too few
        *((False, False), (False, False), (False, True)),
        *((True, True), (False, True), (True, True), (True, False)),
    ):
        standing.checked(is_well=is_well)
        assert standing.is_down is is_down
