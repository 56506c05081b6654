"""Downloads: whole, ranges, conditions, names and types."""

import asyncio
import time
from email import message_from_bytes
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from services.files import media_types
from services.files.downloads.content import READ_BYTES, Content, answer
from services.files.settings import Settings
from services.files.storage.blob_store import Blobs, make_store
from services.files.storage.staging import Staging
from shared.clock import now
from shared.http import ranges
from shared.http.downloads import disposition
from shared.http.ranges import RangeNotSatisfiable
from shared.ids import new_id
from tests.files.support import Person

CONTENT = bytes(range(256)) * 4096
ODT = "application/vnd.oasis.opendocument.text"
SIZE = len(CONTENT)


class TestWhole:
    async def test_download_has_the_content_and_its_headers(self, files: httpx.AsyncClient) -> None:
        person = Person(files)
        file = await person.upload(CONTENT, "data.bin")
        response = await person.download(file["id"])

        assert response.status_code == 200
        assert response.content == CONTENT
        told = response.headers
        assert told["content-length"] == str(SIZE)
        assert told["etag"] == f'"{file["sha256"]}"'
        assert told["accept-ranges"] == "bytes"
        assert told["content-disposition"] == 'attachment; filename="data.bin"'
        assert told["x-content-type-options"] == "nosniff"
        assert told["content-security-policy"] == "sandbox; default-src 'none'"
        assert told["cache-control"] == "private, no-cache"

    async def test_head_has_the_headers_and_no_content(self, files: httpx.AsyncClient) -> None:
        person = Person(files)
        file = await person.upload(CONTENT)
        response = await files.head(f"/files/{file['id']}", headers=person.headers)

        assert response.status_code == 200
        assert response.content == b""
        assert response.headers["content-length"] == str(SIZE)

    @pytest.mark.parametrize("known", ['"{tag}"', 'W/"{tag}"', '"other", "{tag}"', "*"])
    async def test_matching_etag_is_answered_with_304(self, files: httpx.AsyncClient, known: str) -> None:
        person = Person(files)
        file = await person.upload(CONTENT)
        response = await person.download(file["id"], If_None_Match=known.replace("{tag}", file["sha256"]))

        assert response.status_code == 304
        assert response.content == b""

    async def test_unknown_id_is_404(self, files: httpx.AsyncClient) -> None:
        assert (await Person(files).download(new_id())).status_code == 404

    async def test_malformed_input_is_rejected_with_422(self, files: httpx.AsyncClient) -> None:
        assert (await Person(files).download("7")).status_code == 422

    async def test_missing_blob_is_410(self, disk_files: httpx.AsyncClient, disk_settings: Settings) -> None:
        person = Person(disk_files)
        file = await person.upload()
        blob_of(disk_settings).unlink()
        response = await person.download(file["id"])

        assert (response.status_code, response.json()["code"]) == (410, "content_lost")

    async def test_symbolic_link_in_place_of_a_blob_is_not_followed(
        self, disk_files: httpx.AsyncClient, disk_settings: Settings
    ) -> None:
        person = Person(disk_files)
        file = await person.upload()
        blob = blob_of(disk_settings)
        blob.unlink()
        blob.symlink_to("/etc/passwd")
        response = await person.download(file["id"])

        assert response.status_code == 410
        assert "root:" not in response.text


async def test_reading_stops_when_the_client_disconnects(disk_settings: Settings) -> None:
    assert disk_settings.storage_path is not None
    blobs = Blobs(make_store(disk_settings), Staging(disk_settings.storage_path / "staging"))
    key = "ab" * 16
    staged = blobs.staging.create(key)
    staged.write([b"x" * 4 * READ_BYTES])
    landed = staged.finish()
    blobs.store.put(key, blobs.staging.path(key), landed.sha256)
    content = Content(key, "a.bin", "application/octet-stream", landed.size, landed.sha256, now())
    request = Request({"type": "http", "method": "GET", "headers": []})
    response = await answer(request, blobs, content, shown=False, cache="no-store")
    has_left, sent = asyncio.Event(), []

    async def receive() -> Message:
        await has_left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message.get("body"):
            sent.append(len(message["body"]))
            has_left.set()
            await asyncio.sleep(0)

    await response({}, receive, send)
    blobs.close()

    assert 1 <= len(sent) < 4


def blob_of(settings: Settings) -> Path:
    assert settings.storage_path is not None
    (blob,) = [file for file in (settings.storage_path / "blobs").rglob("*") if file.is_file()]
    return blob


