"""The faults: each is begun, lasts, and is ended; the people outside do not know of it."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import psycopg

from tests.chaos.network import Mode
from tests.chaos.scene import Scene, kill

FROZEN_SECONDS = 5.0
CUT_SECONDS = 3.0
FULL_SECONDS = 4.0
FILLED_BYTES = 1 << 20


class NotPossible(Exception):
    """This machine does not permit the fault; the message says why."""


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    happens: Callable[[], None]  # and is over when this returns
    healed: tuple[str, ...] = ()  # programs that have to become ready again


def all_faults(scene: Scene) -> list[Fault]:
    """Return every fault once. Not here: steps of the clock, which need libfaketime or another machine."""
    found = [
        Fault(f"kill -9 {name}", partial(_killed, scene, name), (name,))
        for name in [*scene.services, "gateway"]
    ]
    found.append(Fault("kill -9 gateway two", partial(_second_killed, scene), ("gateway two",)))
    found += [
        Fault("kill -9 Redis", partial(_redis_killed, scene)),
        Fault("empty Redis", partial(_redis_emptied, scene)),
        Fault("crash PostgreSQL", partial(_postgresql_crashed, scene), tuple(scene.services)),
        Fault("end all database connections", partial(_sessions_ended, scene)),
        Fault("disk of files full", partial(_disk_full, scene), ("files",)),
    ]
    found += [
        Fault(f"freeze {name}", partial(_frozen, scene, name), (name,))
        for name in ("orders", "auth", "audit", "gateway")
    ]
    found.append(Fault("freeze Redis", partial(_redis_frozen, scene)))
    modes: tuple[tuple[str, Mode], ...] = (("cut", "cut"), ("stall", "stalled"), ("slow down", "slow"))
    found += [
        Fault(f"{word} the network to {name}", partial(_broken, scene, name, mode))
        for name in scene.links
        for word, mode in modes
    ]
    return found


def _killed(scene: Scene, program: str) -> None:
    kill(scene.pid_of(program))  # the launcher restarts it


def _second_killed(scene: Scene) -> None:
    scene.second.process.kill()
    scene.second.restart()


def _frozen(scene: Scene, program: str) -> None:
    pid = scene.pid_of(program)
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(FROZEN_SECONDS)
    finally:
        os.kill(pid, signal.SIGCONT)


def _redis_killed(scene: Scene) -> None:
    scene.redis.kill()
    time.sleep(1)
    scene.redis.start()


def _redis_emptied(scene: Scene) -> None:
    from redis import Redis

    with Redis.from_url(scene.redis.url) as redis:
        redis.flushall()


def _redis_frozen(scene: Scene) -> None:
    scene.redis.send(signal.SIGSTOP)
    try:
        time.sleep(FROZEN_SECONDS)
    finally:
        scene.redis.send(signal.SIGCONT)


def _postgresql_crashed(scene: Scene) -> None:
    scene.postgresql.stop(signal.SIGQUIT)  # without a word to anybody; the next start replays its log
    time.sleep(1)
    scene.postgresql.start()


def _sessions_ended(scene: Scene) -> None:
    with psycopg.connect(scene.postgresql.url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname IS NOT NULL"
        )


def _broken(scene: Scene, name: str, mode: Mode) -> None:
    link = scene.links[name]
    link.become(mode)
    try:
        time.sleep(CUT_SECONDS if mode == "cut" else FROZEN_SECONDS)
    finally:
        link.become("good")


def _disk_full(scene: Scene) -> None:
    if scene.disk is None:
        raise NotPossible("no file system can be mounted here")
    filler = scene.disk / "filler"
    try:
        with filler.open("wb", buffering=0) as file, suppress(OSError):  # until it is full
            while True:
                file.write(bytes(FILLED_BYTES))
        time.sleep(FULL_SECONDS)
    finally:
        filler.unlink()
