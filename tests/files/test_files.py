"""Lists, metadata, changes and the trash, and access to files of others."""

import asyncio
from typing import Any

import httpx
import pytest

from shared.ids import new_id
from tests.files.support import Person

STORAGE = ("sqlite", "postgresql")


def ids(response: httpx.Response) -> list[str]:
    assert response.status_code == 200, response.text
    return [one["id"] for one in response.json()]


class TestList:
    async def test_own_files_are_listed_newest_first(self, files: httpx.AsyncClient) -> None:
        person, other = Person(files), Person(files)
        made = [(await person.upload(name=f"{n}.txt"))["id"] for n in range(3)]
        await other.upload(visibility="public")

        assert ids(await person.get("/files")) == made[::-1]

    async def test_pages_contain_every_file_once(self, files: httpx.AsyncClient) -> None:
        person = Person(files)
        made = [(await person.upload())["id"] for _ in range(5)]
        first = await person.get("/files?limit=2")
        second = await person.get("/files" + first.headers["link"].partition("<")[2].partition(">")[0])

        assert ids(first) + ids(second) == made[:0:-1]

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("name=Ähre.txt", {"Ähre.txt"}),
            ("name=ähre.txt", set()),
            ("search=ähr", {"Ähre.txt"}),
            ("search=STRASSE", {"straße_1.png"}),
            ("search=_1", {"straße_1.png"}),
            ("search=%25", {"100%.txt"}),
            ("type=text/plain", {"Ähre.txt", "100%.txt"}),
            ("type=image/*", {"straße_1.png"}),
            ("visibility=public", {"100%.txt"}),
            ("created_from=2020-01-01T00:00:00Z&search=100", {"100%.txt"}),
            ("created_before=2020-01-01T00:00:00Z", set()),
        ],
    )
    async def test_list_contains_files_that_match_all_filters(
        self, files: httpx.AsyncClient, query: str, found: set[str]
    ) -> None:
        person = Person(files)
        await person.upload(name="Ähre.txt")
        await person.upload(name="straße_1.png")
        await person.upload(name="100%.txt", visibility="public")
        response = await person.get(f"/files?{query}")

        assert {one["name"] for one in response.json()} == found

    @pytest.mark.parametrize(
        "query",
        [
            "type=x",
            "visibility=all",
            "created_from=now",
            "created_from=2020-01-01T00:00:00",
            "created_from=0001-01-01T00:00:00%2B14:00",
            "created_before=9999-12-31T23:59:59-12:00",
            "q=x",
        ],
    )
    async def test_malformed_input_is_rejected_with_422(self, files: httpx.AsyncClient, query: str) -> None:
        assert (await Person(files).get(f"/files?{query}")).status_code == 422

    @pytest.mark.parametrize("query", ["name=a%00b", "search=%00"])
    async def test_filter_with_nul_is_rejected_with_422(self, files: httpx.AsyncClient, query: str) -> None:
        assert (await files.get(f"/files/visible?{query}")).status_code == 422

    async def test_request_without_token_is_rejected_with_401(self, files: httpx.AsyncClient) -> None:
        assert (await files.get("/files")).status_code == 401

    async def test_visible_files_are_public_files_and_own_files(self, files: httpx.AsyncClient) -> None:
        person, other = Person(files), Person(files)
        private = await person.upload()
        public = await person.upload(visibility="public")
        shown = await other.upload(visibility="public")

        assert ids(await files.get("/files/visible")) == [shown["id"], public["id"]]
        assert ids(await person.get("/files/visible")) == [shown["id"], public["id"], private["id"]]


class TestChange:
    async def test_change_is_shown_afterwards(self, files: httpx.AsyncClient) -> None:
        person = Person(files)
        file = await person.upload()
        changed = await person.change(
            file["id"], name="b\u0308.txt", visibility="public", metadata={"a": [1, "\u0000"]}
        )

        assert changed.status_code == 200
        assert changed.json() == file | {
            "name": "b\u0308.txt",
            "visibility": "public",
            "metadata": {"a": [1, "\u0000"]},
            "version": 2,
            "updated": changed.json()["updated"],
        }
        assert (await files.get(f"/files/{file['id']}")).content == b"content"

    async def test_second_change_of_one_version_is_rejected_with_412(self, files: httpx.AsyncClient) -> None:
        person = Person(files)
        file = await person.upload()
        headers = person.headers | {"If-Match": '"1"'}
        codes = [
            (await files.patch(f"/files/{file['id']}", json={"name": name}, headers=headers)).status_code
            for name in ("x", "y")
        ]

        assert codes == [200, 412]

    @pytest.mark.parametrize(
        "change",
        [
            {},
            {"name": None},
            {"name": 7},
            {"visibility": "secret"},
            {"metadata": []},
            {"size": 1},
            {"user_id": new_id()},
            {"state": "ready"},
        ],
    )
    async def test_malformed_input_is_rejected_with_422(
        self, files: httpx.AsyncClient, change: dict[str, Any]
    ) -> None:
        person = Person(files)
        file = await person.upload()

        assert (await person.change(file["id"], **change)).status_code == 422


