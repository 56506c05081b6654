"""Share links: anybody with the link can download the file, within the limits set by its owner."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, text

from services.files.handlers import shares
from services.files.settings import Settings
from shared.clock import now
from shared.ids import new_id
from shared.testing import bearer, token
from tests.files.support import Person

STORAGE = ("sqlite", "postgresql")


async def shared(person: Person, file_id: str, **options: Any) -> dict[str, Any]:
    response = await person.client.post(f"/files/{file_id}/shares", json=options, headers=person.headers)
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


class TestLink:
    async def test_link_needs_no_account(self, files: httpx.AsyncClient) -> None:
        person = Person(files)
        file = await person.upload(b"hello", "a.txt")
        link = await shared(person, file["id"])
        response = await files.get(link["url"])

        assert link["url"].startswith(f"{files.base_url}/files/shared/")
        assert response.status_code == 200
        assert response.content == b"hello"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["cache-control"] == "private, no-store"
        assert response.headers["content-disposition"] == 'attachment; filename="a.txt"'
        assert (await files.get(link["url"], headers={"Range": "bytes=1-2"})).content == b"el"
        assert (await files.get(f"/files/{file['id']}")).status_code == 404

    @pytest.mark.parametrize("change", ["token", "id", "none", "long"])
    async def test_wrong_link_is_refused(self, files: httpx.AsyncClient, change: str) -> None:
        person = Person(files)
        link = await shared(person, (await person.upload())["id"])
        other = await shared(person, (await person.upload())["id"])
        wrong = {
            "token": f"/files/shared/{link['id']}?token={other['url'].partition('=')[2]}",
            "id": link["url"].replace(link["id"], new_id()),
            "none": f"/files/shared/{link['id']}",
            "long": link["url"] + "x" * 100,
        }[change]
        response = await files.get(wrong)

        assert response.status_code == (404 if change in ("token", "id") else 422)

    async def test_impersonating_admin_shares_nothing_and_changes_no_visibility(
        self, disk_files: httpx.AsyncClient
    ) -> None:
        owner_id = new_id()
        person = Person(disk_files, owner_id)
        file = await person.upload(visibility="private")
        acting = Person(disk_files, owner_id)
        acting.headers = bearer(token(owner_id, act={"sub": new_id()}))
        path = f"/files/{file['id']}"
        public = {"visibility": "public"}
        described = "filename YS50eHQ=,visibility cHVibGlj"  # a.txt, public
        resumable = {"Tus-Resumable": "1.0.0", "Upload-Length": "1", "Upload-Metadata": described}
        refused = [
            await disk_files.post(f"{path}/shares", json={}, headers=acting.headers),
            await disk_files.patch(path, json=public, headers=acting.headers),
            await disk_files.put(path, json=public, headers=acting.headers),
            await disk_files.post("/files", files={"file": b"x"}, data=public, headers=acting.headers),
            await disk_files.post("/files/uploads", headers=acting.headers | resumable),
        ]

        assert [(one.status_code, one.json()["code"]) for one in refused] == [(403, "impersonated")] * 5
        assert (await acting.get(f"{path}/metadata")).json()["visibility"] == "private"
        assert (await acting.get(f"{path}/shares")).json() == []
        assert (await acting.change(file["id"], name="b.bin", visibility="private")).status_code == 200

    async def test_only_a_hash_of_the_token_is_stored(
        self, disk_files: httpx.AsyncClient, disk_settings: Settings
    ) -> None:
        person = Person(disk_files)
        link = await shared(person, (await person.upload())["id"])
        engine = create_engine(disk_settings.database_url)
        with engine.connect() as connection:
            kept = [
                *connection.execute(text("SELECT * FROM shares")),
                *connection.execute(text("SELECT body FROM outbox")),
            ]
        engine.dispose()

        assert len(kept) >= 2
        assert link["url"].partition("=")[2] not in str(kept)

    async def test_token_is_not_logged(
        self, files: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
    ) -> None:
        person = Person(files)
        link = await shared(person, (await person.upload())["id"])
        await files.get(link["url"])
        logged = capsys.readouterr()

        assert "/files/shared/" in logged.out
        assert link["url"].partition("=")[2] not in logged.out + logged.err

    async def test_link_stops_working_when_it_expires(
        self, files: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        person = Person(files)
        file = await person.upload()
        link = await shared(person, file["id"], hours=2)
        later = now() + timedelta(hours=1.9)
        monkeypatch.setattr(shares, "now", lambda: later)
        before = await files.get(link["url"])
        latest = now() + timedelta(hours=2.1)
        monkeypatch.setattr(shares, "now", lambda: latest)

        assert (before.status_code, (await files.get(link["url"])).status_code) == (200, 404)
        assert (await person.get(f"/files/{file['id']}/shares")).json() == []

    async def test_link_stops_working_when_its_owner_revokes_it(self, files: httpx.AsyncClient) -> None:
        person = Person(files)
        file = await person.upload()
        link = await shared(person, file["id"])
        path = f"/files/{file['id']}/shares/{link['id']}"
        stranger = await Person(files).delete(path)
        revoked, again = await person.delete(path), await person.delete(path)

        assert [one.status_code for one in (stranger, revoked, again)] == [404, 204, 404]
        assert (await files.get(link["url"])).status_code == 404

    async def test_link_stops_working_when_the_file_is_deleted(self, files: httpx.AsyncClient) -> None:
        person = Person(files)
        file = await person.upload()
        link = await shared(person, file["id"])
        await person.delete(f"/files/{file['id']}")
        in_trash = await files.get(link["url"])
        await files.post(f"/files/trash/{file['id']}/restore", headers=person.headers)
        restored = await files.get(link["url"])
        for path in ("/files", "/files/trash"):
            await person.delete(f"{path}/{file['id']}")

        gone = await files.get(link["url"])
        assert [one.status_code for one in (in_trash, restored, gone)] == [404, 200, 404]


class TestCount:
    async def test_link_stops_working_after_its_downloads(self, files: httpx.AsyncClient) -> None:
        person = Person(files)
        file = await person.upload()
        link = await shared(person, file["id"], downloads_max=3)
        assert (await files.head(link["url"])).status_code == 200
        answers = await asyncio.gather(*(files.get(link["url"]) for _ in range(10)))

        assert sorted(one.status_code for one in answers) == [200] * 3 + [404] * 7
        assert (await person.get(f"/files/{file['id']}/shares")).json() == []

    async def test_ranges_are_ignored_when_downloads_are_counted(self, files: httpx.AsyncClient) -> None:
        person = Person(files)
        link = await shared(person, (await person.upload(b"hello"))["id"], downloads_max=1)
        response = await files.get(link["url"], headers={"Range": "bytes=1-"})

        assert (response.status_code, response.content) == (200, b"hello")
        assert response.headers["accept-ranges"] == "none"
        assert (await files.get(link["url"])).status_code == 404


@pytest.mark.parametrize(
    "body",
    [{"hours": 0}, {"hours": -1}, {"hours": 10**6}, {"downloads_max": 0}, {"downloads_max": 1.5}, {"x": 1}],
)
async def test_malformed_input_is_rejected_with_422(files: httpx.AsyncClient, body: dict[str, Any]) -> None:
    person = Person(files)
    file = await person.upload()
    response = await files.post(f"/files/{file['id']}/shares", json=body, headers=person.headers)

    assert response.status_code == 422


async def test_only_the_owner_creates_and_lists_links(files: httpx.AsyncClient) -> None:
    person, stranger = Person(files), Person(files)
    file = await person.upload(visibility="public")
    await shared(person, file["id"])
    path = f"/files/{file['id']}/shares"

    assert (await files.post(path, json={})).status_code == 401
    assert (await files.post(path, json={}, headers=stranger.headers)).status_code == 404
    assert (await stranger.get(path)).status_code == 404
    assert len((await person.get(path)).json()) == 1
