"""File names that try to be paths, headers, devices or other types."""

import json
import unicodedata

import httpx
import pytest

from services.files.settings import Settings
from tests.files.support import Person, stored

STORAGE = ("sqlite",)
MULTIPART = {"Content-Type": "multipart/form-data; boundary=b"}


async def upload(person: Person, raw_name: bytes) -> httpx.Response:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\n\r\nx\r\n--b--\r\n' % raw_name
    )
    return await person.client.post("/files", content=body, headers=person.headers | MULTIPART)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b"../../etc/passwd", "passwd"),
        (b"..\\..\\windows\\win.ini", "win.ini"),
        (b"/etc/shadow", "shadow"),
        (b"C:\\fake\\a.txt", "a.txt"),
        (b"....//....//x", "x"),
        (b"%2e%2e%2fx", "%2e%2e%2fx"),
        (b"a;b=c.txt", "a;b=c.txt"),
        ("e\u0301te\u0301.txt".encode(), "été.txt"),
        ("👩\u200d💻.txt".encode(), "👩\u200d💻.txt"),
        (b"-rf", "-rf"),
        (b"$(reboot).sh", "$(reboot).sh"),
        (b"'; DROP TABLE files; --", "'; DROP TABLE files; --"),
        (b"x" * 255, "x" * 255),
        (b"CON", "CON"),
        (b".htaccess", ".htaccess"),
        (b"archive.zip::$DATA", "archive.zip::$DATA"),
    ],
)
async def test_only_the_file_name_is_stored(files: httpx.AsyncClient, sent: bytes, kept: str) -> None:
    person = Person(files)
    response = await upload(person, sent)

    assert response.status_code == 201, response.text
    file = response.json()
    assert file["name"] == kept
    assert unicodedata.is_normalized("NFC", file["name"])
    assert (await person.download(file["id"])).content == b"x"


@pytest.mark.parametrize(
    "sent",
    [
        b"..",
        b".",
        b"   ",
        b"a/",
        b"a\\..",
        b"a\x00.txt",
        b"a\x1b[2J.txt",
        b"a\x7f",
        "a\u2028b".encode(),
        "cod\u202eexe.pdf".encode(),
        "a\u2066b".encode(),
        "\ufeffa".encode(),
        "x\u0085".encode(),
        b"x" * 256,
        "ß".encode() * 128,
        ("e" + "\u0301" * 200).encode(),
    ],
)
async def test_unusable_name_is_refused(files: httpx.AsyncClient, sent: bytes) -> None:
    person = Person(files)
    uploaded = await upload(person, sent)
    assert uploaded.status_code in (400, 422), uploaded.text

    file = await person.upload()
    try:
        name = sent.decode()
    except UnicodeDecodeError:
        return
    changed = await person.change(file["id"], name=name)
    assert changed.status_code == 422
    assert changed.json()["errors"][0]["field"] == "name"


@pytest.mark.parametrize("name", ["a/b", "a\\b", "../x", "\ud800", "a\r\nSet-Cookie: x=y"])
async def test_new_name_cannot_be_a_path_or_a_header(files: httpx.AsyncClient, name: str) -> None:
    person = Person(files)
    file = await person.upload()
    body = f'{{"name":{json.dumps(name)}}}'
    changed = await files.patch(
        f"/files/{file['id']}", content=body, headers=person.headers | {"Content-Type": "application/json"}
    )

    assert changed.status_code in (400, 422)
    assert (await person.get(f"/files/{file['id']}/metadata")).json()["name"] == "a.bin"


async def test_names_do_not_reach_the_storage(files: httpx.AsyncClient, settings: Settings) -> None:
    person = Person(files)
    for name in (b"../../x", b"secret-plans.txt", b"CON"):
        await upload(person, name)
    names = stored(settings)

    assert len(names) == 3
    assert all(len(name) == 32 and set(name) <= set("0123456789abcdef") for name in names)
