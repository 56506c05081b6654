"""Files in S3 are part of a backup, which may itself be in S3. A failing place leaves nothing half done."""

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gatehouse.backup.places import in_order
from shared.ids import new_id
from shared.process.s3 import client
from tests import moto, support
from tests.suite.accounts import Person, register
from tests.suite.conftest import ROOT, Suite, running_suite
from tests.suite.test_backup import run

pytestmark = pytest.mark.prove

SMALL_DISK_BYTES = 4 << 20
LARGE = os.urandom(6 << 20)  # does not fit on the small disk


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with moto.serving(tmp_path_factory.mktemp("s3")) as address:
        yield address


@pytest.fixture
def s3(server: str) -> dict[str, str]:
    """The settings of a suite whose files are in a new bucket, and where its backups go."""
    files, backups = f"files-{new_id()}", f"backups-{new_id()}"
    for name in (files, backups):
        httpx.put(f"{server}/{name}").raise_for_status()
    return {
        "STORAGE_TYPE": "s3",
        "S3_BUCKET": files,
        "S3_PREFIX": "of/files/",
        "S3_ENDPOINT_URL": server,
        "S3_ACCESS_KEY": "test",
        "S3_SECRET_KEY": "test",
        "BACKUP_TO": f"s3://{backups}/nightly",  # as in the documentation
        "BACKUP_S3_ENDPOINT_URL": server,
        "BACKUP_S3_ACCESS_KEY": "test",
        "BACKUP_S3_SECRET_KEY": "test",
    }


def documented(command: str, to: str, file: str) -> list[str]:
    """Return a command of docs/backup.md for another bucket."""
    lines = re.findall(
        rf"^    gatehouse ({command} .*s3://.*)$", (ROOT / "docs/backup.md").read_text(), re.MULTILINE
    )
    (line,) = lines
    line = re.sub(r"s3://\S+\.tar", file, line)
    return line.replace("s3://my-backups/nightly", to).split()


def client_of(server: str) -> Any:
    return client(server, "us-east-1", "test", "test")


def objects(server: str, bucket: str) -> list[str]:
    return [one["Key"] for one in client_of(server).list_objects_v2(Bucket=bucket).get("Contents", ())]


def content_of(server: str, bucket: str, key: str) -> bytes:
    content: bytes = client_of(server).get_object(Bucket=bucket, Key=key)["Body"].read()
    return content


def empty(server: str, bucket: str) -> None:
    for key in objects(server, bucket):
        client_of(server).delete_object(Bucket=bucket, Key=key)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def upload(people: httpx.AsyncClient, person: Person, content: bytes) -> str:
    sent = await people.post("/files", files={"file": ("x.bin", content)}, headers=person.headers)
    assert sent.status_code == 201, sent.text
    return str(sent.json()["id"])


async def contents(people: httpx.AsyncClient, person: Person, ids: list[str]) -> list[bytes]:
    found = [await people.get(f"/files/{one}", headers=person.headers) for one in ids]
    return [response.content for response in found]


async def test_files_in_a_bucket_come_back_from_a_backup_in_a_bucket(
    s3: dict[str, str], server: str, tmp_path: Path
) -> None:
    data, receipts = tmp_path / "data", {"BACKUP_DIR": str(tmp_path / "receipts")}
    sent = [b"small", b"", LARGE]
    with running_suite(data, s3) as suite:
        async with suite.client() as people:
            person = await register(people)
            ids = [await upload(people, person, content) for content in sent]
            words = documented("backup --to", s3["BACKUP_TO"], "")
            told = json.loads(await asyncio.to_thread(run, suite, *words, "--json", more=receipts))
            later = await upload(people, person, b"later")
    assert told["path"].startswith(f"{s3['BACKUP_TO']}/gatehouse-")
    (receipt,) = (tmp_path / "receipts").iterdir()
    assert json.loads(receipt.read_text()) == {"place": told["path"], "size": told["size"]}
    assert "has objects already" in run(suite, "restore", told["path"], code=1, more={"DATA_DIR": f"{data}2"})

    shutil.rmtree(data)
    data.mkdir()
    restore = documented("restore", "", told["path"])
    run(suite, *restore, "--replace")
    (aside,) = [key for key in objects(server, s3["S3_BUCKET"]) if "replaced-" in key]
    assert content_of(server, s3["S3_BUCKET"], aside) == b"later"
    shutil.rmtree(data)
    data.mkdir()
    empty(server, s3["S3_BUCKET"])
    run(suite, *restore)
    with running_suite(data, s3) as restored:
        async with restored.client() as people:
            assert await contents(people, person, ids) == sent
            assert (await people.get(f"/files/{later}", headers=person.headers)).status_code == 404
        # to a scratch folder of this machine, in which files are files
        assert "it can be restored" in run(restored, *documented("backup --verify", "", told["path"]))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES}", "tmpfs", str(folder)]
    support.need_answer(mount, "cannot mount a small file system here; that takes root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_a_place_that_fails_leaves_nothing_half_done(
    s3: dict[str, str], server: str, small_disk: Path, tmp_path: Path
) -> None:
    def refused(suite: Suite, *words: str, **more: str) -> str:
        said = run(suite, *words, code=1, more=more)
        assert "Traceback" not in said
        return said.strip().splitlines()[-1]

    with running_suite(tmp_path / "data", s3) as suite:
        async with suite.client() as people:
            await upload(people, await register(people), LARGE)
        said = await asyncio.to_thread(refused, suite, "backup", "--to", str(small_disk))
        assert said == "the backup cannot be written: No space left on device; nothing is left of it"
        assert names(small_disk) == {".gatehouse-backup.lock"}
        said = await asyncio.to_thread(refused, suite, "backup", "--to", "s3://b-missing")
        assert said == "s3://b-missing/: there is no such bucket; no backup was made"
        said = await asyncio.to_thread(refused, suite, "backup", S3_BUCKET="b-missing")
        assert said == "s3://b-missing/of/files/: there is no such bucket; no backup was made"
        with in_order(tmp_path / "data", restores=True):
            said = await asyncio.to_thread(refused, suite, "backup")
        assert said.startswith("a restore of the data in ")
        assert objects(server, s3["BACKUP_TO"].split("/")[2]) == []

        backups = tmp_path / "backups"
        await asyncio.to_thread(run, suite, "backup", "--to", str(backups), more={"STORAGE_TYPE": "s3"})
    (backup,) = backups.glob("*.tar")
    on_disk = {"DATA_DIR": str(small_disk), "STORAGE_TYPE": "local"}
    (small_disk / ".gatehouse-backup.lock").unlink()
    said = refused(suite, "restore", str(backup), **on_disk)
    assert said == "the backup cannot be unpacked: No space left on device. Nothing was changed."
    assert names(small_disk) <= {"data", "secrets"}
    missing = {"DATA_DIR": str(tmp_path / "new"), "S3_BUCKET": "b-missing"}
    said = refused(suite, "restore", str(backup), **missing)
    assert said == "s3://b-missing/of/files/: there is no such bucket; nothing was changed"
    assert not (tmp_path / "new" / "orders.db").exists()