class TestRanges:
    STORAGE = ("sqlite", "s3")

    @pytest.mark.parametrize(
        ("wanted", "start", "end"),
        [
            ("bytes=0-0", 0, 1),
            ("bytes=0-", 0, SIZE),
            ("bytes=100-199", 100, 200),
            (f"bytes={SIZE - 1}-", SIZE - 1, SIZE),
            ("bytes=-1", SIZE - 1, SIZE),
            ("bytes=-600000", SIZE - 600_000, SIZE),
            (f"bytes=-{SIZE * 2}", 0, SIZE),
            (f"bytes=5-{SIZE * 2}", 5, SIZE),
            ("Bytes = 5-6", 5, 7),
            ("bytes=0-4,5-9", 0, 10),
            ("bytes=5-9, 0-6", 0, 10),
        ],
    )
    async def test_single_range_is_answered_with_206(
        self, files: httpx.AsyncClient, wanted: str, start: int, end: int
    ) -> None:
        person = Person(files)
        file = await person.upload(CONTENT)
        response = await person.download(file["id"], Range=wanted)

        assert response.status_code == 206
        assert response.content == CONTENT[start:end]
        assert response.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
        assert response.headers["content-length"] == str(end - start)

    async def test_several_ranges_are_answered_in_parts(self, files: httpx.AsyncClient) -> None:
        person = Person(files)
        file = await person.upload(CONTENT, "a.txt")
        response = await person.download(file["id"], Range="bytes=0-9,700000-700009,-10")

        assert response.status_code == 206
        assert len(response.content) == int(response.headers["content-length"])
        head = f"Content-Type: {response.headers['content-type']}\r\n\r\n".encode()
        parts = message_from_bytes(head + response.content).walk()
        assert [part["Content-Range"] for part in parts if not part.is_multipart()] == [
            f"bytes 0-9/{SIZE}",
            f"bytes 700000-700009/{SIZE}",
            f"bytes {SIZE - 10}-{SIZE - 1}/{SIZE}",
        ]
        for found in (CONTENT[:10], CONTENT[700_000:700_010], CONTENT[-10:]):
            assert b"\r\n\r\n" + found + b"\r\n--" in response.content

    @pytest.mark.parametrize(
        "ignored",
        [
            "items=0-1",
            "bytes=",
            "bytes=5-4",
            "bytes=a-b",
            "bytes=-",
            "bytes=1-2-3",
            "bytes=" + ",".join(f"{n * 10}-{n * 10 + 1}" for n in range(17)),
            "bytes=0-,0-,0-,0-",
            "bytes=" + "0-1," * 5000,
        ],
    )
    async def test_invalid_range_is_ignored(self, files: httpx.AsyncClient, ignored: str) -> None:
        person = Person(files)
        file = await person.upload(CONTENT)
        response = await person.download(file["id"], Range=ignored)

        assert response.status_code == 200
        assert response.content == CONTENT

    @pytest.mark.parametrize("beyond", [f"bytes={SIZE}-", "bytes=-0", f"bytes={SIZE}-,{SIZE + 5}-"])
    async def test_range_past_the_end_is_rejected_with_416(
        self, files: httpx.AsyncClient, beyond: str
    ) -> None:
        person = Person(files)
        file = await person.upload(CONTENT)
        response = await person.download(file["id"], Range=beyond)

        assert response.status_code == 416
        assert response.headers["content-range"] == f"bytes */{SIZE}"

    async def test_if_range_serves_a_range_only_of_the_same_version(self, files: httpx.AsyncClient) -> None:
        person = Person(files)
        file = await person.upload(CONTENT)
        same = await person.download(file["id"], Range="bytes=0-0", If_Range=f'"{file["sha256"]}"')
        other = await person.download(file["id"], Range="bytes=0-0", If_Range='"other"')
        weak = await person.download(file["id"], Range="bytes=0-0", If_Range=f'W/"{file["sha256"]}"')
        date = same.headers["last-modified"]
        dated = await person.download(file["id"], Range="bytes=0-0", If_Range=date)

        assert [one.status_code for one in (same, other, weak, dated)] == [206, 200, 200, 206]

    async def test_range_of_an_empty_file_is_rejected_with_416(self, files: httpx.AsyncClient) -> None:
        person = Person(files)
        file = await person.upload(b"")

        assert (await person.download(file["id"])).content == b""
        assert (await person.download(file["id"], Range="bytes=0-")).status_code == 416

    @given(st.text(alphabet="0123456789-, ", max_size=40), st.integers(0, 50))
    def test_spans_are_within_the_file_and_disjoint(self, specs: str, size: int) -> None:
        try:
            spans = ranges.wanted(f"bytes={specs}", size)
        except RangeNotSatisfiable:
            return
        ends = [0]
        for start, end in spans or ():
            assert ends[-1] <= start < end <= size
            ends.append(end + 1)


