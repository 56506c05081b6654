"""Resumable uploads with tus 1.0: the protocol, its extensions, and known pitfalls."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from services.files.settings import Settings
from shared.clock import now
from shared.ids import new_id
from shared.testing import bearer, token
from tests.files.conftest import MIB
from tests.files.support import Person, staged, stored

CONTENT = bytes(range(256)) * 40
SIZE = len(CONTENT)
VERSION = {"Tus-Resumable": "1.0.0"}
BYTES = {"Content-Type": "application/offset+octet-stream"}
RESUMABLE_MAX = 3 * MIB


@pytest.fixture
def settings(make_files_settings: Callable[..., Settings], storage: dict[str, Any]) -> Settings:
    return make_files_settings(**storage, resumable_max_size=RESUMABLE_MAX)


def encoded(**pairs: str) -> str:
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items())


class Uploader(Person):
    async def create(
        self, size: int = SIZE, /, content: bytes | None = None, **headers: Any
    ) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        given = {"Upload-Length": str(size), "Upload-Metadata": encoded(filename="a.bin")}
        kind = {} if content is None else BYTES
        return await self.client.post(
            "/files/uploads", content=content, headers=self.headers | VERSION | kind | given | named
        )

    async def begun(self, size: int = SIZE, **headers: Any) -> str:
        created = await self.create(size, **headers)
        assert created.status_code == 201, created.text
        return created.headers["location"]

    async def part(self, content: bytes) -> str:
        created = await self.create(len(content), content, Upload_Concat="partial", Upload_Metadata="")
        assert created.status_code == 201, created.text
        return created.headers["location"]

    async def join(self, *parts: str) -> httpx.Response:
        headers = {
            "Upload-Concat": f"final;{' '.join(parts)}",
            "Upload-Metadata": encoded(filename="joined.bin"),
        }
        return await self.client.post("/files/uploads", headers=self.headers | VERSION | headers)

    async def add(self, address: str, offset: int, content: Any, **headers: Any) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        given = {"Upload-Offset": str(offset)}
        return await self.client.patch(
            address, content=content, headers=self.headers | VERSION | BYTES | given | named
        )

    async def offset(self, address: str) -> int:
        response = await self.client.head(address, headers=self.headers | VERSION)
        assert response.status_code == 200
        return int(response.headers["upload-offset"])

    async def content(self, response: httpx.Response) -> bytes:
        return (await self.get(response.headers["content-location"])).content


@pytest.fixture
def person(files: httpx.AsyncClient) -> Uploader:
    return Uploader(files)


class TestCore:
    async def test_upload_in_three_chunks_becomes_a_file(self, person: Uploader) -> None:
        address = await person.begun(Upload_Metadata=encoded(filename="日本 %.txt", visibility="public"))
        first = await person.add(address, 0, CONTENT[:1000])
        second = await person.add(address, 1000, CONTENT[1000:5000])
        shown = await person.client.head(address, headers=person.headers | VERSION)
        last = await person.add(address, 5000, CONTENT[5000:])

        assert [one.status_code for one in (first, second, last)] == [204] * 3
        assert [one.headers["upload-offset"] for one in (first, second, last)] == ["1000", "5000", str(SIZE)]
        assert all(one.headers["tus-resumable"] == "1.0.0" for one in (first, second, shown, last))
        assert shown.headers["upload-offset"] == "5000"
        assert shown.headers["upload-length"] == str(SIZE)
        assert shown.headers["upload-metadata"] == encoded(filename="日本 %.txt", visibility="public")
        assert shown.headers["cache-control"] == "no-store"
        assert await person.content(last) == CONTENT
        (file,) = (await person.get("/files")).json()
        assert (file["name"], file["visibility"], file["size"]) == ("日本 %.txt", "public", SIZE)
        assert file["sha256"] == hashlib.sha256(CONTENT).hexdigest()
        assert (await person.usage())["used"] == SIZE
        assert (await person.usage())["reserved"] == 0

    async def test_options_lists_version_and_extensions(self, files: httpx.AsyncClient) -> None:
        response = await files.options("/files/uploads")

        assert response.status_code == 204
        assert response.headers["tus-version"] == "1.0.0"
        assert response.headers["tus-max-size"] == str(RESUMABLE_MAX)
        assert set(response.headers["tus-extension"].split(",")) == {
            "creation",
            "creation-with-upload",
            "expiration",
            "checksum",
            "termination",
            "concatenation",
        }

    async def test_creation_may_include_the_first_chunk(self, person: Uploader) -> None:
        created = await person.create(content=CONTENT[:100])
        assert (created.status_code, created.headers["upload-offset"]) == (201, "100")

        whole = await person.create(content=CONTENT)
        assert whole.headers["upload-offset"] == str(SIZE)
        assert await person.content(whole) == CONTENT

    async def test_empty_file_is_complete_at_once(self, person: Uploader) -> None:
        assert await person.content(await person.create(0)) == b""

    async def test_upload_is_listed_and_shown(self, person: Uploader) -> None:
        address = await person.begun()
        await person.add(address, 0, CONTENT[:10])
        shown = (await person.get(address)).json()

        assert (shown["received"], shown["length"], shown["file_id"]) == (10, SIZE, None)
        assert (await person.get("/files/uploads")).json() == [shown]
        await person.add(address, 10, CONTENT[10:])
        assert (await person.get("/files")).json()[0]["id"] == (await person.get(address)).json()["file_id"]

    @pytest.mark.parametrize("offset", [0, 99, 101, SIZE])
    async def test_wrong_offset_is_rejected_with_409_and_the_right_one(
        self, person: Uploader, offset: int
    ) -> None:
        address = await person.begun()
        await person.add(address, 0, CONTENT[:100])
        response = await person.add(address, offset, b"x")

        assert (response.status_code, response.json()["code"]) == (409, "wrong_offset")
        assert response.headers["upload-offset"] == "100"
        assert await person.offset(address) == 100

    @pytest.mark.parametrize("offset", ["", "-1", "1.0", "x", "0x10", "9" * 30])
    async def test_malformed_offset_is_rejected_with_400(self, person: Uploader, offset: str) -> None:
        response = await person.add(await person.begun(), 0, b"x", Upload_Offset=offset)

        assert response.status_code == 400
        assert response.json()["errors"][0]["field"] == "upload-offset"

    async def test_piece_of_another_type_is_rejected_with_415(self, person: Uploader) -> None:
        response = await person.add(await person.begun(), 0, b"x", Content_Type="text/plain")

        assert response.status_code == 415

    async def test_method_override_is_applied(self, person: Uploader) -> None:
        address = await person.begun()
        headers = person.headers | VERSION | BYTES
        patch = {"X-HTTP-Method-Override": "PATCH", "Upload-Offset": "0"}
        appended = await person.client.post(address, content=CONTENT[:5], headers=headers | patch)
        delete = {"X-HTTP-Method-Override": "DELETE"}
        ended = await person.client.post(address, headers=headers | delete)

        assert (appended.status_code, appended.headers["upload-offset"]) == (204, "5")
        assert ended.status_code == 204
        assert (await person.client.post(address, headers=headers)).status_code == 405

    @pytest.mark.parametrize(
        "headers",
        [
            {"Upload_Length": ""},
            {"Upload_Length": "-1"},
            {"Upload_Length": "1e3"},
            {"Upload_Length": "9" * 30},
            {"Upload_Metadata": ""},
            {"Upload_Metadata": "filename"},
            {"Upload_Metadata": "filename !!!"},
            {"Upload_Metadata": "filename \xe9".encode("latin-1")},
            {"Upload_Metadata": "filename YQ"},
            {"Upload_Metadata": "filename //79"},
            {"Upload_Metadata": "filename YQ==,filename YQ=="},
            {"Upload_Metadata": "filename " + "YWFh" * 3000},
            {"Upload_Checksum": "sha1 é".encode("latin-1")},
            {"Upload_Checksum": "sha1 !!!"},
            {"Upload_Checksum": "crc32 AAAA"},
            {"Upload_Concat": "whole"},
            {"Upload_Concat": "final;"},
        ],
    )
    async def test_malformed_creation_is_rejected_with_400(
        self, person: Uploader, settings: Settings, headers: dict[str, Any]
    ) -> None:
        response = await person.create(**headers)

        assert response.status_code == 400, response.text
        assert stored(settings) == []

    @pytest.mark.parametrize("name", ["..", "a\x00", "x" * 256, "cod\u202e"])
    async def test_names_follow_the_same_rules_as_in_forms(self, person: Uploader, name: str) -> None:
        assert (await person.create(Upload_Metadata=encoded(filename=name))).status_code == 422
        kept = await person.create(0, Upload_Metadata=encoded(filename="../../etc/passwd"))
        assert kept.status_code == 201
        assert (await person.get("/files")).json()[0]["name"] == "passwd"


class TestDefectsOfOthers:
    """Defects of another implementation, each of which endangers data or security."""

    async def test_nothing_is_written_without_credentials(self, person: Uploader, settings: Settings) -> None:
        address = await person.begun()
        headers = VERSION | BYTES | {"Upload-Offset": "0"}
        response = await person.client.patch(address, content=b"evil", headers=headers)

        assert response.status_code == 401
        assert await person.offset(address) == 0
        assert [file.stat().st_size for file in staged(settings)] == [0]

    @pytest.mark.parametrize("version", ["", "0.2.2", "1.0.1", "2.0.0"])
    async def test_nothing_is_written_for_another_version(
        self, person: Uploader, settings: Settings, version: str
    ) -> None:
        address = await person.begun()
        response = await person.add(address, 0, b"evil", Tus_Resumable=version)

        assert response.status_code == 412
        assert response.headers["tus-version"] == "1.0.0"
        assert await person.offset(address) == 0
        assert [file.stat().st_size for file in staged(settings)] == [0]
        assert (await person.create(Tus_Resumable=version)).status_code == 412

    async def test_upload_over_the_maximum_is_refused_at_once(
        self, person: Uploader, settings: Settings
    ) -> None:
        response = await person.create(RESUMABLE_MAX + 1)

        assert response.status_code == 413
        assert response.json()["detail"] == f"An upload may have at most {RESUMABLE_MAX} bytes."
        assert response.json()["limit_bytes"] == RESUMABLE_MAX
        assert stored(settings) == []

    async def test_bytes_past_the_recorded_offset_are_truncated(
        self, person: Uploader, settings: Settings
    ) -> None:
        address = await person.begun()
        await person.add(address, 0, CONTENT[:100])
        (partial,) = staged(settings)
        with partial.open("ab") as handle:
            handle.write(b"never confirmed" * 100)
        last = await person.add(address, 100, CONTENT[100:])

        assert await person.content(last) == CONTENT


class TestTooMuch:
    async def test_more_bytes_than_announced_are_rejected_with_413(self, person: Uploader) -> None:
        address = await person.begun(10)
        announced = await person.add(address, 0, b"x" * 11)

        async def unannounced() -> AsyncIterator[bytes]:
            yield b"y" * 6
            yield b"y" * 6

        streamed = await person.add(address, 0, unannounced())

        assert [announced.status_code, streamed.status_code] == [413, 413]
        assert await person.offset(address) == 0
        assert await person.content(await person.add(address, 0, b"z" * 10)) == b"z" * 10

    async def test_quota_is_reserved_at_creation(self, person: Uploader) -> None:
        address = await person.begun(RESUMABLE_MAX)
        refused = await person.create(RESUMABLE_MAX)

        assert refused.status_code == 507
        assert (refused.json()["used"], refused.json()["reserved"]) == (0, RESUMABLE_MAX)
        await person.client.delete(address, headers=person.headers | VERSION)
        assert (await person.create(RESUMABLE_MAX)).status_code == 201


class TestChecksums:
    @pytest.mark.parametrize("algorithm", ["sha1", "sha256", "md5"])
    async def test_piece_with_matching_checksum_is_stored(self, person: Uploader, algorithm: str) -> None:
        value = base64.b64encode(hashlib.new(algorithm, CONTENT).digest()).decode()
        response = await person.add(await person.begun(), 0, CONTENT, Upload_Checksum=f"{algorithm} {value}")

        assert response.status_code == 204
        assert await person.content(response) == CONTENT

    async def test_piece_with_wrong_checksum_is_rejected_with_460(self, person: Uploader) -> None:
        address = await person.begun()
        await person.add(address, 0, CONTENT[:10])
        value = base64.b64encode(hashlib.sha1(b"other").digest()).decode()
        response = await person.add(address, 10, CONTENT[10:], Upload_Checksum=f"sha1 {value}")

        assert response.status_code == 460
        assert response.json()["code"] == "checksum_mismatch"
        assert await person.offset(address) == 10
        assert await person.content(await person.add(address, 10, CONTENT[10:])) == CONTENT

    @pytest.mark.parametrize("header", [b"crc32 AAAA", b"sha1", b"sha1 !", b"sha1 \xe9", b""])
    async def test_malformed_checksum_is_refused(self, person: Uploader, header: bytes) -> None:
        response = await person.add(await person.begun(), 0, CONTENT, Upload_Checksum=header)

        assert response.status_code in (400, 460)


class TestTermination:
    async def test_terminated_upload_is_404(self, person: Uploader) -> None:
        address = await person.begun()
        ended = await person.client.delete(address, headers=person.headers | VERSION)
        again = await person.client.delete(address, headers=person.headers | VERSION)

        assert [ended.status_code, again.status_code] == [204, 404]
        assert (await person.add(address, 0, b"x")).status_code == 404
        assert (await person.usage())["reserved"] == (await person.usage())["files"] == 0

    async def test_file_stays_when_its_upload_is_terminated(self, person: Uploader) -> None:
        whole = await person.create(content=CONTENT)
        address = whole.headers["location"]
        ended = await person.client.delete(address, headers=person.headers | VERSION)

        assert ended.status_code == 204
        assert await person.content(whole) == CONTENT

    async def test_response_has_the_expiry_of_the_upload(self, person: Uploader) -> None:
        created = await person.create()
        left = parsedate_to_datetime(created.headers["upload-expires"]) - now()

        assert 23.9 < left.total_seconds() / 3600 < 24.1


class TestConcatenation:
    async def test_parts_are_concatenated_in_the_given_order(self, person: Uploader) -> None:
        parts = [await person.part(piece) for piece in (CONTENT[5000:], CONTENT[:5000])]
        joined = await person.join(*parts[::-1])

        assert joined.status_code == 201, joined.text
        assert await person.content(joined) == CONTENT
        shown = await person.client.head(joined.headers["location"], headers=person.headers | VERSION)
        assert shown.headers["upload-concat"] == f"final;{' '.join(parts[::-1])}"
        assert shown.headers["upload-length"] == shown.headers["upload-offset"] == str(SIZE)
        assert await person.usage() == (await person.usage()) | {"used": SIZE, "reserved": 0, "files": 1}

    async def test_urls_of_parts_may_have_any_prefix(self, person: Uploader) -> None:
        part = await person.part(CONTENT)
        joined = await person.join(f"https://api.example.com/api/v1{part}")

        assert await person.content(joined) == CONTENT

    async def test_repeated_concatenation_makes_one_file(self, person: Uploader) -> None:
        parts = [await person.part(CONTENT), await person.part(CONTENT)]
        joined, again = await person.join(*parts), await person.join(*parts)

        assert again.status_code == 201
        assert again.headers["location"] == joined.headers["location"]
        assert len((await person.get("/files")).json()) == 1

    async def test_concurrent_concatenations_make_one_file(self, person: Uploader) -> None:
        """A copy for each request would use disk space outside the quota."""
        parts = [await person.part(CONTENT), await person.part(CONTENT)]
        joined = await asyncio.gather(*(person.join(*parts) for _ in range(8)))

        assert {(one.status_code, one.headers["location"]) for one in joined} == {
            (201, joined[0].headers["location"])
        }
        assert (await person.usage())["used"] == 2 * SIZE

    async def test_parts_can_be_used_only_once(self, person: Uploader) -> None:
        parts = [await person.part(CONTENT), await person.part(CONTENT)]
        joined = (await person.join(*parts)).headers["location"]
        others = [await person.join(*parts[::-1]), await person.join(parts[0])]
        await person.client.delete(joined, headers=person.headers | VERSION)

        assert [one.status_code for one in (*others, await person.join(*parts))] == [409, 409, 409]

    async def test_incomplete_and_foreign_parts_are_refused(self, person: Uploader) -> None:
        unfinished = await person.begun(Upload_Concat="partial")
        whole = (await person.create(content=CONTENT)).headers["location"]
        of_another = await Uploader(person.client).part(CONTENT)

        assert (await person.join(unfinished)).status_code == 409
        assert (await person.join(whole)).status_code == 409
        assert (await person.join(of_another)).status_code == 404
        assert (await person.join(f"/files/uploads/{new_id()}")).status_code == 404

    async def test_concatenation_over_the_maximum_is_rejected_with_413(self, person: Uploader) -> None:
        parts = [
            await person.part(bytes(RESUMABLE_MAX // 2)),
            await person.part(bytes(RESUMABLE_MAX // 2 + 1)),
        ]
        joined = await person.join(*parts)

        assert (joined.status_code, joined.json()["limit_bytes"]) == (413, RESUMABLE_MAX)
        assert (await person.usage())["used"] == 0

    async def test_part_is_not_a_file_and_final_upload_accepts_no_bytes(self, person: Uploader) -> None:
        part = await person.part(CONTENT)
        assert (await person.get("/files")).json() == []

        joined = await person.join(part)
        assert (await person.add(joined.headers["location"], SIZE, b"x")).status_code == 403


class TestAccessOfOthers:
    STORAGE = ("sqlite", "postgresql")

    @pytest.mark.parametrize("role", ["user", "admin"])
    async def test_upload_of_another_account_looks_nonexistent(self, person: Uploader, role: str) -> None:
        address = await person.begun()
        stranger = bearer(token(role=role)) | VERSION | BYTES | {"Upload-Offset": "0"}
        for method in ("HEAD", "GET", "PATCH", "DELETE"):
            answers = []
            for where in (address, f"/files/uploads/{new_id()}"):
                response = await person.client.request(method, where, content=b"x", headers=stranger)
                told = response.json() if response.content else {}
                answers.append((response.status_code, {**told, "request_id": None}))
            assert answers[0] == answers[1]
            assert answers[0][0] == 404
        assert await person.offset(address) == 0

    async def test_list_contains_only_own_uploads(self, person: Uploader) -> None:
        await person.begun()

        assert (await Person(person.client).get("/files/uploads")).json() == []


class TestLocks:
    async def test_new_request_takes_over_at_once(self, person: Uploader) -> None:
        """A broken connection that the server has not noticed must not lock out its client."""
        address = await person.begun()
        is_under_way, never = asyncio.Event(), asyncio.Event()

        async def stuck() -> AsyncIterator[bytes]:
            yield CONTENT[:1000]
            is_under_way.set()
            await never.wait()

        dead = asyncio.create_task(person.add(address, 0, stuck()))
        await is_under_way.wait()
        async with asyncio.timeout(10):
            offset = await person.offset(address)
            last = await person.add(address, offset, CONTENT[offset:])
        taken = await dead

        assert offset == 1000
        assert await person.content(last) == CONTENT
        assert (taken.status_code, taken.json()["code"]) == (409, "taken_over")

    async def test_concurrent_requests_write_once(self, person: Uploader) -> None:
        address = await person.begun()
        answers = await asyncio.gather(*(person.add(address, 0, CONTENT) for _ in range(8)))
        codes = sorted(one.status_code for one in answers)

        assert codes[0] == 204
        assert set(codes[1:]) <= {409, 423}
        (file,) = (await person.get("/files")).json()
        assert file["sha256"] == hashlib.sha256(CONTENT).hexdigest()
        assert (await person.usage())["used"] == SIZE
