"""Events and records of the files service, and what it deletes with an account."""

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlmodel import Session

from contracts.events import AccountDeleted, FileChanged, FileDeleted, FileUploaded
from services.files import app
from services.files.events import delete_files_of
from services.files.models import EVENTS
from services.files.settings import Settings
from services.files.uploads import intake, quota
from shared.data.database import Database
from shared.events import Subscriber
from shared.events.event import Sealed
from shared.ids import new_id
from shared.testing import bearer, internal_token, running
from tests.files.support import Person
from tests.files.test_resumable import CONTENT, Uploader
from tests.support import eventually
from tests.told import events, records

STORAGE = ("sqlite", "postgresql")
NOWHERE = "http://127.0.0.1:9"  # the discard port, on which nothing listens


async def tell_deleted(files: httpx.AsyncClient, *user_ids: str) -> None:
    gone = [AccountDeleted(account_id=one, deleted=datetime.now(UTC)) for one in user_ids]
    bodies = ",".join(Sealed("auth", one).body for one in gone)
    headers = bearer(internal_token("files", issuer="auth")) | {"Content-Type": "application/json"}
    told = await files.post("/internal/events", content=f'{{"events":[{bodies}]}}', headers=headers)
    assert told.status_code == 204, told.text


@pytest.fixture
def user_id() -> str:
    return new_id()


class TestRecords:
    async def test_upload_is_recorded_with_name_and_size(
        self, files: httpx.AsyncClient, settings: Settings, user_id: str
    ) -> None:
        file = await Person(files, user_id).upload(b"hello", "document.pdf")

        (record,) = records(settings.database_url, EVENTS)
        assert (record["action"], record["user_id"], record["resource"]) == (
            "FILE_UPLOAD",
            user_id,
            file["id"],
        )
        assert record["metadata"] == {"filename": "document.pdf", "size": 5}
        assert record["outcome"] == "success"

    async def test_resumable_upload_is_one_record(self, files: httpx.AsyncClient, settings: Settings) -> None:
        person = Uploader(files)
        address = await person.begun()
        await person.add(address, 0, CONTENT[:10])
        assert records(settings.database_url, EVENTS) == []

        await person.add(address, 10, CONTENT[10:])
        (record,) = records(settings.database_url, EVENTS)
        assert (record["action"], record["metadata"]["size"]) == ("FILE_UPLOAD", len(CONTENT))
        assert record["resource"] == (await person.get("/files")).json()[0]["id"]

    async def test_refusal_is_recorded_with_its_status(
        self, files: httpx.AsyncClient, settings: Settings
    ) -> None:
        file = await Person(files).upload()
        await Person(files).delete(f"/files/{file['id']}")

        _, refused = records(settings.database_url, EVENTS)
        assert (refused["action"], refused["resource"]) == ("DELETE_FILE", file["id"])
        assert (refused["outcome"], refused["status"]) == ("refused", 404)


async def test_events_of_a_file_are_emitted_in_order(
    settings: Settings, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Subscriber(NOWHERE, FileUploaded, FileChanged, FileDeleted)  # the suite has no subscriber yet
    monkeypatch.setattr(app, "SUBSCRIBERS", {"listener": listener})
    async with running(app.create_app, settings) as files:
        file = await whole_life(Person(files, user_id))

    told = events(settings.database_url, EVENTS)
    assert [one.topic for one in told] == [
        "file.uploaded",
        "file.changed",
        "file.deleted",
        "file.changed",
        "file.deleted",
        "file.deleted",
    ]
    assert {(one.data["file_id"], one.data["user_id"]) for one in told} == {(file["id"], user_id)}
    assert told[0].data["sha256"] == file["sha256"]
    assert told[1].data["name"] == "b.txt"
    assert [one.data["permanent"] for one in (told[2], told[5])] == [False, True]


async def whole_life(person: Person) -> dict[str, Any]:
    """Upload, change and delete a file."""
    await person.send(b"x", "..")  # refused, so no event
    file = await person.upload(b"hello", "a.txt")
    await person.change(file["id"], name="b.txt")
    await person.delete(f"/files/{file['id']}")
    await person.client.post(f"/files/trash/{file['id']}/restore", headers=person.headers)
    await person.delete(f"/files/{file['id']}")
    await person.delete(f"/files/trash/{file['id']}")
    return file


async def test_deletion_of_an_account_deletes_all_its_files(
    files: httpx.AsyncClient, settings: Settings, user_id: str
) -> None:
    person, other = Uploader(files, user_id), Person(files)
    public = await person.upload(visibility="public")
    trashed = await person.upload()
    await person.delete(f"/files/{trashed['id']}")
    address = await person.begun()
    await person.add(address, 0, CONTENT[:10])
    kept = await other.upload()
    await tell_deleted(files, user_id)

    assert (await files.get(f"/files/{public['id']}")).status_code == 404
    assert (await person.get("/files/trash")).json() == (await person.get("/files")).json() == []
    assert (await person.add(address, 10, CONTENT[10:])).status_code == 404
    assert (await person.usage())["used"] == (await person.usage())["reserved"] == 0
    assert (await other.download(kept["id"])).content == b"content"


async def test_deletion_of_an_account_ends_its_uploads(
    files: httpx.AsyncClient, settings: Settings, user_id: str
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx'
        await tell_deleted(files, user_id)
        yield b"y\r\n--b--\r\n"

    person = Person(files, user_id)
    headers = person.headers | {"Content-Type": "multipart/form-data; boundary=b"}
    response = await files.post("/files", content=pieces(), headers=headers)

    assert (response.status_code, response.json()["code"]) == (409, "upload_abandoned")
    assert (await person.get("/files")).json() == []


class TestConcurrentDeletion:
    """On PostgreSQL a request and the deletion run concurrently; the later one must see the other one."""

    STORAGE = ("postgresql",)

    @pytest.mark.parametrize(("module", "step"), [(quota, "reserve"), (intake, "tell_uploaded")])
    async def test_no_file_of_the_account_is_left(
        self,
        files: httpx.AsyncClient,
        settings: Settings,
        user_id: str,
        monkeypatch: pytest.MonkeyPatch,
        module: ModuleType,
        step: str,
    ) -> None:
        work = getattr(module, step)
        database = Database(settings.database_url, pool_size=1)

        def delete_all() -> None:
            with database.transaction() as session:
                delete_files_of(session, [AccountDeleted(account_id=user_id, deleted=datetime.now(UTC))])

        deletion = threading.Thread(target=delete_all)

        def meanwhile(session: Session, *arguments: Any) -> None:
            """Run the step, then start the deletion, which waits for this transaction."""
            work(session, *arguments)
            waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            deletion.start()
            assert eventually(lambda: bool(session.connection().execute(waiting).scalar()), seconds=20)

        async def pieces() -> AsyncIterator[bytes]:
            yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx'
            if step == "reserve":
                await asyncio.to_thread(deletion.join)
            yield b"y\r\n--b--\r\n"

        person = Person(files, user_id)
        await person.upload()
        monkeypatch.setattr(module, step, meanwhile)
        headers = person.headers | {"Content-Type": "multipart/form-data; boundary=b"}
        response = await files.post("/files", content=pieces(), headers=headers)
        deletion.join()
        database.close()

        assert response.status_code == (409 if step == "reserve" else 201)
        assert (await person.get("/files")).json() == []
        assert (await person.usage())["used"] == 0
