"""A process that is killed at any step leaves a complete file or none, and no reserved quota."""

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import h11
import httpx
import pytest
from sqlalchemy import create_engine, text, update
from sqlalchemy.engine import make_url

from services.files.models import BLOBS, WORK, BlobState
from services.files.settings import Settings
from shared.clock import now
from shared.data.database import Database
from shared.testing import bearer, token
from tests.databases import migrate
from tests.files.dying import STEPS
from tests.shared.processes import forked, service_environment
from tests.support import eventually, free_port

pytestmark = pytest.mark.prove

CONTENT = b"some bytes " * 200_000
SECONDS = 20.0
PURGING = ("purging", "removing", "removed")
PIECES = [step for step in STEPS if step.startswith("piece")]
UPLOADING = [step for step in STEPS if step not in (*PURGING, *PIECES)]
PIECE = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}


class Place:
    """A directory and a database that outlive the processes that use them."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder = folder
        self.database_url = database_url
        self.headers = bearer(token())

    @contextmanager
    def service(self, *command: str) -> Iterator[httpx.Client]:
        port = free_port()
        migrate(self.database_url, Settings.migrations())
        environment = service_environment(
            self.folder,
            port,
            DATABASE_URL=self.database_url,
            SWEEP_SECONDS="0.1",
            ORPHAN_SECONDS="1",  # shorter could remove a file whose row is about to be written
            COMPARE_HOURS="0.00001",
        )
        with (
            forked(*command, environment=environment),
            httpx.Client(
                base_url=f"http://127.0.0.1:{port}", headers=self.headers, timeout=SECONDS
            ) as client,
        ):
            assert eventually(lambda: answers(client), seconds=SECONDS)
            yield client

    def upload(self, client: httpx.Client) -> httpx.Response:
        return client.post("/files", files={"file": ("a.bin", CONTENT)})

    def stored(self) -> list[Path]:
        return [file for file in (self.folder / "files").rglob("*") if file.is_file()]

    def rows(self, table: str) -> list[Mapping[str, Any]]:
        url = make_url(self.database_url)
        engine = create_engine(url.set(drivername="postgresql+psycopg") if "postgres" in str(url) else url)
        with engine.connect() as connection:
            found = connection.execute(text(f"SELECT * FROM {table}")).mappings().all()
        engine.dispose()
        return [dict(row) for row in found]

    def end_leases(self) -> None:
        """Let the leases of a dead process end, as time would: those of its uploads, and of its sweep."""
        past, uploads = now() - timedelta(seconds=1), BLOBS.c.state == BlobState.ARRIVING
        with closing(Database(self.database_url)) as database, database.transaction() as session:
            session.connection().execute(update(BLOBS).where(uploads).values(until=past))
            session.connection().execute(update(WORK.work).values(due=past, lease=None))

    def is_in_order(self, files: int) -> bool:
        """Whether rows, blobs and usage agree on this number of files."""
        (usage,) = self.rows("usage")
        blobs = self.rows("blobs")
        return (
            len(self.stored()) == len(self.rows("files")) == len(blobs) == files
            and all(blob["state"] == "kept" for blob in blobs)
            and (usage["used"], usage["reserved"], usage["files"]) == (files * len(CONTENT), 0, files)
        )


def answers(client: httpx.Client) -> bool:
    with suppress(httpx.TransportError):
        return client.get("/health/live").status_code == 200
    return False


@pytest.fixture
def place(tmp_path: Path, database_url: str) -> Place:
    return Place(tmp_path, database_url)


@pytest.mark.parametrize("step", UPLOADING)
def test_kill_during_an_upload_leaves_a_complete_file_or_none(place: Place, step: str) -> None:
    with place.service("tests.files.dying", step) as client, pytest.raises(httpx.TransportError):
        place.upload(client)
    place.end_leases()

    left = 1 if step == "committed" else 0
    with place.service("services.files") as client:
        assert eventually(lambda: place.is_in_order(left), seconds=SECONDS), place.rows("blobs")
        listed = client.get("/files").json()
        assert len(listed) == left
        for file in listed:
            assert client.get(f"/files/{file['id']}").content == CONTENT
        again = place.upload(client)
        assert again.status_code == 201
        assert client.get(again.headers["location"]).content == CONTENT


@pytest.mark.parametrize("step", PURGING)
def test_kill_during_a_permanent_deletion_leaves_all_of_the_file_or_nothing(place: Place, step: str) -> None:
    with place.service("services.files") as client:
        file = place.upload(client).json()["id"]
        kept = place.upload(client).json()["id"]
        assert client.delete(f"/files/{file}").status_code == 204

    with place.service("tests.files.dying", step) as client:
        with suppress(httpx.TransportError):
            client.delete(f"/files/trash/{file}")
        assert eventually(lambda: not answers(client), seconds=SECONDS)
    place.end_leases()

    with place.service("services.files") as client:
        if step == "purging":  # the process died first, as if nothing had been requested
            assert client.delete(f"/files/trash/{file}").status_code == 204
        assert client.delete(f"/files/trash/{file}").status_code == 404
        assert eventually(lambda: place.is_in_order(1), seconds=SECONDS), place.rows("blobs")
        assert client.get(f"/files/{kept}").content == CONTENT


@pytest.mark.parametrize("step", PIECES)
def test_kill_during_a_resumable_upload_loses_no_confirmed_byte(place: Place, step: str) -> None:
    """The upload continues at the confirmed offset, and ends with exactly the announced bytes."""
    with place.service("services.files") as client:
        created = client.post(
            "/files/uploads",
            headers=PIECE | {"Upload-Length": str(len(CONTENT)), "Upload-Metadata": "filename YQ=="},
            content=CONTENT[:1000],
        )
        address = created.headers["location"]

    with place.service("tests.files.dying", step) as client, pytest.raises(httpx.TransportError):
        client.patch(address, headers=PIECE | {"Upload-Offset": "1000"}, content=CONTENT[1000:])

    with place.service("services.files") as client:
        offset = int(client.head(address, headers=PIECE).headers["upload-offset"])
        assert offset in (1000, len(CONTENT))
        if offset < len(CONTENT):
            rest = client.patch(address, headers=PIECE | {"Upload-Offset": "1000"}, content=CONTENT[1000:])
            assert rest.status_code == 204
        (file,) = client.get("/files").json()
        assert client.get(f"/files/{file['id']}").content == CONTENT
        assert eventually(lambda: place.is_in_order(1), seconds=SECONDS), place.rows("blobs")


def test_new_request_at_another_replica_takes_over(tmp_path: Path) -> None:
    place = Place(tmp_path, f"sqlite:///{tmp_path}/files.db")
    with place.service("services.files") as here, place.service("services.files") as there:
        created = here.post(
            "/files/uploads", headers=PIECE | {"Upload-Length": "2000", "Upload-Metadata": "filename YQ=="}
        )
        address = created.headers["location"]
        may_continue, has_begun = threading.Event(), threading.Event()

        def stuck() -> Iterator[bytes]:
            yield b"x" * 1000
            has_begun.set()
            may_continue.wait(SECONDS)

        with ThreadPoolExecutor(1) as pool:
            headers = PIECE | {"Upload-Offset": "0", "Content-Length": "2000"}
            dead = pool.submit(here.patch, address, headers=headers, content=stuck())
            assert has_begun.wait(SECONDS)
            kept, last = continue_upload(there, address, b"y" * 2000)
            if last.status_code == 409:  # the first bytes were read between the request and its response
                kept, last = continue_upload(there, address, b"y" * 2000)
            may_continue.set()
            with suppress(h11.LocalProtocolError):  # the response came before the request was sent completely
                assert dead.result().status_code == 409

        assert last.status_code == 204, last.text
        assert there.get(last.headers["content-location"]).content == b"x" * kept + b"y" * (2000 - kept)


def continue_upload(client: httpx.Client, address: str, content: bytes) -> tuple[int, httpx.Response]:
    """Continue like a client after an interruption: request the offset, and send the rest."""
    offset = int(client.head(address, headers=PIECE).headers["upload-offset"])
    headers = PIECE | {"Upload-Offset": str(offset)}
    return offset, client.patch(address, headers=headers, content=content[offset:])
