"""The files of a workspace over HTTP: preconditions, ranges, limits, the trash, and what shells see."""

import asyncio
import io
import os
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.terminal.models import EVENTS
from tests import told
from tests.terminal.support import Owner, Service

DATABASES = ("sqlite", "postgresql")
FILES, CONTENT = "/terminal/files", "/terminal/files/content"
NEW = {"If-None-Match": "*"}


def home_of(service: Service, owner: Owner) -> Path:
    return service.folder / "terminal" / "homes" / owner.user_id


async def put(owner: Owner, path: str, content: bytes, **headers: str) -> httpx.Response:
    return await owner.client.put(CONTENT, params={"path": path}, content=content, headers=headers or NEW)


async def get(owner: Owner, path: str, **headers: str) -> httpx.Response:
    return await owner.client.get(CONTENT, params={"path": path}, headers=headers)


async def names(owner: Owner, path: str = "", **query: Any) -> list[str]:
    response = await owner.client.get(FILES, params={"path": path, **query})
    assert response.status_code == 200, response.text
    return [one["path"] for one in response.json()]


async def test_written_file_is_seen_by_the_shell_and_a_file_of_the_shell_is_downloaded(owner: Owner) -> None:
    written = await put(owner, "src/日本 %41#?.txt", b"from the API\n")
    assert written.status_code == 201, written.text
    assert written.json()["size"] == 13
    async with owner.watching(await owner.open()) as screen:
        await screen.type("cat src/*.txt; echo of-the-shell > made; ln -s /etc/passwd out; echo do''ne\n")
        await screen.until(b"done")
    assert b"from the API\r\n" in screen.output
    assert (await get(owner, "made")).content == b"of-the-shell\n"
    assert (await get(owner, "out")).status_code == 404
    assert (await get(owner, "src/日本 %41#?.txt")).content == b"from the API\n"
    assert await names(owner) == ["made", "out", "src"]
    assert await names(owner, depth="all") == ["made", "out", "src", "src/日本 %41#?.txt"]


async def test_file_is_created_once_and_replaced_only_with_its_etag(owner: Owner) -> None:
    created = await put(owner, "file", b"one")
    etag = created.json()["etag"]
    assert (await put(owner, "file", b"two")).status_code == 412
    unconditional = await owner.client.put(CONTENT, params={"path": "file"}, content=b"two")
    assert (unconditional.status_code, unconditional.json()["code"]) == (428, "precondition_required")
    assert (await get(owner, "file")).headers["etag"] == etag
    replaced = await put(owner, "file", b"new", **{"If-Match": etag})
    assert replaced.status_code == 201
    assert (await put(owner, "file", b"three", **{"If-Match": etag})).status_code == 412
    assert (await put(owner, "other", b"x", **{"If-Match": "*"})).status_code == 404
    assert (await get(owner, "file")).content == b"new"


