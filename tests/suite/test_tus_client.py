"""Uploads with tus-js-client through the gateway: in parts, with pauses, and with killed processes."""

import asyncio
import hashlib
import os
import random
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests import support
from tests.suite.accounts import Person, register
from tests.suite.conftest import Suite

pytestmark = pytest.mark.prove

PACKAGE = "tus-js-client@4.3.1"
SCRIPT = Path(__file__).with_name("tus_client.cjs")
MIB = 1 << 20
SIZE = 24 * MIB + 12_345
SECONDS = 120


@pytest.fixture(scope="session")
def client_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which the client is installed."""
    folder = tmp_path_factory.mktemp("tus-js-client")
    support.install_from_npm(folder, PACKAGE)
    return folder


@pytest.fixture(scope="session")
def content(client_folder: Path) -> Path:
    file = client_folder / "日本 %.bin"
    file.write_bytes(random.Random(7).randbytes(SIZE))
    return file


@contextmanager
def uploading(
    suite: Suite, person: Person, folder: Path, file: Path, *, chunk: int, parts: int = 1, pauses: int = 0
) -> Iterator["subprocess.Popen[str]"]:
    (node,) = support.need("node")
    token = person.headers["Authorization"].removeprefix("Bearer ")
    words = [f"{suite.url}/files/uploads", str(file), str(chunk), str(parts), str(pauses)]
    process = subprocess.Popen(
        [node, str(SCRIPT), *words],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "TOKEN": token},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def lines(process: "subprocess.Popen[str]") -> list[str]:
    """Return the remaining output of a client that must succeed."""
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, output
    return output.splitlines()


async def assert_arrived(client: httpx.AsyncClient, person: Person, file: Path) -> None:
    """Check that exactly one file exists, with the right name and content."""
    (found,) = (await client.get("/files", headers=person.headers)).json()
    downloaded = await client.get(f"/files/{found['id']}", headers=person.headers)

    assert found["name"] == file.name
    expected = await asyncio.to_thread(file.read_bytes)
    assert hashlib.sha256(downloaded.content).digest() == hashlib.sha256(expected).digest()


@pytest.mark.parametrize(
    ("chunk", "parts", "pauses"), [(MIB, 1, 0), (SIZE, 1, 4), (MIB, 1, 4), (2 * MIB, 3, 0)]
)
async def test_tus_upload_arrives_complete(
    suite: Suite, client_folder: Path, content: Path, chunk: int, parts: int, pauses: int
) -> None:
    async with suite.client() as client:
        person = await register(client)
        options = {"chunk": chunk, "parts": parts, "pauses": pauses}
        with uploading(suite, person, client_folder, content, **options) as process:
            said = lines(process)

        assert (said.count("paused") > 0) == (pauses > 0)
        await assert_arrived(client, person, content)
        usage = (await client.get("/files/usage", headers=person.headers)).json()
        assert (usage["used"], usage["reserved"], usage["files"]) == (SIZE, 0, 1)


@pytest.mark.parametrize("parts", [1, 3])
async def test_tus_upload_arrives_complete_although_processes_are_killed(
    own_suite: Suite, client_folder: Path, content: Path, parts: int
) -> None:
    async with own_suite.client() as client:
        person = await register(client)
        with uploading(own_suite, person, client_folder, content, chunk=MIB, parts=parts) as process:
            assert process.stdout is not None
            victims = ["services.files", "gateway", "services.files"]
            for line in process.stdout:
                words = line.split()
                is_far_enough = words[0] == "progress" and int(words[1]) > SIZE * (4 - len(victims)) / 5
                if victims and is_far_enough:
                    os.kill(own_suite.pid_of(victims.pop()), signal.SIGKILL)
                    if victims:  # wait until it is back before the next kill
                        assert support.eventually(lambda: _is_up(own_suite), seconds=30)
            lines(process)

        assert victims == []
        await assert_arrived(client, person, content)


def _is_up(suite: Suite) -> bool:
    try:
        return httpx.get(f"{suite.url}/files/visible").status_code == 200
    except httpx.TransportError:
        return False