class TestNamesAndTypes:
    STORAGE = ("sqlite",)

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("plain.txt", 'attachment; filename="plain.txt"'),
            (
                "日本 %.bin",
                "attachment; filename=\"__ _.bin\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC%20%25.bin",
            ),
            ('a"b.txt', "attachment; filename=\"a_b.txt\"; filename*=UTF-8''a%22b.txt"),
            (
                "naïve;x=y.txt",
                "attachment; filename=\"na_ve;x=y.txt\"; filename*=UTF-8''na%C3%AFve%3Bx%3Dy.txt",
            ),
            ("con.txt", 'attachment; filename="_con.txt"'),
            ("LPT1", 'attachment; filename="_LPT1"'),
            ("dots...", 'attachment; filename="dots"'),
        ],
    )
    async def test_any_name_is_sent_in_the_header(
        self, files: httpx.AsyncClient, name: str, expected: str
    ) -> None:
        person = Person(files)
        file = await person.upload(b"x")
        assert (await person.change(file["id"], name=name)).status_code == 200
        response = await person.download(file["id"])

        assert response.headers["content-disposition"] == expected

    @given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60))
    def test_every_name_can_be_read_from_the_header(self, name: str) -> None:
        header = disposition(name, shown=False)
        assert header.isascii()
        assert header.isprintable()
        assert header.count('"') == 2
        extended = header.partition("filename*=UTF-8''")[2]
        saved = unquote(extended, errors="strict") if extended else header.split('"')[1]
        assert saved in (name.rstrip(". "), f"_{name}".rstrip(". "), "_")

    @pytest.mark.parametrize(
        ("name", "content", "declared", "stored", "sent"),
        [
            ("a.png", b"\x89PNG\r\n\x1a\n..", "text/html", "image/png", "image/png"),
            ("a.png", b"<html><script>", "image/png", "text/html", "application/octet-stream"),
            ("a.txt", b" <!-- x --> <!DOCTYPE html>", "", "text/html", "application/octet-stream"),
            (
                "a.png",
                b"\xef\xbb\xbf<?xml version='1.0'?>\n<svg>",
                "",
                "image/svg+xml",
                "application/octet-stream",
            ),
            (
                "a.png",
                b"<!-- > --><!DOCTYPE svg [<!ENTITY a 'b'>]>\n<SVG/>",
                "",
                "image/svg+xml",
                "application/octet-stream",
            ),
            ("a.html", b"hello", "text/plain", "text/html", "application/octet-stream"),
            ("a.jpg.html", b"hello", "image/jpeg", "text/html", "application/octet-stream"),
            ("a.svg", b"hello", "image/png", "image/svg+xml", "application/octet-stream"),
            ("a.json", b"{}", "application/json", "application/json", "application/octet-stream"),
            ("a.js", b"alert()", "", "text/javascript|application/javascript", "application/octet-stream"),
            ("a.css", b"*{}", "", "text/css", "application/octet-stream"),
            ("a.pdf", b"%PDF-1.7", "", "application/pdf", "application/pdf"),
            ("a.txt", b"hello", "", "text/plain", "text/plain; charset=utf-8"),
            ("noname", b"hello", "text/html", "application/octet-stream", "application/octet-stream"),
            ("noname", b"hello", "text/plain; x=y", "text/plain", "text/plain; charset=utf-8"),
            ("noname", b"hello", "text/plain\x0bx", "application/octet-stream", "application/octet-stream"),
            ("README.md", b"# hello", "", "text/markdown", "text/markdown"),
            ("a.odt", b"PK\x03\x04", "", ODT, ODT),
            ("a.zip.png", b"PK\x03\x04", "", "application/zip", "application/zip"),
        ],
    )
    async def test_type_is_detected_and_sent_safely(
        self, files: httpx.AsyncClient, name: str, content: bytes, declared: str, stored: str, sent: str
    ) -> None:
        person = Person(files)
        file = (await person.send(content, name, kind=declared)).json()
        response = await person.download(f"{file['id']}?inline=true")

        assert file["mime_type"] in stored.split("|")
        assert response.headers["content-type"] == sent
        harmless = stored in ("image/png", "text/plain")
        assert response.headers["content-disposition"].startswith("inline" if harmless else "attachment")
        assert response.headers["x-content-type-options"] == "nosniff"

    @pytest.mark.parametrize("piece", [b"<!>", b"<? ?>", b"<!---->", b"<!-- ", b" ", b"<", b"\xef\xbb\xbf"])
    def test_detection_of_the_type_is_fast_for_any_beginning(self, piece: bytes) -> None:
        began = time.process_time()
        media_types.of(piece * 26, "a", None)  # exponential backtracking would take seconds

        assert time.process_time() - began < 0.5