async def test_download_supports_ranges_conditions_and_safe_headers(owner: Owner) -> None:
    content = bytes(range(256)) * 5000
    await put(owner, "page.html", content)
    whole = await get(owner, "page.html")
    assert whole.content == content
    assert whole.headers["content-disposition"] == 'attachment; filename="page.html"'
    assert whole.headers["content-type"] == "application/octet-stream"
    assert whole.headers["content-security-policy"] == "sandbox; default-src 'none'"
    part = await get(owner, "page.html", Range="bytes=1000-600999")
    assert (part.status_code, part.headers["content-range"]) == (206, "bytes 1000-600999/1280000")
    assert part.content == content[1000:601000]
    assert (await get(owner, "page.html", Range="bytes=1280000-")).status_code == 416
    changed = await get(owner, "page.html", Range="bytes=0-1", **{"If-Range": '"another"'})
    assert changed.status_code == 200
    known = await get(owner, "page.html", **{"If-None-Match": whole.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
    head = await owner.client.head(CONTENT, params={"path": "page.html"})
    assert (head.headers["content-length"], head.content) == ("1280000", b"")
    inline = await owner.client.get(CONTENT, params={"path": "page.html", "inline": "true"})
    assert inline.headers["content-disposition"].startswith("attachment")
    await put(owner, "empty.txt", b"")
    inline = await owner.client.get(CONTENT, params={"path": "empty.txt", "inline": "true"})
    assert inline.headers["content-disposition"] == 'inline; filename="empty.txt"'
    assert inline.content == b""


@pytest.mark.parametrize("path", ["", "/", "..", "../x", "a/../b", "a//b", "x" * 256])
async def test_malformed_path_is_refused_with_422(owner: Owner, path: str) -> None:
    assert (await get(owner, path)).json()["code"] == "bad_path"
    assert (await put(owner, path, b"x")).json()["code"] == "bad_path"
    deleted = await owner.client.delete(FILES, params={"path": path})
    assert (deleted.status_code, deleted.json()["code"]) == (422, "bad_path")
    for body in ({"source": path, "destination": "y"}, {"source": "y", "destination": path}):
        assert (await owner.client.post(f"{FILES}/move", json=body)).status_code == 422
        assert (await owner.client.post(f"{FILES}/copy", json=body)).status_code == 422
    assert (await owner.client.post(f"{FILES}/folders", json={"path": path})).status_code == 422


async def test_workspace_of_another_account_is_out_of_reach(owner: Owner, service: Service) -> None:
    await put(owner, "file", b"own")
    async with Owner(service.url) as other:
        assert (await get(other, "file")).status_code == 404
        assert (await get(other, f"../{owner.user_id}/file")).status_code == 422
        assert await names(other) == []


async def test_limited_token_needs_the_read_scope_to_read_files_and_the_write_scope_to_change_them(
    owner: Owner, service: Service
) -> None:
    await put(owner, "file", b"own")
    limited = {"user_id": owner.user_id, "client_id": "c"}
    async with Owner(service.url, **limited, scope="terminal:read") as viewer:
        assert (await get(viewer, "file")).json()["scope"] == "workspace:read"
    async with Owner(service.url, **limited, scope="workspace:read") as reader:
        assert (await get(reader, "file")).content == b"own"
        assert (await put(reader, ".bashrc", b"x")).json()["scope"] == "terminal:write"


async def test_folder_is_made_moved_copied_and_downloaded_as_a_zip(owner: Owner) -> None:
    made = await owner.client.post(f"{FILES}/folders", json={"path": "a/b"})
    assert (made.status_code, made.json()["kind"]) == (201, "folder")
    again = await owner.client.post(f"{FILES}/folders", json={"path": "a/b"})
    assert (again.status_code, again.json()["code"]) == (409, "exists")
    await put(owner, "a/b/file", b"content")
    moved = await owner.client.post(f"{FILES}/move", json={"source": "a", "destination": "x/y"})
    assert (moved.status_code, moved.json()["path"]) == (200, "x/y")
    copied = await owner.client.post(f"{FILES}/copy", json={"source": "x/y", "destination": "x/z"})
    assert copied.status_code == 201
    inside = await owner.client.post(f"{FILES}/move", json={"source": "x", "destination": "x/y/z"})
    assert (inside.status_code, inside.json()["code"]) == (409, "into_itself")
    missing = await owner.client.post(f"{FILES}/move", json={"source": "gone", "destination": "q"})
    assert missing.status_code == 404
    archive = await owner.client.get(f"{FILES}/archive", params={"path": "x"})
    assert archive.headers["content-disposition"] == 'attachment; filename="x.zip"'
    with zipfile.ZipFile(io.BytesIO(archive.content)) as read:
        assert read.read("z/b/file") == b"content"
    assert (await owner.client.get(f"{FILES}/archive", params={"path": "none"})).status_code == 404
    assert (await owner.client.get(f"{FILES}/archive", params={"path": "x/y/b/file"})).status_code == 409


async def test_overwriting_moves_the_former_file_to_the_trash(owner: Owner) -> None:
    await put(owner, "old", b"old")
    await put(owner, "new", b"new")
    body = {"source": "new", "destination": "old"}
    refused = await owner.client.post(f"{FILES}/move", json=body)
    assert (refused.status_code, refused.json()["code"]) == (409, "exists")
    assert (await owner.client.post(f"{FILES}/move", json={**body, "overwrite": True})).status_code == 200
    (row,) = (await owner.client.get(f"{FILES}/trash")).json()
    assert (row["path"], row["kind"], row["size"]) == ("old", "file", 3)
    assert (await owner.client.post(f"{FILES}/trash/{row['id']}/restore")).json()["code"] == "exists"
    await owner.client.delete(FILES, params={"path": "old", "permanent": "true"})
    restored = await owner.client.post(f"{FILES}/trash/{row['id']}/restore")
    assert restored.json()["path"] == "old"
    assert (await get(owner, "old")).content == b"old"
    assert (await owner.client.get(f"{FILES}/trash")).json() == []


async def test_deleted_folder_is_restored_purged_or_emptied_and_only_by_its_owner(
    owner: Owner, service: Service
) -> None:
    for name in "abc":
        await put(owner, f"{name}/file", name.encode())
        assert (await owner.client.delete(FILES, params={"path": name})).status_code == 204
    rows = {one["path"]: one["id"] for one in (await owner.client.get(f"{FILES}/trash")).json()}
    async with Owner(service.url) as other:
        assert (await other.client.delete(f"{FILES}/trash/{rows['a']}")).status_code == 404
        assert (await other.client.post(f"{FILES}/trash/{rows['a']}/restore")).status_code == 404
        await other.client.delete(f"{FILES}/trash")
    assert (await owner.client.post(f"{FILES}/trash/{rows['a']}/restore")).status_code == 200
    assert (await get(owner, "a/file")).content == b"a"
    assert (await owner.client.delete(f"{FILES}/trash/{rows['b']}")).status_code == 204
    assert (await owner.client.post(f"{FILES}/trash/{rows['b']}/restore")).status_code == 404
    assert (await owner.client.delete(f"{FILES}/trash")).status_code == 204
    assert (await owner.client.get(f"{FILES}/trash")).json() == []
    area = home_of(service, owner).parent / ".areas" / owner.user_id
    assert [*await asyncio.to_thread(area.rglob, "file")] == []
    assert (await owner.client.delete(FILES, params={"path": "none"})).status_code == 404


async def test_listing_has_pages_and_hides_dot_files_unless_asked(owner: Owner) -> None:
    for name in ("c", "a", "b", ".hidden"):
        await put(owner, name, b"x")
    first = await owner.client.get(FILES, params={"limit": 2})
    assert [one["name"] for one in first.json()] == ["a", "b"]
    query = first.headers["link"].partition("<")[2].partition(">")[0]
    assert [one["name"] for one in (await owner.client.get(f"{FILES}{query}")).json()] == ["c"]
    assert await names(owner, hidden="true") == [".hidden", "a", "b", "c"]
    assert (await owner.client.get(FILES, params={"cursor": "é"})).status_code == 422


async def test_upload_beyond_the_limits_is_refused_and_leaves_nothing(owner: Owner, service: Service) -> None:
    async def endless() -> Any:
        for _ in range(10):
            yield bytes(1 << 20)

    whole = await put(owner, "large", bytes(5 << 20))
    streamed = await owner.client.put(CONTENT, params={"path": "large"}, content=endless(), headers=NEW)
    for refused in (whole, streamed):
        assert (refused.status_code, refused.json()["code"]) == (413, "file_too_large")
    for number in range(2):
        assert (await put(owner, f"part{number}", os.urandom(4 << 20))).status_code == 201
    full = await put(owner, "part2", os.urandom(4 << 20))
    assert (full.status_code, full.json()["code"]) == (507, "home_full")
    assert full.json()["bytes_max"] == 10 << 20
    copied = await owner.client.post(f"{FILES}/copy", json={"source": "part0", "destination": "more"})
    assert (copied.status_code, copied.json()["code"]) == (507, "home_full")
    used = (await owner.client.get(f"{FILES}/usage")).json()
    assert (8 << 20) <= used["bytes"] <= (9 << 20)
    assert await names(owner) == ["part0", "part1"]
    staging = home_of(service, owner).parent / ".areas" / owner.user_id / "staging"
    assert [*await asyncio.to_thread(staging.iterdir)] == []
    await owner.client.delete(FILES, params={"path": "part0", "permanent": "true"})
    assert (await put(owner, "part2", os.urandom(4 << 20))).status_code == 201


async def test_changes_are_recorded_with_the_path_but_not_the_content(owner: Owner, service: Service) -> None:
    await put(owner, "notes.txt", b"the-very-content")
    await owner.client.delete(FILES, params={"path": "notes.txt"})
    found = [
        one
        for one in await asyncio.to_thread(told.records, service.database_url, EVENTS)
        if one["user_id"] == owner.user_id
    ]
    assert [(one["action"], one["resource"]) for one in found] == [
        ("WRITE_WORKSPACE_FILE", "notes.txt"),
        ("DELETE_ENTRY", "notes.txt"),
    ]
    assert "the-very-content" not in str(found)
