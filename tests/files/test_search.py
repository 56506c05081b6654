"""Searches use an index that follows every change, and find the same as reading all names."""

from typing import Any

import httpx
import pytest

from shared.lists import pagination
from tests.files.support import Person

STORAGE = ("sqlite", "postgresql")


async def names(who: Person, **query: str) -> list[str]:
    """Return the names on all pages of a list, read by following the links."""
    found: list[str] = []
    address: Any = httpx.URL("/files/visible", params=query)
    while address:
        answer = await who.get(str(address))
        assert answer.status_code == 200, answer.text
        found += [one["name"] for one in answer.json()]
        following = answer.links.get("next", {}).get("url")
        address = following and answer.url.join(following)
    return found


@pytest.fixture
def own(files: httpx.AsyncClient) -> Person:
    return Person(files)


@pytest.fixture
def stranger(files: httpx.AsyncClient) -> Person:
    return Person(files)


@pytest.fixture(params=[500, 2])
def window(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real window, and one so small that every search continues past its end."""
    monkeypatch.setattr(pagination, "WINDOW_ROWS", request.param)


NAMES = ["Report 2025.pdf", "my report.txt", "say (report) AND NOT.txt", "报告.txt", "100%_sure.txt", "ß.md"]


@pytest.mark.usefixtures("window")
@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("REPORT", NAMES[:3]),
        ("ort", NAMES[:3]),
        ("(report)", [NAMES[2]]),
        ('"report"', []),
        ("AND NOT", [NAMES[2]]),
        ("%_s", [NAMES[4]]),
        ("报告", [NAMES[3]]),
        ("ss.", [NAMES[5]]),
        ("s", [NAMES[2], NAMES[4], NAMES[5]]),
        ("roport", []),
        ("report" * 20, []),
    ],
)
async def test_search_finds_every_name_with_the_text_and_no_other(
    own: Person, stranger: Person, search: str, found: list[str]
) -> None:
    for number, name in enumerate(NAMES):
        await own.upload(name=name, visibility="public" if number % 2 else "private")
    await stranger.upload(name="report of somebody else")

    assert await names(own, search=search, limit="1") == found[::-1]


async def test_search_follows_a_new_name_the_trash_and_the_visibility(own: Person, stranger: Person) -> None:
    file_id = (await own.upload(name="before.txt", visibility="public"))["id"]

    await own.change(file_id, name="after.txt")
    assert await names(stranger, search="before") == []
    assert await names(stranger, search="after") == ["after.txt"]

    await own.delete(f"/files/{file_id}")
    assert await names(own, search="after") == []
    await own.client.post(f"/files/trash/{file_id}/restore", headers=own.headers)
    assert await names(own, search="after") == ["after.txt"]

    await own.change(file_id, visibility="private")
    assert await names(stranger, search="after") == []
    assert await names(own, search="after") == ["after.txt"]

    await own.delete(f"/files/{file_id}")
    await own.delete(f"/files/trash/{file_id}")
    assert await names(own, search="after") == []


async def test_name_and_type_filters_are_exact(own: Person) -> None:
    for name in ("Notes.txt", "notes.txt", "notes.txt.txt"):
        await own.upload(b"text", name)

    assert await names(own, name="notes.txt") == ["notes.txt"]
    assert await names(own, name="notes.txt", type="text/plain") == ["notes.txt"]
    assert await names(own, name="notes.txt", search="NOTES", type="text/*") == ["notes.txt"]
    assert await names(own, name="notes.txt", type="image/*") == []
