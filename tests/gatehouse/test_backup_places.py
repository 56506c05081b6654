"""Backups in a bucket, one at a time, and what is said if a place fails."""

import argparse
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from gatehouse.backup import NotDone, commands, objects, parts, retention
from gatehouse.backup.archive import read, written
from gatehouse.backup.contents import BucketContent, BucketHold
from gatehouse.backup.locations import file_of, place_of
from gatehouse.backup.objects import Bucket
from gatehouse.backup.places import in_order
from gatehouse.backup.refilling import refill
from services.files.storage.store import KEY
from shared.ids import new_id
from shared.process import s3
from shared.process.backups import backups_in, size_of
from shared.process.stored import StoredBucket
from tests import moto, support

NAMES = [f"gatehouse-2026-11-{day}T03-00-00Z.tar" for day in (27, 28)]
REFUSAL = b"<Error><Code>InvalidAccessKeyId</Code><Message>no</Message></Error>"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with moto.serving(tmp_path_factory.mktemp("s3")) as address:
        yield address


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    use(monkeypatch, server)
    name = f"b-{new_id()}"
    httpx.put(f"{server}/{name}").raise_for_status()
    return name


def use(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    given = {"ENDPOINT_URL": address, "REGION": "us-east-1", "ACCESS_KEY": "test", "SECRET_KEY": "test"}
    for name, value in given.items():
        monkeypatch.setenv(f"BACKUP_S3_{name}", value)


def place(url: str, folder: Path) -> Bucket:
    made = place_of(url, work=folder / "work", receipts=folder / "receipts")
    assert isinstance(made, Bucket)
    return made


def write(target: Bucket, name: str, content: bytes) -> int:
    with written(target.draft(name), {"id": "one"}) as archive:
        archive.add_bytes("content", content)
        size = archive.finish()
    target.noted(name, size)
    return size


def content_of(url: str) -> bytes:
    with read(file_of(url)) as (_, members):
        (content,) = [stream.read() for _, stream in members if stream is not None]
    return content


def test_backup_in_a_bucket_comes_back_is_known_by_its_receipt_and_kept_by_the_rules(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "PART_BYTES", 5 << 20)
    content = bytes(range(256)) * 50_000  # in three parts
    target = place(f"s3://{bucket}/nightly/", tmp_path)
    with target.alone():
        sizes = [write(target, name, content) for name in NAMES]

    assert [name for _, name in target.backups()] == NAMES[::-1]
    assert content_of(f"s3://{bucket}/nightly/{NAMES[1]}") == content
    assert [size_of(one) for one in backups_in(tmp_path / "receipts")] == sizes
    assert retention.remove(target, {"d": 1}) == [f"s3://{bucket}/nightly/{NAMES[0]}"]
    assert [one.name for one in backups_in(tmp_path / "receipts")] == [NAMES[1]]
    with pytest.raises(NotDone, match="there is no such file"):
        content_of(f"s3://{bucket}/nightly/{NAMES[0]}")


def test_finished_backup_without_a_receipt_is_a_success_with_a_warning(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"s3://{bucket}/nightly"
    write(place(url, tmp_path), "gatehouse-2020-01-01T03-00-00Z.tar", b"old")
    (tmp_path / "file").touch()
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("BACKUP_DIR", str(tmp_path / "file" / "receipts"))  # root may write to any folder
    monkeypatch.setattr(parts, "of_suite", lambda *_: [])
    monkeypatch.setattr(os, "nice", lambda _: 0)
    parser = argparse.ArgumentParser()
    commands.describe_backup(parser)
    words = ["--to", url, "--without-secrets", "--keep", "1d", "--json"]

    assert commands.backup(parser.parse_args(words)) == 0
    printed, warned = capsys.readouterr()
    told = json.loads(printed)
    assert [f"{url}/{name}" for _, name in place(url, tmp_path).backups()] == [told["path"]]
    assert told["removed"] == [f"{url}/gatehouse-2020-01-01T03-00-00Z.tar"]
    assert warned == f"{told['path']}: {told['warning']}\n"
    assert "file/receipts (Not a directory)" in warned
    assert "set BACKUP_DIR" in warned


def test_killed_and_failed_backups_leave_nothing_in_the_bucket(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "PART_BYTES", 5 << 20)
    target = place(f"s3://{bucket}", tmp_path)
    killed = target.draft(NAMES[0])
    killed.write(bytes(6 << 20))
    assert len(uploads(target, bucket)) == 1
    with target.alone():  # the server says that all uploads began years ago
        assert uploads(target, bucket) == []

    monkeypatch.setattr(objects, "PART_BYTES", 1 << 20)  # smaller than the server allows
    with target.alone(), pytest.raises(NotDone, match="no backup was made"):
        write(target, NAMES[0], bytes(3 << 20))
    assert (uploads(target, bucket), target.backups()) == ([], [])


def uploads(target: Bucket, bucket: str) -> list[Any]:
    return list(target._client.list_multipart_uploads(Bucket=bucket).get("Uploads", ()))


def test_second_backup_and_everything_beside_a_restore_is_refused(bucket: str, tmp_path: Path) -> None:
    first, second = (place(f"s3://{bucket}", tmp_path) for _ in range(2))
    with (
        first.alone(),
        pytest.raises(NotDone, match=r"another backup into s3://.* is running"),
        second.alone(),
    ):
        pass
    for one, other, said in (
        (True, True, "a backup or another restore of the data in .* is running.* Nothing was changed"),
        (True, False, "a restore of the data in .* is running.* No backup was made"),
        (False, True, "a backup or another restore"),
    ):
        with (
            in_order(tmp_path, restores=one),
            pytest.raises(NotDone, match=said),
            in_order(tmp_path, restores=other),
        ):
            pass
    with in_order(tmp_path, restores=False), in_order(tmp_path, restores=False):
        pass


def test_restore_that_loses_its_second_read_says_that_objects_may_be_there(
    server: str, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (new_id().replace("-", "") for _ in range(2))
    stored = StoredBucket("files", bucket, "f/", "us-east-1", server, "test", "test", KEY, "blobs")
    with written(place(f"s3://{bucket}", tmp_path).draft(NAMES[0]), {"id": "one"}) as archive:
        archive.add_bytes(f"folders/files/{stored.path_of(first)}", b"small")
        archive.add_bytes(f"folders/files/{stored.path_of(second)}", os.urandom(4 << 20))
        archive.finish()
    whole = httpx.get(f"{server}/{bucket}/{NAMES[0]}").content

    class Losing(Silent):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(whole)))
            self.end_headers()
            self.wfile.write(whole[: 3 << 20])

    with serving(Losing) as losing:
        use(monkeypatch, losing)
        with pytest.raises(NotDone, match=r"lost .*; no row was changed, .* with --replace$"):
            refill(file_of(f"s3://{bucket}/{NAMES[0]}"), {"files": stored}, "replaced-1", print)
    assert [key for key, _ in BucketContent(stored)._listed()] == [first]


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), handler) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{made.server_port}"
        finally:
            made.shutdown()
            thread.join()


