"""Senders (tellers), receivers (ledgers) and Redis are killed at random under load: all totals still match.

It takes half a minute for each database and transport; `make prove LENGTH=10` kills ten times as often.
"""

import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path

import pytest

from shared.ids import new_id
from tests import support
from tests.shared.events.stage import Player, Stage, stage

pytestmark = [pytest.mark.prove, pytest.mark.long(0.5)]

SECONDS = support.length(15)
PROGRESS_SECONDS = 30
REST_SECONDS = 180  # after an event that kills its consumer, the others in its batch are retried one by one


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """One database for the tellers and one for the ledgers."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/teller.db", f"sqlite:///{tmp_path}/ledger.db"
        return
    server: str = request.getfixturevalue("postgresql_server")
    name = new_id()
    with (
        support.new_database(server, f"teller_{name}") as teller,
        support.new_database(server, f"ledger_{name}") as ledger,
    ):
        yield teller, ledger


@pytest.mark.parametrize("transport", ["http", "redis"])
def test_no_event_is_lost_or_applied_twice_when_processes_are_killed(
    tmp_path: Path, databases: tuple[str, str], transport: str
) -> None:
    with support.redis_server() if transport == "redis" else nullcontext() as redis, ExitStack() as stack:
        playing = stack.enter_context(stage(tmp_path, databases, redis_url=redis.url if redis else ""))
        for player in playing.players:
            player.start()
        kills = _kill_at_random(playing, redis)
        playing.end()

        assert support.eventually(playing.is_at_rest, seconds=REST_SECONDS)
        playing.check()
        _report(playing, kills)
        assert playing.number_received() > len(playing.done())  # otherwise the kills had no effect
        for player in playing.players:
            assert player.stop() in (0, -signal.SIGTERM)


def _kill_at_random(playing: Stage, redis: support.RedisServer | None) -> Counter[str]:
    """Kill all processes in turn, in random order. Before each kill, wait until more events are applied."""
    kills: Counter[str] = Counter()
    victims: list[Player | support.RedisServer] = [*playing.players, *([redis] if redis else [])]
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        for victim in random.sample(victims, len(victims)):
            goes_on = partial(_more_is_applied, playing, playing.number_applied())
            assert support.eventually(goes_on, seconds=PROGRESS_SECONDS), playing.players[-1].log[-3000:]
            victim.kill()
            victim.start()
            kills[victim.service if isinstance(victim, Player) else "redis"] += 1
    return kills


def _more_is_applied(playing: Stage, before: int) -> bool:
    playing.start_again()
    return playing.number_applied() > before


def _report(playing: Stage, kills: Counter[str]) -> None:
    done, applied, dead = len(playing.done()), playing.number_applied(), len(playing.dead())
    received = playing.number_received()
    print(
        f"{done} events, {dict(kills)} killed, {received - done} redelivered, {applied} applied, {dead} dead"
    )
