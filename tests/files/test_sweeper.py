"""Rows without blobs, blobs without rows, and uploads in progress, which the sweeper must not touch."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.files.app import create_app
from services.files.models import EVENTS
from services.files.settings import Settings
from services.files.storage.blob_store import Blobs, make_store
from services.files.storage.staging import Staging
from services.files.sweeper import Sweeper
from shared.data.database import Database
from shared.events.outbox import OUTBOX, Outbox
from shared.process.stored import EXPIRES_SECONDS, HOLD_PREFIX, Hold
from shared.testing import running
from tests.files.support import Person, duties_done

DAY = 86_400.0


@pytest.fixture
def lease_seconds() -> float:
    return 0.3


@pytest.fixture
def settings(make_files_settings: Callable[..., Settings], tmp_path: Path, lease_seconds: float) -> Settings:
    return make_files_settings(
        database_url=f"sqlite:///{tmp_path}/test.db",
        trash_days=1.0,
        lease_seconds=lease_seconds,
        sweep_seconds=DAY,
    )


@contextmanager
def sweeping(settings: Settings) -> Iterator[Sweeper]:
    """The sweeper of another replica, run by the test."""
    database = Database(settings.database_url)
    database.session_info[OUTBOX] = Outbox(EVENTS, settings.service, {})
    blobs = Blobs(make_store(settings), Staging(folder_of(settings) / "staging"))
    yield Sweeper(database, blobs, settings)
    blobs.close()
    database.close()


@pytest.fixture
def sweeper(settings: Settings) -> Iterator[Sweeper]:
    with sweeping(settings) as made:
        yield made


@pytest.fixture
async def files(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app, settings) as client:
        await duties_done(settings)
        yield client


def folder_of(settings: Settings) -> Path:
    assert settings.storage_path is not None
    return settings.storage_path


def stored(settings: Settings) -> list[Path]:
    return [file for file in folder_of(settings).rglob("*") if file.is_file()]


def grow_old(file: Path, seconds: float) -> None:
    os.utime(file, (time.time() - seconds, time.time() - seconds))


@pytest.mark.parametrize("lease_seconds", [2.0])  # longer than the machine stalls
async def test_upload_in_progress_is_not_touched(
    files: httpx.AsyncClient, sweeper: Sweeper, settings: Settings
) -> None:
    """The bytes arrive for twice as long as the lease, while the sweeper runs all the time."""
    swept = 0

    async def slowly() -> AsyncIterator[bytes]:
        nonlocal swept
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        until = time.monotonic() + settings.lease_seconds * 2
        while time.monotonic() < until or swept < 2:
            yield b"x"
            for file in (folder_of(settings) / "staging").iterdir():
                grow_old(file, DAY)
            await asyncio.to_thread(sweeper.sweep)
            await asyncio.to_thread(sweeper.compare)
            swept += 1
        yield b"\r\n--b--\r\n"

    person = Person(files)
    headers = person.headers | {"Content-Type": "multipart/form-data; boundary=b"}
    response = await files.post("/files", content=slowly(), headers=headers)

    assert response.status_code == 201, response.text
    assert swept > 1
    assert (await person.download(response.json()["id"])).content == b"x" * swept


async def test_old_bytes_without_a_row_are_removed(
    files: httpx.AsyncClient, sweeper: Sweeper, settings: Settings
) -> None:
    file = await Person(files).upload()
    folder = folder_of(settings)
    old, new = (folder / "blobs" / digits / (digits * 16) for digits in ("0f", "1f"))
    left, begun = folder / "staging" / ("a" * 32), folder / "staging" / ("b" * 32)
    for one in (old, new, left, begun):
        one.parent.mkdir(exist_ok=True)
        one.write_bytes(b"orphan")
    for one in (old, left):
        grow_old(one, settings.orphan_seconds + 60)
    for one in stored(settings):
        if one not in (new, begun):
            grow_old(one, settings.orphan_seconds + 60)
    sweeper.compare()

    assert not old.exists()
    assert not left.exists()
    assert new.exists()
    assert begun.exists()
    assert len(stored(settings)) == 3
    assert file["state"] == "ready"


async def test_only_prefixes_with_a_row_or_a_blob_are_compared(
    files: httpx.AsyncClient, sweeper: Sweeper, settings: Settings
) -> None:
    assert [*sweeper._listed()] == []
    person = Person(files)
    for _ in range(4):
        await person.upload()
    lost, *kept = stored(settings)
    lost.unlink()
    orphan = folder_of(settings) / "blobs" / "0f" / ("0f" * 16)
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"orphan")
    parts = dict(sweeper._listed())

    assert [*parts] == sorted({one.name[:2] for one in (lost, *kept, orphan)})
    assert {key for part in parts.values() for key in part} == {one.name for one in (*kept, orphan)}


@pytest.mark.usefixtures("files")
async def test_file_that_is_not_a_blob_is_not_touched(sweeper: Sweeper, settings: Settings) -> None:
    theirs = folder_of(settings) / "blobs" / "README"
    theirs.write_bytes(b"hello")
    grow_old(theirs, settings.orphan_seconds + 60)
    sweeper.compare()

    assert theirs.exists()


async def test_file_without_bytes_is_lost_until_they_are_restored(
    files: httpx.AsyncClient, sweeper: Sweeper, settings: Settings, tmp_path: Path
) -> None:
    person = Person(files)
    file = await person.upload()
    (blob,) = stored(settings)
    aside = blob.rename(tmp_path / "backup")
    sweeper.compare()
    (listed,) = (await person.get("/files")).json()

    assert listed["state"] == "lost"
    assert (await person.download(file["id"])).json()["code"] == "content_lost"

    aside.rename(blob)
    sweeper.compare()
    assert (await person.download(file["id"])).content == b"content"
    assert (await person.get("/files")).json() == [file]


async def test_restored_content_is_scanned_if_there_is_a_scanner(
    files: httpx.AsyncClient, sweeper: Sweeper, settings: Settings, tmp_path: Path
) -> None:
    person = Person(files)
    await person.upload()
    (blob,) = stored(settings)
    aside = blob.rename(tmp_path / "backup")
    sweeper.compare()
    aside.rename(blob)
    with sweeping(settings.model_copy(update={"clamav_address": "127.0.0.1:9"})) as scanning:
        scanning.compare()

    assert [one["state"] for one in (await person.get("/files")).json()] == ["scanning"]


async def test_old_trash_is_emptied(files: httpx.AsyncClient, settings: Settings) -> None:
    person = Person(files)
    file = await person.upload()
    await person.delete(f"/files/{file['id']}")
    assert await swept(settings) == 1
    assert (await person.get("/files/trash")).json() != []

    assert await swept(settings.model_copy(update={"trash_days": 0.0})) == 0
    assert (await person.get("/files/trash")).json() == []
    assert (await person.usage())["used"] == 0


async def swept(settings: Settings) -> int:
    """Return the number of stored files after a sweep with these settings."""
    with sweeping(settings) as sweeper:
        sweeper.sweep()
    return len(stored(settings))


async def test_several_replicas_sweep_at_once(
    files: httpx.AsyncClient, settings: Settings, sweeper: Sweeper
) -> None:
    person = Person(files)
    for _ in range(10):
        file = await person.upload()
        await person.delete(f"/files/{file['id']}")
        await person.delete(f"/files/trash/{file['id']}")
    await asyncio.gather(*(asyncio.to_thread(sweeper.sweep) for _ in range(4)))
    await asyncio.gather(*(asyncio.to_thread(sweeper.compare) for _ in range(4)))

    assert stored(settings) == []
    assert (await person.usage())["files"] == 0


async def test_storage_is_asked_for_backups_only_once_it_is_known_what_to_remove(
    files: httpx.AsyncClient, sweeper: Sweeper, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, loop, asked = Person(files), asyncio.get_running_loop(), 0
    first, second = await person.upload(b"first"), await person.upload(b"second")

    async def doom(file: dict[str, Any]) -> None:
        for path in (f"/files/{file['id']}", f"/files/trash/{file['id']}"):
            assert (await person.delete(path)).status_code == 204

    def answer_no_just_before_a_backup_begins() -> bool:
        nonlocal asked
        asked += 1
        asyncio.run_coroutine_threadsafe(doom(second), loop).result()  # and the backup still needs it
        return False

    monkeypatch.setattr(sweeper._store, "is_held", answer_no_just_before_a_backup_begins)
    await asyncio.to_thread(sweeper.sweep)
    assert asked == 0  # a bucket that is away must not fail a sweep that needs nothing from it

    await doom(first)
    await asyncio.to_thread(sweeper.sweep)
    assert asked == 1
    assert [path.read_bytes() for path in stored(settings)] == [b"second"]


async def test_nothing_is_removed_while_a_backup_copies_the_folder(
    files: httpx.AsyncClient, sweeper: Sweeper, settings: Settings
) -> None:
    person = Person(files)
    file = await person.upload(b"needed")
    await person.delete(f"/files/{file['id']}")
    await person.delete(f"/files/trash/{file['id']}")
    orphan = folder_of(settings) / "blobs" / "ab" / ("ab" * 16)
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"of nobody")
    grow_old(orphan, settings.orphan_seconds + 1)
    Hold(folder_of(settings)).extend()
    killed = Hold(folder_of(settings))
    killed.extend()
    killed.end()  # that of another backup still counts

    sweeper.sweep()
    sweeper.compare()
    assert sorted(path.read_bytes() for path in stored(settings)) == [b"", b"needed", b"of nobody"]

    (held,) = folder_of(settings).glob(f"{HOLD_PREFIX}*")
    grow_old(held, EXPIRES_SECONDS + 1)  # of a killed backup
    sweeper.sweep()
    sweeper.compare()
    assert stored(settings) == [held]