class TestTrash:
    async def test_deleted_file_can_be_restored(self, files: httpx.AsyncClient) -> None:
        person = Person(files)
        file = await person.upload(visibility="public")
        assert (await person.delete(f"/files/{file['id']}")).status_code == 204

        assert ids(await person.get("/files")) == ids(await files.get("/files/visible")) == []
        for path in (f"/files/{file['id']}", f"/files/{file['id']}/metadata"):
            assert (await person.get(path)).status_code == (await files.get(path)).status_code == 404
        (trashed,) = (await person.get("/files/trash")).json()
        assert trashed["id"] == file["id"]
        assert trashed["trashed"] > file["created"]

        restored = await files.post(f"/files/trash/{file['id']}/restore", headers=person.headers)
        assert restored.status_code == 200
        assert (await person.download(file["id"])).content == b"content"
        assert ids(await person.get("/files/trash")) == []

    async def test_only_files_in_the_trash_are_deleted_permanently(self, files: httpx.AsyncClient) -> None:
        person = Person(files)
        file = await person.upload()
        too_early = await person.delete(f"/files/trash/{file['id']}")
        await person.delete(f"/files/{file['id']}")
        gone = await person.delete(f"/files/trash/{file['id']}")
        again = await person.delete(f"/files/trash/{file['id']}")

        assert [one.status_code for one in (too_early, gone, again)] == [404, 204, 404]

    async def test_concurrent_deletions_free_the_quota_once(self, files: httpx.AsyncClient) -> None:
        person = Person(files)
        file = await person.upload()
        await person.delete(f"/files/{file['id']}")
        path = f"/files/trash/{file['id']}"
        codes = [one.status_code for one in await asyncio.gather(*(person.delete(path) for _ in range(5)))]

        assert sorted(codes) == [204, 404, 404, 404, 404]
        assert (await person.usage())["used"] == (await person.usage())["files"] == 0


class TestAccessOfOthers:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/files/{id}"),
            ("HEAD", "/files/{id}"),
            ("GET", "/files/{id}/metadata"),
            ("PATCH", "/files/{id}"),
            ("DELETE", "/files/{id}"),
            ("POST", "/files/trash/{id}/restore"),
            ("DELETE", "/files/trash/{id}"),
        ],
    )
    @pytest.mark.parametrize("who", ["stranger", "admin", "anonymous"])
    async def test_private_file_of_another_account_looks_nonexistent(
        self, files: httpx.AsyncClient, method: str, path: str, who: str
    ) -> None:
        from shared.testing import bearer, token

        file = await Person(files).upload()
        role = "admin" if who == "admin" else "user"
        headers = {} if who == "anonymous" else bearer(token(role=role))
        body = {"name": "mine.txt"} if method == "PATCH" else None
        conditions = {"If-None-Match": f'"{file["sha256"]}"', "Range": "bytes=0-0"}

        async def attempt(file_id: str) -> tuple[int, dict[str, Any]]:
            response = await files.request(
                method, path.format(id=file_id), json=body, headers=headers | conditions
            )
            told = response.json() if response.content else {}
            return response.status_code, {**told, "request_id": None}

        there = await attempt(file["id"])
        assert there == await attempt(new_id())  # indistinguishable from a file that never existed
        assert there[0] in (401, 404)

    async def test_public_file_can_only_be_read(self, files: httpx.AsyncClient) -> None:
        file = await Person(files).upload(visibility="public")
        stranger = Person(files)

        assert (await stranger.download(file["id"])).content == b"content"
        assert (await files.get(f"/files/{file['id']}/metadata")).json()["name"] == "a.bin"
        assert (await stranger.change(file["id"], name="b")).status_code == 404
        assert (await stranger.delete(f"/files/{file['id']}")).status_code == 404

    async def test_same_content_of_two_accounts_counts_twice(self, files: httpx.AsyncClient) -> None:
        """The quota that an upload uses must not reveal whether others have the same content."""
        first, second = Person(files), Person(files)
        await first.upload(b"the same")
        await second.upload(b"the same")

        assert (await first.usage())["used"] == (await second.usage())["used"] == 8
