"""Form uploads: what is stored, what is refused, and which forms are accepted."""

import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.files.settings import Settings
from shared.ids import new_id
from shared.testing import TEST_INTERNAL_SECRET
from tests.files.conftest import FILE_BYTES_MAX, MIB, QUOTA_BYTES, QUOTA_FILES
from tests.files.support import Person, stored
from tests.shared.processes import started


def test_unwritable_directory_is_reported_at_startup(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file in place of a directory")
    environment = {
        "INTERNAL_SECRET": TEST_INTERNAL_SECRET,
        "DATA_DIR": str(tmp_path),
        "STORAGE_PATH": str(tmp_path / "taken" / "files"),
    }
    with started("-m", "services.files", environment=environment) as service:
        assert service.code() == 2
        assert "STORAGE_PATH: cannot write to" in service.lines[-1]
        assert "Traceback" not in service.output


class TestUpload:
    async def test_uploaded_file_is_described_with_201(self, files: httpx.AsyncClient) -> None:
        user_id = new_id()
        person = Person(files, user_id)
        response = await person.send(b"%PDF-1.7 hello", "report.pdf", metadata='{"topic": "Q3"}')

        assert response.status_code == 201
        file = response.json()
        assert file["user_id"] == user_id
        assert (file["name"], file["size"], file["mime_type"]) == ("report.pdf", 14, "application/pdf")
        assert file["sha256"] == hashlib.sha256(b"%PDF-1.7 hello").hexdigest()
        assert (file["visibility"], file["metadata"], file["state"]) == ("private", {"topic": "Q3"}, "ready")
        assert response.headers["location"] == f"/files/{file['id']}"
        assert (await person.download(file["id"])).content == b"%PDF-1.7 hello"
        assert (await person.get(f"/files/{file['id']}/metadata")).json() == file

    @pytest.mark.parametrize("size", [0, 1, 65_535, MIB + 1, FILE_BYTES_MAX])
    async def test_content_of_every_size_is_returned_unchanged(
        self, files: httpx.AsyncClient, size: int
    ) -> None:
        person = Person(files)
        content = bytes(index * 7 % 251 for index in range(size))
        file = await person.upload(content)

        assert file["size"] == size
        assert (await person.download(file["id"])).content == content
        assert await person.usage() == {
            "used": size,
            "reserved": 0,
            "limit": QUOTA_BYTES,
            "files": 1,
            "files_limit": QUOTA_FILES,
        }

    async def test_stored_file_is_readable_only_by_the_service(
        self, disk_files: httpx.AsyncClient, disk_settings: Settings
    ) -> None:
        await Person(disk_files).upload()

        assert disk_settings.storage_path is not None
        (blob,) = [file for file in disk_settings.storage_path.rglob("*") if file.is_file()]
        assert blob.stat().st_mode & 0o777 == 0o600
        assert blob.parent.stat().st_mode & 0o777 == 0o700

    async def test_request_without_token_is_rejected_with_401(self, files: httpx.AsyncClient) -> None:
        response = await files.post("/files", files={"file": ("a.txt", b"x")})

        assert response.status_code == 401

    async def test_file_that_is_too_large_is_rejected_with_413(
        self, files: httpx.AsyncClient, settings: Settings
    ) -> None:
        person = Person(files)
        response = await person.send(b"x" * (FILE_BYTES_MAX + 1))

        assert response.status_code == 413
        assert response.json()["limit_bytes"] == FILE_BYTES_MAX
        assert str(FILE_BYTES_MAX) in response.json()["detail"]
        assert stored(settings) == []
        assert (await person.usage())["reserved"] == 0

    async def test_announced_size_that_is_too_large_is_refused_before_reading(
        self, files: httpx.AsyncClient
    ) -> None:
        headers = Person(files).headers | {
            "Content-Type": "multipart/form-data; boundary=x",
            "Content-Length": str(10 * FILE_BYTES_MAX),
        }

        async def never() -> Any:
            raise AssertionError("the body was read")
            yield b""

        response = await files.post("/files", content=never(), headers=headers)

        assert response.status_code == 413

    async def test_size_is_counted_if_it_is_not_announced(
        self, files: httpx.AsyncClient, settings: Settings
    ) -> None:
        async def endless() -> Any:
            yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
            for _ in range(FILE_BYTES_MAX // 65_536 + 1):
                yield b"y" * 65_536
            raise AssertionError("the upload was not stopped")

        headers = Person(files).headers | {"Content-Type": "multipart/form-data; boundary=x"}
        response = await files.post("/files", content=endless(), headers=headers)

        assert response.status_code == 413
        assert stored(settings) == []


class TestQuota:
    async def test_quota_can_be_filled_to_the_last_byte(self, files: httpx.AsyncClient) -> None:
        person = Person(files)
        for _ in range(2):
            await person.upload(b"x" * FILE_BYTES_MAX)
        refused = await person.send(b"y")

        assert (await person.usage())["used"] == QUOTA_BYTES
        assert refused.status_code == 507
        told = refused.json()
        assert told["code"] == "quota_exceeded"
        assert (told["used"], told["reserved"], told["limit"]) == (QUOTA_BYTES, 0, QUOTA_BYTES)

    async def test_number_of_files_is_limited(self, files: httpx.AsyncClient) -> None:
        person = Person(files)
        for _ in range(QUOTA_FILES):
            await person.upload(b"")
        refused = await person.send(b"")

        assert refused.status_code == 507
        assert refused.json()["files_limit"] == QUOTA_FILES

    async def test_quota_belongs_to_one_account(self, files: httpx.AsyncClient) -> None:
        full = Person(files)
        for _ in range(2):
            await full.upload(b"x" * FILE_BYTES_MAX)

        assert (await Person(files).send(b"y")).status_code == 201

    async def test_trash_counts_against_the_quota(self, files: httpx.AsyncClient) -> None:
        person = Person(files)
        file = await person.upload(b"x" * 100)
        await person.delete(f"/files/{file['id']}")
        in_trash = (await person.usage())["used"]
        await person.delete(f"/files/trash/{file['id']}")

        assert in_trash == 100
        assert (await person.usage())["used"] == (await person.usage())["files"] == 0


HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'


class TestForms:
    STORAGE = ("sqlite",)

    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            (b"", 400, "bad_form"),
            (b"rubbish", 400, "bad_form"),
            (b"--b--\r\n", 400, "bad_form"),
            (HEAD + b"half", 400, "bad_form"),
            (HEAD + b"x\r\n" + HEAD + b"y\r\n--b--\r\n", 400, "bad_form"),
            (b'--b\r\nContent-Disposition: form-data; name="other"\r\n\r\nx\r\n--b--\r\n', 400, "bad_form"),
            (b'--b\r\nContent-Disposition: attachment; name="file"\r\n\r\nx\r\n--b--\r\n', 400, "bad_form"),
            (b"--b\r\nX: y\r\n\r\nx\r\n--b--\r\n", 400, "bad_form"),
            (b"--b\r\n" + b"X: y\r\n" * 20 + b"\r\nx\r\n--b--\r\n", 400, "bad_form"),
            (b"--b\r\nX: " + b"y" * 5000 + b"\r\n\r\nx\r\n--b--\r\n", 400, "bad_form"),
            (HEAD.replace(b"a.txt", b"\xff\xfe") + b"x\r\n--b--\r\n", 400, "bad_form"),
            (HEAD.replace(b"a.txt", b"") + b"x\r\n--b--\r\n", 422, "bad_name"),
            (b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--b--\r\n', 422, "bad_name"),
        ],
    )
    async def test_malformed_form_is_refused_and_stores_nothing(
        self, files: httpx.AsyncClient, settings: Settings, body: bytes, status: int, code: str
    ) -> None:
        person = Person(files)
        headers = person.headers | {"Content-Type": "multipart/form-data; boundary=b"}
        response = await files.post("/files", content=body, headers=headers)

        assert (response.status_code, response.json()["code"]) == (status, code), response.text
        assert stored(settings) == []
        assert (await person.usage())["reserved"] == 0

    @pytest.mark.parametrize(
        ("kind", "status"),
        [
            ("application/json", 415),
            ("multipart/mixed; boundary=b", 415),
            ("", 415),
            ("multipart/form-data", 400),
            ("multipart/form-data; boundary=" + "b" * 71, 400),
        ],
    )
    async def test_body_that_is_not_a_form_is_refused(
        self, files: httpx.AsyncClient, kind: str, status: int
    ) -> None:
        headers = Person(files).headers | {"Content-Type": kind}
        response = await files.post("/files", content=HEAD + b"x\r\n--b--\r\n", headers=headers)

        assert response.status_code == status

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"visibility": "secret"}, "visibility"),
            ({"metadata": "{"}, "metadata"),
            ({"metadata": "[]"}, "metadata"),
            ({"metadata": '{"a": NaN}'}, "metadata"),
            ({"metadata": "[" * 5000}, "metadata"),
            ({"metadata": json.dumps({"a": "x" * 4096})}, "metadata"),
        ],
    )
    async def test_malformed_fields_are_rejected_with_422(
        self, files: httpx.AsyncClient, settings: Settings, fields: dict[str, str], field: str
    ) -> None:
        person = Person(files)
        response = await person.send(b"x", **fields)

        assert response.status_code == 422, response.text
        assert response.json()["errors"][0]["field"].startswith(field.partition(".")[0])
        assert (await person.usage())["reserved"] == 0

    async def test_field_that_is_too_long_is_rejected_with_400(self, files: httpx.AsyncClient) -> None:
        response = await Person(files).send(b"x", metadata=" " * 20_000)

        assert response.status_code == 400

    @pytest.mark.parametrize("step", [1, 2, 3, 7, 64])
    async def test_form_is_parsed_in_any_chunks(self, files: httpx.AsyncClient, step: int) -> None:
        content = b"\r\n--b\r\r\n\r\n--bb-\r\n--"  # looks like a boundary, several times
        fields = b'\r\n--b\r\nContent-Disposition: form-data; name="visibility"\r\n\r\npublic\r\n--b--\r\n'
        body = HEAD.replace(b"--b", b"--bX") + content + fields.replace(b"--b", b"--bX")
        person = Person(files)
        headers = person.headers | {
            "Content-Type": "multipart/form-data; boundary=bX",
            "Content-Length": str(len(body)),
        }

        async def pieces() -> Any:
            for start in range(0, len(body), step):
                yield body[start : start + step]

        response = await files.post("/files", content=pieces(), headers=headers)

        assert response.status_code == 201, response.text
        assert response.json()["visibility"] == "public"
        assert (await person.download(response.json()["id"])).content == content
