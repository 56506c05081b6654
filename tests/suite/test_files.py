"""Files through the gateway: published curl commands, alternative paths, and access to other users' files."""

import asyncio
import re
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.ids import new_id
from tests import support
from tests.suite.accounts import Person, register
from tests.suite.conftest import Suite
from tests.suite.test_quickstart import answers

SEED = Path(__file__).with_name("seed_002.sh")
PRINTED = "localhost:8080"
CONTENT = b"%PDF-1.7 " + bytes(range(256)) * 4000


class Shell:
    """Runs published commands with their placeholders filled in."""

    def __init__(self, suite: Suite, folder: Path) -> None:
        support.need("curl", "bash")
        self._folder = folder
        self.filled = {PRINTED: suite.url.removeprefix("http://")}

    def run(self, line: str) -> str:
        for printed, value in self.filled.items():
            line = line.replace(printed, value)
        line = re.sub(r"\bcurl ", "curl -sS --fail-with-body ", line)
        command = ["bash", "-e", "-c", line]
        done = subprocess.run(
            command, cwd=self._folder, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def answer(self, line: str) -> Any:
        (only,) = answers(self.run(line))
        return only


def test_published_curl_commands_work_unchanged(suite: Suite, tmp_path: Path) -> None:
    register_, login, me, upload, listing, download, logs = SEED.read_text().split("\n\n")
    (tmp_path / "file.pdf").write_bytes(CONTENT)
    shell = Shell(suite, tmp_path)
    registered = shell.answer(register_)
    shell.filled["YOUR_JWT_TOKEN"] = shell.answer(login)["token"]
    shell.filled["/path/to/your/file.pdf"] = str(tmp_path / "file.pdf")
    profile, file = shell.answer(me), shell.answer(upload)
    shell.filled["{fileID}"] = file["id"]
    listed = shell.answer(listing)
    shell.run(download)

    def record() -> list[dict[str, Any]]:
        return [one for one in shell.answer(logs) if one["action"] == "FILE_UPLOAD"]

    assert support.eventually(lambda: len(record()) == 1, seconds=5)
    (recorded,) = record()

    assert profile["id"] == registered["user"]["id"] == file["user_id"]
    assert (file["name"], file["size"], file["mime_type"]) == ("file.pdf", len(CONTENT), "application/pdf")
    assert [one["id"] for one in listed] == [file["id"]]
    assert (tmp_path / file["id"]).read_bytes() == CONTENT
    assert recorded["resource"] == file["id"]
    assert recorded["metadata"] == {"filename": "file.pdf", "size": len(CONTENT)}
    assert recorded["user_agent"].startswith("curl/")


async def upload(
    client: httpx.AsyncClient, person: Person, path: str = "/files", **fields: str
) -> dict[str, Any]:
    form = {"file": ("données.json", b'{"a": 1}', "application/json")}
    response = await client.post(path, files=form, data=fields, headers=person.headers)
    assert response.status_code == 201, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def test_paths_below_storage_work_like_those_below_files(suite: Suite) -> None:
    base = "/api/v1/storage"
    async with suite.client() as client:
        person = await register(client)
        made = await upload(client, person, f"{base}/upload", visibility="public", metadata='{"a": 1}')
        file = made["data"]["file"]
        shown = (await client.get(f"{base}/files/{file['id']}")).json()
        content = await client.get(f"{base}/files/{file['id']}/download")
        listed = (await client.get(f"{base}/files")).json()
        changed = await client.put(
            f"{base}/files/{file['id']}", json={"visibility": "private"}, headers=person.headers
        )
        hidden = await client.get(f"{base}/files/{file['id']}")
        deleted = await client.delete(f"{base}/files/{file['id']}", headers=person.headers)

    assert made["success"] is True
    assert shown["data"] == {"file": file}
    assert file in listed["data"]["files"]
    assert content.content == b'{"a": 1}'  # a user's JSON file is not wrapped in an envelope
    assert changed.json()["data"]["file"]["visibility"] == "private"
    assert hidden.status_code == 404
    assert deleted.status_code == 200


@pytest.mark.parametrize("spelling", ["", "/api", "/api/v1"])
async def test_files_of_other_users_cannot_be_read_or_changed(each_suite: Suite, spelling: str) -> None:
    async with each_suite.client() as client:
        victim, stranger = await register(client), await register(client)
        file = await upload(client, victim)
        headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "9", "Upload-Metadata": "filename YQ=="}
        begun = await client.post("/files/uploads", headers=victim.headers | headers)
        share = await client.post(f"/files/{file['id']}/shares", json={}, headers=victim.headers)
        token = share.json()["url"].partition("=")[2]
        tries = [
            ("GET", f"/files/{file['id']}"),
            ("GET", f"/files/{file['id']}/metadata"),
            ("PATCH", f"/files/{file['id']}"),
            ("PUT", f"/files/{file['id']}"),
            ("DELETE", f"/files/{file['id']}"),
            ("GET", f"/files/{file['id']}/shares"),
            ("DELETE", f"/files/{file['id']}/shares/{share.json()['id']}"),
            ("GET", begun.headers["location"]),
            ("PATCH", begun.headers["location"]),
            ("DELETE", begun.headers["location"]),
            ("GET", f"/files/shared/{share.json()['id']}?token={token[::-1]}"),
            ("GET", f"/storage/files/{file['id']}/download"),
        ]
        forged = {"X-User-Id": victim.id, "X-Role": "admin", "If-None-Match": f'"{file["sha256"]}"'}
        for method, path in tries:
            pieces = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0"} if "uploads" in path else {}
            if method == "PATCH" and pieces:
                body: dict[str, Any] = {"content": b"x"}
                pieces["Content-Type"] = "application/offset+octet-stream"
            else:
                body = {"json": {"name": "mine"}} if method in ("PATCH", "PUT") else {}
            for who in (stranger.headers, {}):
                response = await client.request(
                    method, spelling + path, headers=who | forged | pieces, **body
                )
                assert response.status_code in (401, 404), f"{method} {path}: {response.text}"

        kept = await client.get(f"/files/{file['id']}", headers=victim.headers)
        assert kept.content == b'{"a": 1}'
        assert (await client.get("/files/usage", headers=stranger.headers)).json()["used"] == 0


async def test_concurrent_large_uploads_and_downloads_keep_every_byte(suite: Suite) -> None:
    async with suite.client() as client:
        person = await register(client)

        async def there_and_back(number: int) -> None:
            content = new_id().encode() * (60_000 + number)
            form = {"file": ("a.bin", content)}
            file = (await client.post("/files", files=form, headers=person.headers)).json()
            assert (await client.get(f"/files/{file['id']}", headers=person.headers)).content == content

        await asyncio.gather(*(there_and_back(number) for number in range(12)))
