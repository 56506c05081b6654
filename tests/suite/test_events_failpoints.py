"""Processes killed at every named step of event delivery: no event is lost, duplicated or out of order."""

import signal
from pathlib import Path

import pytest

from shared.ids import new_id
from tests import support
from tests.shared.events.stage import Stage, stage

pytestmark = pytest.mark.prove

STEP_SECONDS = 30
REST_SECONDS = 60
AFTERWARDS = 40  # events to wait for after the kill; some have the keys that it affected
TELLER_STEPS = [
    "emit: before",
    "emit: after",
    "relay: committed",
    "relay: claimed",
    "relay: sent",
    "relay: settled",
]
LEDGER_STEPS = [
    "inbox: seen",
    "inbox: consumed",
    "inbox: committed",
    "inbox: parking",
    "inbox: parked",
    "retry: claimed",
    "retry: consumed",
    "retry: committed",
]
REDIS_STEPS = [
    ("teller", "relay: claimed"),
    ("teller", "relay: sent"),
    ("teller", "relay: settled"),
    ("teller", "redis: acknowledged"),
    ("teller", "redis: forgotten"),
    ("ledger", "redis: applied"),
]
DIRECT_STEPS = [("teller", step) for step in TELLER_STEPS] + [("ledger", step) for step in LEDGER_STEPS]


@pytest.mark.parametrize(("service", "step"), DIRECT_STEPS)
def test_kill_at_a_step_of_direct_delivery(tmp_path: Path, service: str, step: str) -> None:
    databases = f"sqlite:///{tmp_path}/teller.db", f"sqlite:///{tmp_path}/ledger.db"
    with stage(tmp_path, databases, replicas=1) as playing:
        _die_at(playing, service, step)


@pytest.mark.parametrize(("service", "step"), REDIS_STEPS)
def test_kill_at_a_step_of_delivery_through_redis(
    tmp_path: Path, postgresql_server: str, service: str, step: str
) -> None:
    name = new_id()
    with (
        support.new_database(postgresql_server, f"teller_{name}") as teller,
        support.new_database(postgresql_server, f"ledger_{name}") as ledger,
        support.redis_server() as redis,
        stage(tmp_path, (teller, ledger), replicas=1, redis_url=redis.url) as playing,
    ):
        _die_at(playing, service, step)


def test_fail_points_are_ignored_in_production(tmp_path: Path) -> None:
    databases = f"sqlite:///{tmp_path}/teller.db", f"sqlite:///{tmp_path}/ledger.db"
    with stage(tmp_path, databases, replicas=1) as playing:
        production = {"GATEHOUSE_FAILPOINT": "emit: after", "ENVIRONMENT": "production"}
        playing.of("teller").start(**production)
        playing.of("ledger").start()

        assert support.eventually(lambda: playing.number_applied() > 0, seconds=STEP_SECONDS)
        assert playing.of("teller").ended_by() is None


def _die_at(playing: Stage, service: str, step: str) -> None:
    """Let a process die at a step and restart it without a fail point; then all events must be processed."""
    mortal = playing.of(service)
    for player in playing.players:
        player.start(**({"GATEHOUSE_FAILPOINT": step} if player is mortal else {}))
    assert support.eventually(lambda: mortal.ended_by() is not None, seconds=STEP_SECONDS), mortal.log
    assert mortal.ended_by() == -signal.SIGKILL, mortal.log
    before = len(playing.done())
    mortal.start()

    assert support.eventually(lambda: len(playing.done()) > before + AFTERWARDS, seconds=STEP_SECONDS)
    playing.end()
    assert support.eventually(playing.is_at_rest, seconds=REST_SECONDS), mortal.log[-3000:]
    playing.check()
