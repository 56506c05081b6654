"""The faults: each is begun, lasts, and is ended; the people outside do not know of it."""

import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg

from tests.chaos.network import Mode, packets_lost
from tests.chaos.scene import CLOCKS, Scene, kill

FROZEN_SECONDS = 5.0
CUT_SECONDS = 3.0
FULL_SECONDS = 4.0
FILLED_BYTES = 1 << 20
LOCKED_SECONDS = 3.0
SHIFT_SECONDS = 300  # of a clock


class NotPossible(Exception):
    """This machine does not permit the fault; the message says why."""


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    happens: Callable[[], None]  # and is over when this returns
    healed: tuple[str, ...] = ()  # programs that have to become ready again


def all_faults(scene: Scene) -> list[Fault]:
    """Return every fault once."""
    return [*_killing(scene), *_databases(scene), *_freezing(scene), *_network(scene), *_clocks(scene)]


def _killing(scene: Scene) -> list[Fault]:
    found = [
        Fault(f"kill -9 {name}", partial(_killed, scene, name), (name,))
        for name in [*scene.services, "gateway"]
    ]
    found.append(Fault("kill -9 gateway two", partial(_second_killed, scene), ("gateway two",)))
    return [
        *found,
        Fault("kill -9 Redis", partial(_redis_killed, scene)),
        Fault("empty Redis", partial(_redis_emptied, scene)),
    ]


def _databases(scene: Scene) -> list[Fault]:
    files = Fault("disk of files full", partial(_disk_full, scene.disk), ("files",))
    if scene.postgresql is None:
        return [
            files,
            Fault("disk of orders full", partial(_disk_full, scene.database_disk), ("orders",)),
            Fault("lock the database of orders", partial(_database_locked, scene, "orders"), ("orders",)),
            Fault("lock the database of audit", partial(_database_locked, scene, "audit"), ("audit",)),
        ]
    return [
        files,
        Fault("crash PostgreSQL", partial(_postgresql_crashed, scene), tuple(scene.services)),
        Fault("end all database connections", partial(_sessions_ended, scene)),
    ]


def _freezing(scene: Scene) -> list[Fault]:
    found = [
        Fault(f"freeze {name}", partial(_frozen, scene, name), (name,))
        for name in ("orders", "auth", "audit", "gateway")
    ]
    whole = Fault("freeze the whole machine", partial(_all_frozen, scene), ("gateway", *scene.services))
    return [*found, whole, Fault("freeze Redis", partial(_redis_frozen, scene))]


def _network(scene: Scene) -> list[Fault]:
    modes: tuple[tuple[str, Mode], ...] = (("cut", "cut"), ("stall", "stalled"), ("slow down", "slow"))
    found = [
        Fault(f"{word} the network to {name}", partial(_broken, scene, name, mode))
        for name in scene.links
        for word, mode in modes
    ]
    return found + [Fault(f"lose packets to {name}", partial(_lossy, scene, name)) for name in scene.links]


def _clocks(scene: Scene) -> list[Fault]:
    return [
        Fault(f"clock of {name} jumps {word}", partial(_clock_jumps, scene, name, seconds), (name,))
        for name in CLOCKS
        for word, seconds in (("ahead", SHIFT_SECONDS), ("back", -SHIFT_SECONDS))
    ]


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


def _all_frozen(scene: Scene) -> None:
    """Stop everything on the machine of the suite; the second gateway is on another, as are the servers."""
    pids = [pid for pid in scene.suite.processes() if pid != scene.second.process.pid]
    _send(pids, signal.SIGSTOP)
    try:
        time.sleep(FROZEN_SECONDS)
    finally:
        _send(pids, signal.SIGCONT)


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


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
    assert scene.postgresql is not None
    scene.postgresql.stop(signal.SIGQUIT)  # without a word to anybody; the next start replays its log
    time.sleep(1)
    scene.postgresql.start()


def _sessions_ended(scene: Scene) -> None:
    assert scene.postgresql is not None
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


def _lossy(scene: Scene, name: str) -> None:
    """Drop packets, so that TCP has to send them again: connections get slow and irregular."""
    if not scene.packets_can_be_lost:
        raise NotPossible("a network of its own needs root and the program `ip`")
    if shutil.which("iptables") is None:
        raise NotPossible("iptables is not installed")
    with packets_lost(scene.links[name].port):
        time.sleep(FROZEN_SECONDS)


def _clock_jumps(scene: Scene, program: str, seconds: int) -> None:
    """Shift the clock of a program for a while; the clocks of all others stay right."""
    if program not in scene.clocks:
        raise NotPossible("libfaketime is not installed")
    scene.clocks[program].shift(seconds)
    try:
        time.sleep(FROZEN_SECONDS)
    finally:
        scene.clocks[program].shift(0)


def _database_locked(scene: Scene, service: str) -> None:
    """Hold the write lock of SQLite, as somebody's shell or a slow copy does."""
    file = scene.databases[service].removeprefix("sqlite:///")
    with closing(sqlite3.connect(file, timeout=30, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(LOCKED_SECONDS)
        connection.execute("ROLLBACK")


def _disk_full(disk: Path | None) -> None:
    if disk is None:
        raise NotPossible("no file system can be mounted here")
    filler = disk / "filler"
    try:
        with filler.open("wb", buffering=0) as file, suppress(OSError):  # until it is full
            while True:
                file.write(bytes(FILLED_BYTES))
        time.sleep(FULL_SECONDS)
    finally:
        filler.unlink()