class Silent(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing."""


class Refusing(Silent):
    def do_GET(self) -> None:
        self.send_response(403)
        self.send_header("Content-Length", str(len(REFUSAL)))
        self.end_headers()
        self.wfile.write(REFUSAL)


@pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/", "s3://bucket/nightly/"])
def test_backup_in_a_bucket_needs_the_name_of_its_file(url: str) -> None:
    with pytest.raises(NotDone, match=r"names no backup: add the name of its file"):
        file_of(url)


def test_bucket_that_fails_is_explained_in_one_sentence(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(url: str) -> str:
        with pytest.raises(NotDone) as refused, place(url, tmp_path).alone():
            pass
        assert not (tmp_path / "work").exists()
        return str(refused.value)

    assert said("s3://b-missing/x") == "s3://b-missing/x/: there is no such bucket; no backup was made"
    assert "not the URL of a bucket" in said("s3:/bucket")
    with serving(Refusing) as refusing:
        use(monkeypatch, refusing)
        assert said(f"s3://{bucket}").endswith(
            "S3 refuses the access key (InvalidAccessKeyId); no backup was made"
        )
        with pytest.raises(NotDone, match=r"refuses the access key.*nothing was changed"):
            content_of(f"s3://{bucket}/{NAMES[0]}")
    use(monkeypatch, f"http://127.0.0.1:{support.free_port()}")
    assert "S3 cannot be reached; no backup was made" in said(f"s3://{bucket}")


def test_service_knows_that_its_bucket_is_being_copied(
    server: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = StoredBucket("files", bucket, "f/", "us-east-1", server, "test", "test", KEY, "blobs")
    client = s3.client_of(stored)
    hold = BucketHold(stored)
    assert not s3.is_held(client, bucket, "f/")
    hold.begin()
    assert s3.is_held(client, bucket, "f/")
    assert not s3.is_held(client, bucket, "other/")
    monkeypatch.setattr(s3, "EXPIRES_SECONDS", -1.0)  # of a killed backup
    assert not s3.is_held(client, bucket, "f/")
    monkeypatch.undo()
    hold.end()
    assert not s3.is_held(client, bucket, "f/")
