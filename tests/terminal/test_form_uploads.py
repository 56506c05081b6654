"""Uploads as a form: limits, and what is left of a form that was refused."""

from pathlib import Path

import pytest

from tests.terminal.support import Owner, Service

DATABASES = ("sqlite", "postgresql")
UPLOAD = "/files/upload"
MIB = 1 << 20


def batches_of(service: Service, owner: Owner) -> list[Path]:
    return [*(service.folder / "terminal" / "homes" / ".areas" / owner.user_id / "batches").glob("*")]


def home_of(service: Service, owner: Owner) -> Path:
    return service.folder / "terminal" / "homes" / owner.user_id


async def paths(owner: Owner) -> list[str]:
    files: list[str] = (await owner.client.get("/list-files")).json()["files"]
    return files


async def test_files_of_a_form_appear_together_and_leave_nothing_else(owner: Owner, service: Service) -> None:
    files = [("files", (name, name.encode() * MIB)) for name in ("a", "b")] + [("files", ("empty", b""))]
    assert (await owner.client.post(UPLOAD, files=files)).status_code == 200
    assert (await owner.client.get("/file/b")).content == b"b" * MIB
    assert await paths(owner) == ["a", "b", "empty"]
    assert batches_of(service, owner) == []


async def test_form_above_a_limit_leaves_nothing_behind(owner: Owner, service: Service) -> None:
    """The service accepts 4 MiB in a request and 10 MiB in a home."""
    large = [("files", (name, b"x" * (3 * MIB))) for name in "ab"]
    refused = await owner.client.post(UPLOAD, files=large)
    assert (refused.status_code, refused.json()["code"]) == (413, "file_too_large")
    fits = {"files": ("1", b"x" * (3 * MIB))}
    for number in range(3):
        assert (
            await owner.client.post(UPLOAD, files=fits, data={"destination": str(number)})
        ).status_code == 200
    full = await owner.client.post(UPLOAD, files=fits, data={"destination": "3"})
    assert (full.status_code, full.json()["code"]) == (507, "home_full")
    many = [("files", (str(number), b"")) for number in range(1001)]
    refused = await owner.client.post(UPLOAD, files=many)
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_form")
    assert await paths(owner) == ["0/", "0/1", "1/", "1/1", "2/", "2/1"]
    assert batches_of(service, owner) == []


async def test_form_that_breaks_off_or_conflicts_stores_nothing(owner: Owner, service: Service) -> None:
    kept = {"files": ("kept", b"1")}
    assert (await owner.client.post(UPLOAD, files=kept)).status_code == 200
    both = [("files", ("new", b"2")), ("files", ("kept", b"2"))]
    refused = await owner.client.post(UPLOAD, files=both)
    assert (refused.status_code, refused.json()["conflicts"]) == (409, ["kept"])
    request = owner.client.build_request("POST", UPLOAD, files=both, data={"overwrite": "true"})
    half = (await request.aread())[:-30]
    headers = {"Content-Type": request.headers["Content-Type"]}
    assert (await owner.client.post(UPLOAD, content=half, headers=headers)).status_code == 400
    assert await paths(owner) == ["kept"]
    assert (await owner.client.get("/file/kept")).content == b"1"
    assert batches_of(service, owner) == []


async def test_decomposed_names_are_those_of_the_files_stored_for_them(
    owner: Owner, service: Service
) -> None:
    files = {"files": ("cafe\u0301/noe\u0308l", b"1")}
    for number in range(2):
        answer = await owner.client.post("/files/upload-folder", files=files, data={"overwrite": "true"})
        assert answer.status_code == 200, number
    refused = await owner.client.post("/files/upload-folder", files=files)
    assert (refused.status_code, refused.json()["conflicts"]) == (409, ["cafe\u0301/noe\u0308l"])
    twice = [("files", (name, b"2")) for name in ("noe\u0308l", "no\u00ebl")]
    refused = await owner.client.post("/files/upload", files=twice)
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_request")
    assert await paths(owner) == ["caf\u00e9/", "caf\u00e9/no\u00ebl"]
    assert batches_of(service, owner) == []


@pytest.mark.parametrize(
    ("path", "sent", "refusal"),
    [
        ("/upload", ["a.txt", "src", "z"], (409, "wrong_kind")),
        ("/upload", ["a.txt", "link", "z"], (409, "wrong_kind")),
        ("/upload-folder", ["a.txt", "notes/x"], (409, "wrong_kind")),
        ("/upload-folder", ["a.txt", "new/x", "new"], (400, "bad_request")),
        ("/files/upload-folder", ["new", "new.txt", "new/x/y"], (400, "bad_request")),
    ],
)
async def test_form_with_a_path_that_cannot_be_placed_stores_nothing(
    owner: Owner, service: Service, path: str, sent: list[str], refusal: tuple[int, str]
) -> None:
    for name in ("a.txt", "notes"):
        assert (await owner.client.put(f"/file/{name}", content=b"old")).status_code == 200
    assert (await owner.client.post("/file/src/")).status_code == 200
    home_of(service, owner).joinpath("link").symlink_to("a.txt")
    before = await paths(owner)
    assert len(before) == 4
    refused = await owner.client.post(path, files=[("files", (name, b"new")) for name in sent])
    assert (refused.status_code, refused.json()["code"]) == refusal
    for name in ("a.txt", "notes"):
        assert (await owner.client.get(f"/file/{name}")).content == b"old"
    assert await paths(owner) == before
    assert batches_of(service, owner) == []


async def test_impersonated_or_limited_callers_change_no_file(owner: Owner, service: Service) -> None:
    async with Owner(service.url, user_id=owner.user_id, client_id="c", scope="workspace:read") as reader:
        assert (await reader.client.get("/list-files")).status_code == 200
        for method, path in (("POST", UPLOAD), ("PUT", "/file/a"), ("DELETE", "/file/a"), ("POST", "/move")):
            assert (await reader.client.request(method, path)).status_code == 403
