"""Every path of 3Compute that the terminal service has, through the gateway: statuses and shapes."""

import io
import json
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.suite.accounts import register
from tests.suite.conftest import Suite

Files = list[tuple[str, tuple[str, bytes]]]


@dataclass
class Page:
    """A page of 3Compute with its session."""

    client: httpx.AsyncClient

    async def ask(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        response = await self.client.request(method, path, **options)
        assert response.status_code == status, (path, response.status_code, response.text)
        return response.json() if "json" in response.headers.get("content-type", "") else response.content

    async def says(self, method: str, path: str, **options: Any) -> None:
        """Expect the answer of a change: `{message}`."""
        answer = await self.ask(method, path, **options)
        assert answer.keys() == {"message"}
        assert answer["message"]

    async def paths(self) -> list[str]:
        return sorted((await self.ask("GET", "/list-files"))["files"])


@pytest.fixture
async def page(suite: Suite) -> AsyncIterator[Page]:
    async with suite.client() as client:
        client.headers.update((await register(client)).headers)
        yield Page(client)
        await client.post("/terminal/stop")


def form(**contents: str) -> Files:
    return [("files", (name, content.encode())) for name, content in contents.items()]


@pytest.mark.parametrize("path", ["/auth/tabs", "/tabs", "/api/tabs/"])
async def test_tabs_are_shown_and_saved(page: Page, path: str) -> None:
    page.client.follow_redirects = True
    assert await page.ask("GET", path) == {"tabs": ["1"], "active_tab": "1"}
    saved = {"tabs": ["1", "x y", "3", "3"], "active_tab": "x y"}
    assert await page.ask("POST", path, json=saved) == {"success": True}
    assert await page.ask("GET", path) == {"tabs": ["1", "3"], "active_tab": "1"}
    bad: list[Any] = [
        {"tabs": [], "active_tab": "1"},
        {"tabs": ["1"]},
        {"tabs": ["?"], "active_tab": "?"},
        [],
    ]
    for wrong in bad:
        refused = await page.ask("POST", path, 400, json=wrong)
        assert refused["detail"]


async def test_account_has_a_range_of_ports(page: Page) -> None:
    me = await page.ask("GET", "/api/auth/me")
    assert me["port_end"] - me["port_start"] == 9
    assert me["email"]


@pytest.mark.parametrize("path", ["/terminal/close-tab", "/api/terminal/close-tab"])
async def test_tab_is_closed_even_if_its_shell_has_ended(page: Page, path: str) -> None:
    assert (await page.ask("POST", path, 404, json={"tabId": "2"}))["status"] == 404  # there is no box
    opened = await page.ask("POST", "/terminal/sessions", 201, json={"tab": "2"})
    await page.says("POST", path, json={"tabId": "2"})
    shown = await page.ask("GET", f"/terminal/sessions/{opened['id']}")
    assert shown["state"] == "ended"
    await page.says("POST", path, json={"tabId": "2"})
    await page.says("POST", path)  # the first tab, which was never opened
    await page.ask("POST", path, 400, json={"tabId": 2})


async def test_list_of_an_empty_home_is_a_list(page: Page) -> None:
    assert await page.ask("GET", "/list-files") == {"files": []}
    assert await page.ask("GET", "/api/files/list") == {"files": [], "classroomMeta": {}}
    await page.says("PUT", "/file/.hidden/seen", content=b"")
    assert await page.paths() == []
    shown = await page.ask("GET", "/api/files/list", params={"show_hidden": "true"})
    assert sorted(shown["files"]) == [".hidden/", ".hidden/seen"]


async def test_upload_replaces_files_and_cuts_names_to_their_last_part(page: Page) -> None:
    await page.says("POST", "/upload", files=form(one="1", two="2"))
    await page.says("POST", "/upload", files=[("files", ("a/b/one", b"again"))])
    assert await page.paths() == ["one", "two"]
    assert await page.ask("GET", "/file/one") == b"again"
    await page.ask("POST", "/upload", 400, files=[("other", ("one", b""))])
    await page.ask("POST", "/upload", 400, files=[("files", ("..", b"1"))])
    await page.ask("POST", "/upload", 400, files=[("files", ("same", b"1")), ("files", ("x/same", b"2"))])
    await page.ask("POST", "/upload", 415, content=b"no form")
    assert await page.paths() == ["one", "two"]


@pytest.mark.parametrize("path", ["/upload-folder", "/api/files/upload-folder"])
async def test_folder_is_uploaded_with_the_paths_of_its_files(page: Page, path: str) -> None:
    files = [("files", ("site/日本.txt", b"1")), ("files", ("site/css/a.css", b""))]
    await page.says("POST", path, files=files, data={"move-into": "site"})
    assert await page.paths() == ["site/", "site/css/", "site/css/a.css", "site/日本.txt"]
    await page.ask("POST", path, 400, files=[("files", ("../out", b"1"))])
    await page.ask("POST", path, 400, files=[("files", ("site/../../out", b"1"))])


async def test_newest_upload_has_a_destination_and_lists_conflicts(page: Page) -> None:
    path, into = "/api/files/upload", {"destination": "docs"}
    await page.says("POST", path, files=form(one="1"), data=into)
    refused = await page.ask("POST", path, 409, files=form(one="new", two="2"), data=into)
    assert (refused["conflicts"], bool(refused["detail"])) == (["docs/one"], True)
    assert await page.paths() == ["docs/", "docs/one"]  # nothing of the refused form is stored
    await page.says("POST", path, files=form(one="new", two="2"), data={**into, "overwrite": "true"})
    assert await page.ask("GET", "/file/docs/one") == b"new"


@pytest.mark.parametrize("above", ["", "/api/files"])
async def test_files_are_moved_and_copied(page: Page, above: str) -> None:
    await page.says("POST", "/upload-folder", files=[("files", ("a/one", b"1")), ("files", ("two", b"2"))])
    await page.says("POST", f"{above}/copy", json={"source": "/a", "destination": "/b"})
    await page.says("POST", f"{above}/move", json={"source": "/two", "destination": "/b/three"})
    assert await page.paths() == ["a/", "a/one", "b/", "b/one", "b/three"]
    for name in ("move", "copy"):
        taken = {"source": "b/three", "destination": "a/one"}
        assert (await page.ask("POST", f"{above}/{name}", 409, json=taken))["detail"]
        await page.ask("POST", f"{above}/{name}", 404, json={"source": "none", "destination": "x"})
        await page.ask("POST", f"{above}/{name}", 400, json={"source": "a", "destination": "a/b"})
        await page.ask("POST", f"{above}/{name}", 400, json={"source": "../a", "destination": "b"})
        await page.ask("POST", f"{above}/{name}", 400, json={"source": "a"})
        await page.says("POST", f"{above}/{name}", json={**taken, "overwrite": True})
        await page.says("POST", "/upload", files=form(x="3"))
        await page.client.put("/file/b/three", content=b"2")
    assert await page.ask("GET", "/file/a/one") == b"2"


@pytest.mark.parametrize("above", ["/file", "/api/files/file"])
async def test_one_file_is_created_written_shown_and_deleted(page: Page, above: str) -> None:
    await page.says("POST", f"{above}/new.txt")
    await page.says("POST", f"{above}/folder/")
    await page.ask("POST", f"{above}/new.txt", 400)
    await page.ask("POST", f"{above}/folder/", 400)
    await page.ask("POST", f"{above}/folder", 409)
    await page.ask("POST", f"{above}/new.txt/", 409)
    await page.says("PUT", f"{above}/new.txt", content="日本\n".encode())
    await page.says("PUT", f"{above}/folder/日本 %41.png", content=b"\x89PNG")
    assert await page.paths() == ["folder/", "folder/日本 A.png", "new.txt"]
    text = await page.client.get(f"{above}/new.txt")
    assert (text.text, text.headers["content-type"].split(";")[0]) == ("日本\n", "text/plain")
    image = await page.client.get(f"{above}/folder/日本 %41.png")
    assert (image.content, image.headers["content-type"]) == (b"\x89PNG", "image/png")
    await page.ask("GET", f"{above}/none", 404)
    await page.ask("GET", f"{above}/folder", 409)
    for method in ("GET", "PUT", "POST", "DELETE"):
        await page.ask(method, f"{above}/a%2f..%2f..%2fb", 400)
    await page.ask("DELETE", f"{above}/", 400)  # the home itself
    await page.says("DELETE", f"{above}/folder")
    await page.says("DELETE", f"{above}/folder")  # nothing is there any more
    assert await page.paths() == ["new.txt"]


async def test_file_is_downloaded_and_a_folder_as_a_zip(page: Page) -> None:
    await page.says("PUT", "/file/a/one", content=b"1")
    assert await page.ask("GET", "/api/files/download/a/one") == b"1"
    packed = await page.client.get("/api/files/download/a")
    assert packed.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
        assert {name: archive.read(name) for name in archive.namelist() if name[-1] != "/"} == {"one": b"1"}
    await page.ask("GET", "/api/files/download/none", 404)


@pytest.mark.parametrize("path", ["/socket.io/", "/api/socket.io/"])
async def test_shell_is_used_by_long_polling(page: Page, path: str) -> None:
    query = {"EIO": "4", "transport": "polling", "tabId": "7"}
    opened = (await page.ask("GET", path, params=query)).decode()
    query["sid"] = json.loads(opened.removeprefix("0"))["sid"]
    await page.ask("POST", path, params=query, content="40")
    resize, typed = '42["resize",{"cols":90,"rows":30}]', '42["pty-input",{"input":"stty size\\n"}]'
    await page.ask("POST", path, params=query, content=f"{resize}\x1e{typed}")
    seen = ""
    while "30 90" not in seen:
        seen += (await page.ask("GET", path, params=query)).decode()
        if "\x1e2" in f"\x1e{seen[-1:]}":  # a ping
            await page.ask("POST", path, params=query, content="3")
    assert "pty-output" in seen
    assert (await page.ask("GET", "/terminal/tabs"))["sessions"].keys() == {"7"}


@pytest.mark.parametrize("path", ["/github-webhook", "/api/github-webhook"])
async def test_webhook_without_a_secret_does_not_exist(page: Page, path: str) -> None:
    await page.ask("POST", path, 404, json={"action": "completed"})


async def test_every_path_needs_an_account(suite: Suite) -> None:
    paths = ["GET /auth/tabs", "POST /tabs", "POST /terminal/close-tab", "GET /list-files", "POST /upload"]
    paths += [
        "POST /upload-folder",
        "POST /move",
        "POST /copy",
        "GET /file/a",
        "PUT /file/a",
        "DELETE /file/a",
    ]
    paths += ["GET /api/files/list", "POST /api/files/upload", "GET /api/files/download/a"]
    async with suite.client() as client:
        for one in paths:
            response = await client.request(*one.split())
            assert response.status_code == 401, one
