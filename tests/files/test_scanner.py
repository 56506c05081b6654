"""Content is not served before a ClamAV daemon has found it clean."""

import asyncio
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.files.app import create_app
from services.files.scanning import scanner
from services.files.scanning.clamd import NotScannable, ScannerAway, scan
from services.files.settings import Settings
from services.files.storage.blob_store import Blobs, make_store
from services.files.storage.staging import Staging
from shared.data.database import Database
from shared.process.settings import SettingsError
from shared.testing import running
from tests.files.support import Person
from tests.support import START_SECONDS, eventually, free_port, need

EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
THREAT = "Test.EICAR"
FOUND = f"{THREAT}.UNOFFICIAL"  # clamd's suffix for signatures that are not its own
STREAM_BYTES_MAX = 1 << 20


class Daemon:
    """A real clamd with one signature; it can be paused."""

    def __init__(self, folder: Path) -> None:
        (self._program,) = need("clamd")
        self._port = free_port()
        self.address = f"127.0.0.1:{self._port}"
        self._configuration, self._log = folder / "clamd.conf", folder / "log"
        (folder / "signatures").mkdir()
        (folder / "signatures" / "one.ndb").write_text(f"{THREAT}:0:*:{EICAR.hex()}\n")
        lines = [
            f"DatabaseDirectory {folder}/signatures",
            f"TCPSocket {self._port}",
            "TCPAddr 127.0.0.1",
            f"StreamMaxLength {STREAM_BYTES_MAX}",
            "Foreground yes",
            "User root",  # stays root if root starts it, because no other user can read our directory
        ]
        self._configuration.write_text("\n".join(lines))

    @contextmanager
    def running(self) -> Iterator["Daemon"]:
        with self._log.open("wb") as log:
            command = [self._program, "--config-file", str(self._configuration)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            assert eventually(self._answers, seconds=START_SECONDS), self._log.read_text()
            yield self
        finally:
            self._process.kill()
            self._process.wait()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1) as asking:
            asking.sendall(b"zPING\0")
            return asking.recv(16) == b"PONG\0"
        return False


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("clamd")).running() as running_one:
        yield running_one


@pytest.fixture
def settings(make_files_settings: Callable[..., Settings], tmp_path: Path, daemon: Daemon) -> Settings:
    url = f"sqlite:///{tmp_path}/test.db"
    return make_files_settings(database_url=url, clamav_address=daemon.address)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanner, "LOOK_SECONDS", 0.02)


async def state_of(person: Person, file: dict[str, Any], wanted: str) -> dict[str, Any]:
    """Wait until the file has this state."""
    for _ in range(1000):
        shown: dict[str, Any] = (await person.get(f"/files/{file['id']}/metadata")).json()
        if shown["state"] == wanted:
            return shown
        await asyncio.sleep(0.02)
    pytest.fail(f"it stayed {shown['state']}")


async def test_file_is_not_served_before_it_is_found_clean(files: httpx.AsyncClient, daemon: Daemon) -> None:
    daemon.send(signal.SIGSTOP)
    person = Person(files)
    file = await person.upload(visibility="public")
    early, of_another = await person.download(file["id"]), await files.get(f"/files/{file['id']}")
    daemon.send(signal.SIGCONT)
    await state_of(person, file, "ready")

    assert file["state"] == "scanning"
    assert (early.status_code, early.json()["code"]) == (409, "being_scanned")
    assert of_another.status_code == 409
    assert early.headers["retry-after"] == "2"
    assert (await person.download(file["id"])).content == b"content"


async def test_infected_file_is_not_served(files: httpx.AsyncClient) -> None:
    person = Person(files)
    file = await person.upload(b"padding " * 100_000 + EICAR, visibility="public")
    shown = await state_of(person, file, "infected")
    share = await files.post(f"/files/{file['id']}/shares", json={}, headers=person.headers)

    assert shown["threat"] == FOUND
    for response in (await person.download(file["id"]), await files.get(share.json()["url"])):
        assert (response.status_code, response.json()["code"]) == (409, "infected")
    assert (await person.delete(f"/files/{file['id']}")).status_code == 204


async def test_unscannable_file_does_not_delay_others(files: httpx.AsyncClient) -> None:
    person = Person(files)
    large = await person.upload(b"x" * (STREAM_BYTES_MAX + 1))
    await state_of(person, await person.upload(), "ready")

    assert (await person.download(large["id"])).json()["code"] == "being_scanned"


async def test_files_are_scanned_once_the_daemon_is_reachable(settings: Settings, daemon: Daemon) -> None:
    away = settings.model_copy(update={"clamav_address": "127.0.0.1:9"})
    async with running(create_app, away) as files:
        person = Person(files)
        file = await person.upload()
        assert (await person.download(file["id"])).status_code == 409
    async with running(create_app, settings) as files:
        person.client = files
        await state_of(person, file, "ready")


async def test_shutdown_does_not_wait_for_a_large_file(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begun, may_go_on, pieces_taken = threading.Event(), threading.Event(), 0

    def scan_slowly(_address: str, pieces: Iterator[bytes]) -> None:
        nonlocal pieces_taken
        for _ in pieces:
            pieces_taken += 1
            begun.set()
            assert may_go_on.wait(20)

    unscanned = settings.model_copy(update={"clamav_address": "127.0.0.1:9"})
    async with running(create_app, unscanned) as files:
        await Person(files).upload(b"x" * (2 * scanner.PIECE_BYTES))
    monkeypatch.setattr(scanner, "scan", scan_slowly)
    blobs = Blobs(make_store(settings), Staging(tmp_path / "staging"))
    database = Database(settings.database_url, pool_size=1)
    made = scanner.Scanner(database, blobs, settings)
    [duty] = made.duties
    stopping = threading.Event()
    working = threading.Thread(target=duty.work, args=(stopping.is_set,))
    working.start()
    assert begun.wait(20)
    stopping.set()
    may_go_on.set()
    working.join(20)
    assert not working.is_alive()
    blobs.close()
    database.close()

    assert pieces_taken == 1


def test_scan_reports_clean_infected_and_unscannable_content(daemon: Daemon) -> None:
    assert scan(daemon.address, [b"harm", b"less"]) is None
    assert scan(daemon.address, [EICAR[:10], EICAR[10:]]) == FOUND
    with pytest.raises(NotScannable, match="size limit exceeded"):
        scan(daemon.address, [b"x" * 65_536] * 17)
    for nowhere in ("127.0.0.1:9", "/nowhere/clamd.sock"):
        with pytest.raises(ScannerAway):
            scan(nowhere, [b"x"])


@pytest.mark.parametrize("address", ["clamav", "clamav:", "clamav:http"])
def test_invalid_address_of_the_scanner_is_a_settings_fault(
    address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("CLAMAV_ADDRESS", address)
    with pytest.raises(SettingsError, match="CLAMAV_ADDRESS: must be host:port"):
        Settings.load()
