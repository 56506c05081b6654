"""`gatehouse files verify` lists missing, changed and orphaned content."""

import io
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from sqlalchemy import delete

from services.files.models import FILES
from services.files.settings import Settings
from services.files.storage.disk_store import DiskStore
from services.files.storage.store import BlobMissing, BlobReader
from services.files.storage.verification import Progress, check
from shared.data.database import Database
from shared.testing import TEST_INTERNAL_SECRET, TEST_JWT_SECRET
from tests.files.support import Person
from tests.shared.processes import ROOT, started

STORAGE = ("sqlite", "s3")


def verified(settings: Settings) -> tuple[int, list[str]]:
    """Return the exit code of the command, and the lines it wrote."""
    assert settings.storage_path is not None
    secret = settings.s3_secret_key
    environment = {
        "PATH": os.environ["PATH"],
        "JWT_SECRET": TEST_JWT_SECRET,
        "INTERNAL_SECRET": TEST_INTERNAL_SECRET,
        "FILES_DATABASE_URL": settings.database_url,
        "FILES_STORAGE_PATH": str(settings.storage_path),
        "STORAGE_TYPE": settings.storage_type,
        "S3_BUCKET": settings.s3_bucket,
        "S3_PREFIX": settings.s3_prefix,
        "S3_ENDPOINT_URL": settings.s3_endpoint_url or "",
        "S3_ACCESS_KEY": settings.s3_access_key or "",
        "S3_SECRET_KEY": secret.get_secret_value() if secret else "",
    }
    command = [sys.executable, "-m", "gatehouse", "files", "verify"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


async def test_intact_content_is_verified_without_faults(
    files: httpx.AsyncClient, settings: Settings
) -> None:
    person = Person(files)
    for content in (b"", b"one", b"two" * 1000):
        await person.upload(content)
    trashed = await person.upload(b"in the trash")
    await person.delete(f"/files/{trashed['id']}")

    assert verified(settings) == (0, ["4 files, 3015 bytes: no faults"])


async def test_faults_are_listed(disk_files: httpx.AsyncClient, disk_settings: Settings) -> None:
    person = Person(disk_files)
    assert disk_settings.storage_path is not None
    folder = disk_settings.storage_path / "blobs"
    names, blobs = [], list[Path]()
    for content in (b"well", b"gone", b"bent", b"longer"):
        names.append((await person.upload(content))["id"])
        (new,) = {file for file in folder.rglob("*") if file.is_file()} - set(blobs)
        blobs.append(new)
    _, gone, bent, longer = blobs
    gone.unlink()
    bent.write_bytes(b"BENT")
    longer.write_bytes(b"longer than it was")
    orphan = folder / "ab" / ("ab" * 16)
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"nobody's")
    code, lines = verified(disk_settings)

    assert code == 1
    assert [line.split(" of ")[0] for line in lines] == [
        f"missing: file {names[1]}",
        f"changed: file {names[2]}",
        f"changed: file {names[3]}",
        f"orphaned: blob {'ab' * 16}",
        "4 files, 18 bytes: 4 faults",
    ]
    assert orphan.exists()


async def test_file_deleted_during_verification_is_not_a_fault(
    disk_files: httpx.AsyncClient, disk_settings: Settings
) -> None:
    await Person(disk_files).upload()
    database = Database(disk_settings.database_url, pool_size=1)
    assert disk_settings.storage_path is not None

    class Vanishing(DiskStore):
        def open(self, key: str, _start: int, _length: int, /) -> BlobReader:
            with database.transaction() as session:
                session.connection().execute(delete(FILES))
            raise BlobMissing(key)

    findings = check(database, Vanishing(disk_settings.storage_path / "blobs"), Progress(io.StringIO()))
    database.close()

    assert (findings.files, findings.faults) == (1, [])


@pytest.mark.parametrize("database", ["sqlite:///{}/absent.db", "postgresql://x:hunter2@127.0.0.1:1/files"])
def test_unusable_database_is_reported_with_exit_code_2(tmp_path: Path, database: str) -> None:
    environment = {
        "INTERNAL_SECRET": TEST_INTERNAL_SECRET,
        "DATA_DIR": str(tmp_path),
        "DATABASE_URL": database.format(tmp_path),
    }
    with started("-m", "gatehouse", "files", "verify", environment=environment) as running:
        assert running.code() == 2
        assert len(running.lines) == 1
        assert "has no tables yet" in running.output or "cannot use" in running.output
        assert "hunter2" not in running.output
    assert not (tmp_path / "absent.db").exists()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "shown"), [(Terminal(), True), (io.StringIO(), False)])
def test_progress_bar_is_shown_only_on_a_terminal(stream: io.StringIO, shown: bool) -> None:
    progress = Progress(stream)
    for done in (0, 50, 100):
        progress.show(done, 100)
    progress.end()

    assert ("[###############...............] 50 %" in stream.getvalue()) == shown
    assert (stream.getvalue() != "") == shown
