"""Uploads of whole folders: resumed after a kill, refused before the content is sent, finished once."""

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from services.terminal.errors import Exists, Finishing
from services.terminal.workspace import batches
from services.terminal.workspace.batches import Writer
from services.terminal.workspace.tree import Tree
from tests import support
from tests.terminal.support import Owner, Service
from tests.terminal.test_files import get, names, put

BATCHES = "/terminal/files/batches"
SPAN = 500  # files per request


async def begin(owner: Owner, sizes: dict[str, int], **more: Any) -> Any:
    entries = [{"path": path, "size": size} for path, size in sizes.items()]
    return await owner.client.post(BATCHES, json={"entries": entries, **more})


async def send(owner: Owner, batch: str, first: int, contents: Sequence[bytes]) -> int:
    query = {"first": first, "count": len(contents)}
    body = b"".join(contents)
    response = await owner.client.put(f"{BATCHES}/{batch}/content", params=query, content=body)
    return response.status_code


async def test_batch_appears_at_its_finish_and_not_before(owner: Owner) -> None:
    files = {"src/a.txt": b"one", "src/empty": b"", "日本/b": b"two", "c": b"three"}
    begun = await begin(owner, {path: len(content) for path, content in files.items()}, destination="project")
    assert begun.status_code == 201, begun.text
    batch = begun.json()
    assert (batch["entries"], batch["bytes"], batch["missing"]) == (4, 11, [[0, 3]])
    assert await send(owner, batch["id"], 1, [b"", b"two"]) == 204
    shown = (await owner.client.get(f"{BATCHES}/{batch['id']}")).json()
    assert shown["missing"] == [[0, 0], [3, 3]]
    early = await owner.client.post(f"{BATCHES}/{batch['id']}/finish")
    assert (early.status_code, early.json()["code"]) == (409, "incomplete")
    assert await names(owner) == []
    assert await send(owner, batch["id"], 0, [b"one"]) == 204
    assert await send(owner, batch["id"], 3, [b"three"]) == 204
    finished = await owner.client.post(f"{BATCHES}/{batch['id']}/finish")
    assert (finished.status_code, finished.json()) == (201, {"files": 4})
    for path, content in files.items():
        assert (await get(owner, f"project/{path}")).content == content
    assert (await owner.client.get(f"{BATCHES}/{batch['id']}")).status_code == 404


async def test_body_of_an_unannounced_length_is_refused_and_complete_entries_stay(owner: Owner) -> None:
    batch = (await begin(owner, {"a": 3, "b": 3})).json()["id"]
    query = {"first": 0, "count": 2}
    for body, missing in ((b"onetw", [[1, 1]]), (b"onetwothree", [])):
        response = await owner.client.put(f"{BATCHES}/{batch}/content", params=query, content=body)
        assert (response.status_code, response.json()["code"]) == (400, "bad_request")
        assert (await owner.client.get(f"{BATCHES}/{batch}")).json()["missing"] == missing
    assert await send(owner, batch, 1, [b"x", b"y"]) == 422


async def test_conflicts_and_lack_of_space_are_reported_before_the_content(owner: Owner) -> None:
    await put(owner, "old", b"old")
    refused = await begin(owner, {"new": 1, "old": 3})
    assert (refused.status_code, refused.json()["code"]) == (409, "exists")
    assert refused.json()["conflicts"] == ["old"]
    full = await begin(owner, {"large": 11 << 20})
    assert (full.status_code, full.json()["code"]) == (507, "home_full")
    batch = (await begin(owner, {"old": 3}, overwrite=True)).json()["id"]
    assert await send(owner, batch, 0, [b"new"]) == 204
    assert (await owner.client.post(f"{BATCHES}/{batch}/finish")).status_code == 201
    assert (await get(owner, "old")).content == b"new"


