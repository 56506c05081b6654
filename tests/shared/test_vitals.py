"""Metrics of a process and of its database."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from sqlmodel import Session

from gateway.telemetry.backups import NewestBackup
from services.orders.settings import Settings
from shared import __version__
from shared.data.database import Database
from shared.data.measures import Measures
from shared.data.migrate import newest
from shared.process import vitals
from shared.process.vitals import Vitals


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


async def test_a_blocked_event_loop_is_measured() -> None:
    async with Vitals():
        await asyncio.sleep(0)  # the beat has begun
        time.sleep(vitals.BEAT_SECONDS + 0.3)  # noqa: ASYNC251 - what is to be measured
        vitals.LAG.set(0)
        while not value("event_loop_lag_seconds"):  # noqa: ASYNC110 - a metric changes
            await asyncio.sleep(0.01)
    assert (value("event_loop_lag_seconds") or 0) >= 0.3
    assert value("build_info", version=__version__) == 1


async def test_metrics_are_looked_up_again_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = asyncio.Queue[int]()

    async def look() -> None:
        looked.put_nowait(1)
        raise RuntimeError

    monkeypatch.setattr(vitals, "LOOK_SECONDS", 0.01)
    async with Vitals([look]):
        await looked.get()
        await looked.get()


async def test_connections_size_and_version_of_a_database_are_shown(
    make_settings: Callable[..., Settings], database_url: str
) -> None:
    settings = make_settings(Settings, database_url=database_url)
    database = Database(database_url, 1)
    await Measures(database).look()
    assert value("migration_version") == int(newest(settings.migrations()) or 0)
    assert (value("database_size_bytes") or 0) > 10_000
    assert value("database_connections_max") == database.connections_max > 0
    assert value("database_connections_in_use") == 0

    seen: list[tuple[float | None, float | None]] = []
    is_second_waiting = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold(session: Session) -> None:
        session.connection()
        asyncio.run_coroutine_threadsafe(is_second_waiting.wait(), loop).result()
        seen.append((value("database_connections_in_use"), value("database_calls_waiting")))

    first = asyncio.create_task(database.read(hold))
    while value("database_connections_in_use") != 1:  # noqa: ASYNC110 - a thread changes it
        await asyncio.sleep(0.01)
    second = asyncio.create_task(database.read(lambda session: session.connection() and None))
    while value("database_calls_waiting") != 1:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.01)
    is_second_waiting.set()
    await asyncio.gather(first, second)
    assert seen == [(1.0, 1.0)]
    database.close()


def test_the_newest_whole_backup_is_shown_or_that_there_is_none(tmp_path: Path) -> None:
    folder = str(tmp_path)
    NewestBackup(tmp_path).look_now()
    assert value("backup_last_success_timestamp_seconds", folder=folder) == 0.0
    (tmp_path / "gatehouse-2026-11-27T03-00-00Z.tar").write_bytes(b"older")
    (tmp_path / "gatehouse-2026-11-28T03-00-00Z.tar").write_bytes(b"newest")
    (tmp_path / "gatehouse-orders-2026-11-28T09-00-00Z.tar").touch()
    (tmp_path / "gatehouse-2026-11-28T10-00-00Z.tar.part").touch()
    NewestBackup(tmp_path).look_now()
    assert value("backup_last_success_timestamp_seconds", folder=folder) == 1795834800.0
    assert value("backup_size_bytes", folder=folder) == 6
