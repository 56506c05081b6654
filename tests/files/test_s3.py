"""S3 specifics: multipart uploads, checksums, lost responses, leftovers, and direct links."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from services.files.app import create_app
from services.files.errors import StorageUnavailable
from services.files.settings import Settings
from services.files.storage import s3_store
from services.files.storage.s3_store import S3Store
from services.files.storage.store import BlobMissing
from shared.process.settings import SettingsError
from shared.testing import running
from tests.files.conftest import MIB
from tests.files.support import Person

KEY = "0123456789abcdef" * 2


@pytest.fixture
def settings(
    make_files_settings: Callable[..., Settings], s3_settings: dict[str, Any], tmp_path: Path
) -> Settings:
    return make_files_settings(database_url=f"sqlite:///{tmp_path}/test.db", **s3_settings)


@pytest.fixture
def store(settings: Settings) -> Iterator[S3Store]:
    made = S3Store(settings)
    yield made
    made.close()


def staged(folder: Path, content: bytes) -> tuple[Path, str]:
    file = folder / "staged"
    file.write_bytes(content)
    return file, hashlib.sha256(content).hexdigest()


def read(store: S3Store, start: int, length: int) -> bytes:
    reader = store.open(KEY, start, length)
    try:
        return b"".join(iter(lambda: reader.read(MIB), b""))
    finally:
        reader.close()


def calls(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Return the calls to the server, which does not check all arguments itself."""
    made: list[tuple[str, dict[str, Any]]] = []
    original = store._client._make_api_call

    def spy(operation: str, arguments: dict[str, Any]) -> Any:
        made.append((operation, arguments))
        return original(operation, arguments)

    monkeypatch.setattr(store._client, "_make_api_call", spy)
    return made


def test_blob_is_sent_with_a_checksum_and_a_condition(
    store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = calls(store, monkeypatch)
    file, sha256 = staged(tmp_path, b"content")
    store.put(KEY, file, sha256)

    ((operation, sent),) = made
    assert operation == "PutObject"
    assert sent["IfNoneMatch"] == "*"
    assert sent["ChecksumSHA256"] == "7XACtDnprIRfIjV9giusFERzD722AW0+yUMil7nsn3M="
    assert read(store, 2, 3) == b"nte"
    assert not file.exists()


def test_large_blob_is_sent_in_parts(store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_store, "MULTIPART_BYTES_MIN", 6 * MIB)
    monkeypatch.setattr(s3_store, "PART_BYTES", 5 * MIB)
    content = os.urandom(13 * MIB + 5)
    made = calls(store, monkeypatch)
    store.put(KEY, *staged(tmp_path, content))

    assert store.size(KEY) == len(content)
    assert read(store, 0, len(content)) == content
    sent = [operation for operation, _ in made]
    assert sent.count("UploadPart") == 3
    (complete,) = [arguments for operation, arguments in made if operation == "CompleteMultipartUpload"]
    assert complete["IfNoneMatch"] == "*"
    assert [part["PartNumber"] for part in complete["MultipartUpload"]["Parts"]] == [1, 2, 3]


def test_multipart_upload_is_aborted_when_a_part_fails(
    store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_store, "MULTIPART_BYTES_MIN", 6 * MIB)
    monkeypatch.setattr(s3_store, "PART_BYTES", MIB)  # the server rejects parts this small
    file, sha256 = staged(tmp_path, os.urandom(7 * MIB))
    with pytest.raises(StorageUnavailable):
        store.put(KEY, file, sha256)

    assert store.size(KEY) is None
    assert file.exists()
    where = {"Bucket": store._bucket}
    assert "Uploads" not in store._client.list_multipart_uploads(**where)


def test_old_multipart_uploads_are_aborted(store: S3Store) -> None:
    store._client.create_multipart_upload(**store._at(KEY))

    store.clear(1e9)  # moto reports that all of them started in 2010
    assert len(store._client.list_multipart_uploads(Bucket=store._bucket)["Uploads"]) == 1
    store.clear(-1.0)
    assert "Uploads" not in store._client.list_multipart_uploads(Bucket=store._bucket)


def test_foreign_objects_in_the_bucket_are_not_touched(store: S3Store, tmp_path: Path) -> None:
    store.put(KEY, *staged(tmp_path, b"content"))
    for name in ("ba/ckup.tar", "README", "a" * 31, "blob", KEY + ".old"):
        store._client.put_object(**store._at(name), Body=b"theirs")
    store._client.create_multipart_upload(**store._at("ba/ckup.tar"))
    store.clear(-1.0)

    assert [one.key for one in store.list()] == [KEY]
    assert len(store._client.list_multipart_uploads(Bucket=store._bucket)["Uploads"]) == 1


def test_repeated_put_of_the_same_blob_succeeds(store: S3Store, tmp_path: Path) -> None:
    store.put(KEY, *staged(tmp_path, b"content"))
    store.put(KEY, *staged(tmp_path, b"content"))
    with pytest.raises(StorageUnavailable):
        store.put(KEY, *staged(tmp_path, b"something else"))

    assert read(store, 0, 7) == b"content"


def test_missing_blob_is_reported(store: S3Store) -> None:
    for length in (0, 1):
        with pytest.raises(BlobMissing):
            store.open(KEY, 0, length)
    store.delete(KEY)

    assert store.size(KEY) is None
    assert list(store.list()) == []


async def test_download_redirects_to_the_bucket(settings: Settings) -> None:
    async with running(create_app, settings.model_copy(update={"s3_link_seconds": 60})) as files:
        person = Person(files)
        file = await person.upload(b"<html>", "日本.html")
        response = await person.download(file["id"])
        stranger = await Person(files).download(file["id"])

    assert response.status_code == 307
    assert response.headers["cache-control"] == "no-store"
    asked = parse_qs(urlsplit(response.headers["location"]).query)
    assert asked["X-Amz-Expires"] == ["60"]
    assert asked["response-content-type"] == ["application/octet-stream"]
    assert asked["response-content-disposition"][0].startswith("attachment; ")
    async with httpx.AsyncClient() as browser:
        assert (await browser.get(response.headers["location"])).content == b"<html>"
    assert stranger.status_code == 404


async def test_unreachable_storage_is_503(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"s3_endpoint_url": "http://127.0.0.1:9"})
    async with running(create_app, nowhere) as files:
        person = Person(files)
        response = await person.send()

        assert (response.status_code, response.json()["code"]) == (503, "storage_unavailable")
        assert (await person.usage())["reserved"] == 0


def test_missing_bucket_is_a_settings_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("STORAGE_TYPE", "s3")
    with pytest.raises(SettingsError, match="S3_BUCKET: must name the bucket"):
        Settings.load()