async def test_malformed_or_foreign_batch_is_refused(owner: Owner, service: Service) -> None:
    for sizes in ({"../x": 1}, {"a//b": 1}, {"": 1}, {"a": -1}, {}):
        assert (await begin(owner, sizes)).status_code == 422
    batch = (await begin(owner, {"a": 1})).json()["id"]
    async with Owner(service.url) as other:
        assert (await other.client.get(f"{BATCHES}/{batch}")).status_code == 404
        assert await send(other, batch, 0, [b"x"]) == 404
        assert (await other.client.post(f"{BATCHES}/{batch}/finish")).status_code == 404
        assert (await other.client.delete(f"{BATCHES}/{batch}")).status_code == 404
    assert (await owner.client.delete(f"{BATCHES}/{batch}")).status_code == 204
    assert (await owner.client.get(f"{BATCHES}/{batch}")).status_code == 404
    for _ in range(20):
        assert (await begin(owner, {"a": 1})).status_code == 201
    assert (await begin(owner, {"a": 1})).json()["code"] == "too_many_entries"


def test_interrupted_finish_continues_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    paths = [(f"folder/{number}", 1) for number in range(10)]
    with Tree(tmp_path / "home", tmp_path / "area") as tree:
        batch = batches.begin(tree, (), paths, overwrite=False).id
        writer = Writer(tree, batch, 0, 10)
        writer.write([b"0123456789"])
        assert writer.close()
        place, placed = Tree.place, 0

        def dies(*arguments: Any, **options: Any) -> Any:
            nonlocal placed
            placed += 1
            if placed == 6:
                raise KeyboardInterrupt
            return place(*arguments, **options)

        monkeypatch.setattr(Tree, "place", dies)
        with pytest.raises(KeyboardInterrupt):
            batches.finish(tree, batch)
        with pytest.raises(Finishing):
            Writer(tree, batch, 0, 1)
        assert batches.finish(tree, batch) == 10
    files = {one.name: one.read_text() for one in (tmp_path / "home/folder").iterdir()}
    assert files == {str(number): str(number) for number in range(10)}


def test_file_that_appeared_before_the_finish_is_kept_and_reported(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    with Tree(tmp_path / "home", tmp_path / "area") as tree:
        batch = batches.begin(tree, (), [("a", 1), ("b", 1)], overwrite=False).id
        writer = Writer(tree, batch, 0, 2)
        writer.write([b"xy"])
        writer.close()
        (tmp_path / "home/a").write_text("of a shell")
        with pytest.raises(Exists) as caught:
            batches.finish(tree, batch)
        assert caught.value.extensions == {"conflicts": ["a"]}
        assert (tmp_path / "home/b").read_text() == "y"
        (tmp_path / "home/a").unlink()
        batches.finish(tree, batch)
    assert (tmp_path / "home/a").read_text() == "x"


@pytest.mark.prove
async def test_13000_files_are_uploaded_although_the_service_is_killed_in_the_middle(
    tmp_path: Path,
) -> None:
    service = Service(tmp_path)
    contents = [os.urandom(number % 1500) for number in range(13_000)]
    paths = [f"folder{number % 97}/below/file{number}.bin" for number in range(13_000)]
    try:
        service.start()
        async with Owner(service.url) as owner:
            started = time.monotonic()
            sizes = {path: len(content) for path, content in zip(paths, contents, strict=True)}
            batch = (await begin(owner, sizes)).json()["id"]
            for first in range(0, 6_000, SPAN):
                assert await send(owner, batch, first, contents[first : first + SPAN]) == 204
            await asyncio.to_thread(service.kill)
            await asyncio.to_thread(service.start)
            missing = (await owner.client.get(f"{BATCHES}/{batch}")).json()["missing"]
            assert missing == [[6_000, 12_999]]
            for first in range(6_000, 13_000, SPAN):
                assert await send(owner, batch, first, contents[first : first + SPAN]) == 204
            finished = await owner.client.post(f"{BATCHES}/{batch}/finish")
            assert finished.json() == {"files": 13_000}
            seconds = time.monotonic() - started
            home = tmp_path / "terminal/homes" / owner.user_id
            for path, content in zip(paths, contents, strict=True):
                assert (home / path).read_bytes() == content
            listed = await owner.client.get("/terminal/files", params={"depth": "all"})
            assert len(listed.json()) == 13_000 + 97 * 2
            print(f"13,000 files, {sum(map(len, contents))} bytes, one kill: {seconds:.1f} s")
    finally:
        await asyncio.to_thread(service.close)
    assert support.eventually(lambda: not service.holders(), seconds=5)
