"""A real small disk that fills up: new data is refused in time, the rest works, and the service recovers."""

import errno
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client import REGISTRY

from services.files.app import create_app
from services.files.settings import Settings
from shared.testing import running
from tests import support
from tests.files.support import Person, duties_done, staged

STORAGE = ("sqlite",)
MIB = 1 << 20
DISK_BYTES, RESERVE = 32 * MIB, 8 * MIB


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A separate file system, which only root can mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    support.need_answer(mount, "cannot mount a small file system here; that takes root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def small(make_files_settings: Callable[..., Settings], small_disk: Path) -> Settings:
    return make_files_settings(
        data_dir=small_disk,
        storage_path=small_disk / "files",
        database_url=f"sqlite:///{small_disk}/files.db",
        quota_bytes=64 * MIB,
        disk_reserve=RESERVE,
    )


@pytest.fixture
async def files(small: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app, small) as client:
        yield client


def free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def fill_up(folder: Path, left: int) -> Path:
    """Fill the disk as other programs do, for example with logs."""
    ballast = folder / "ballast"
    with ballast.open("ab") as file:
        assert support.eventually(lambda: taken(file.fileno(), free(folder) - left), seconds=10)
    return ballast


def taken(file: int, size: int) -> bool:
    """Return False if the service wrote something since the size was measured."""
    try:
        os.posix_fallocate(file, 0, os.fstat(file).st_size + size)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return False
    return True


async def ready(files: httpx.AsyncClient) -> tuple[int, str, dict[str, str]]:
    answer = await files.get("/health/ready")
    body = answer.json()
    return (
        answer.status_code,
        body["status"],
        {name: body["checks"][f"{name}_disk"] for name in ("files", "database")},
    )


async def test_uploads_stop_at_the_reserve_and_other_writes_at_half_of_it(
    files: httpx.AsyncClient, small: Settings, small_disk: Path
) -> None:
    own = Person(files)
    kept = await own.upload(b"kept", name="kept.txt")
    assert await ready(files) == (200, "healthy", {"files": "up", "database": "up"})

    ballast = fill_up(small_disk, left=RESERVE - MIB)
    before = await own.usage()
    refused = await own.send(b"x" * MIB)
    assert (refused.status_code, refused.json()["code"]) == (507, "disk_full")
    assert "free disk space" in refused.json()["detail"]
    begun = await files.post(
        "/files/uploads",
        headers=own.headers
        | {"Tus-Resumable": "1.0.0", "Upload-Length": "100", "Upload-Metadata": "filename eA=="},
    )
    assert (begun.status_code, begun.json()["code"]) == (507, "disk_full")
    assert await own.usage() == before
    assert staged(small) == []
    assert (await own.change(kept["id"], name="renamed.txt")).status_code == 200
    assert await ready(files) == (200, "degraded", {"files": "low", "database": "low"})
    assert (REGISTRY.get_sample_value("disk_free_bytes", {"holds": "files"}) or RESERVE) < RESERVE

    fill_up(small_disk, left=RESERVE // 2 - MIB)
    assert (await own.change(kept["id"], name="again.txt")).status_code == 507
    assert (await own.download(kept["id"])).content == b"kept"
    assert (await own.delete(f"/files/{kept['id']}")).status_code == 204
    assert await ready(files) == (200, "degraded", {"files": "full", "database": "full"})

    ballast.unlink()
    assert (await own.send(b"x" * MIB)).status_code == 201
    assert await ready(files) == (200, "healthy", {"files": "up", "database": "up"})


async def test_full_disk_leaves_nothing_half_written_and_recovers(
    make_files_settings: Callable[..., Settings], small: Settings, small_disk: Path
) -> None:
    """There is no reserve, as if other programs filled the disk faster than the service can check."""
    unguarded = small.model_copy(update={"disk_reserve": 0})
    async with running(create_app, unguarded) as files:
        own = Person(files)
        kept = await own.upload(b"kept")
        await duties_done(unguarded)  # they write into the database, which is on this disk
        ballast = fill_up(small_disk, left=0)

        statuses = [(await own.send(b"x" * MIB)).status_code for _ in range(3)]
        statuses += [
            (await own.change(kept["id"], name=f"{'n' * 200}{number}")).status_code for number in range(40)
        ]
        assert set(statuses) <= {200, 507}
        assert statuses[:3] == [507] * 3
        assert (await own.download(kept["id"])).content == b"kept"

        ballast.unlink()
        assert (await own.send(b"x" * MIB)).status_code == 201
        listed = await own.get("/files")
        assert [one["size"] for one in listed.json()] == [MIB, 4]
        assert staged(unguarded) == []
        used = await own.usage()
        assert (used["used"], used["reserved"], used["files"]) == (MIB + 4, 0, 2)
