"""A busy suite is backed up, lost and restored; nothing acknowledged before the backup is missing."""

import asyncio
import os
import random
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests import support
from tests.gatehouse.test_backup_files import contents
from tests.suite.accounts import LAPTOP, register, sign_in_admin
from tests.suite.conftest import ROOT, Suite, postgresql_databases, running_suite

pytestmark = [pytest.mark.prove, pytest.mark.long(1)]

PASSPHRASE = "a passphrase of the tests"
SECONDS = 120
PAUSE_SECONDS = 0.05  # of a writer, so that the backup gets its share of a busy machine


@dataclass
class Writers:
    """People who register, order and upload until they are stopped; what was acknowledged is remembered."""

    suite: Suite
    accounts: dict[str, dict[str, str]] = field(default_factory=dict)
    orders: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    async def write(self) -> None:
        async with self.suite.client() as client:
            while True:
                person = await register(client)
                self.accounts[person.id] = person.headers
                for number in range(3):
                    ordered = await client.post("/orders", json=LAPTOP, headers=person.headers)
                    assert ordered.status_code == 201, ordered.text
                    self.orders[ordered.json()["id"]] = person.id
                    content = {"file": (f"{number}.txt", f"{person.id} {number}".encode())}
                    sent = await client.post("/files", files=content, headers=person.headers)
                    assert sent.status_code == 201, sent.text
                    self.files[sent.json()["id"]] = person.id
                    await asyncio.sleep(PAUSE_SECONDS)

    def acknowledged(self) -> "Writers":
        return Writers(self.suite, dict(self.accounts), dict(self.orders), dict(self.files))


@asynccontextmanager
async def writing(suite: Suite, people: int) -> AsyncIterator[Writers]:
    writers = Writers(suite)
    tasks = [asyncio.create_task(writers.write()) for _ in range(people)]
    try:
        yield writers
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(ended, asyncio.CancelledError), ended


def command(suite: Suite, *words: str, **more: str) -> list[Any]:
    environment = {**suite.environment, "BACKUP_PASSPHRASE": PASSPHRASE, **more}
    return [[sys.executable, "-m", "gatehouse", *words], {"cwd": ROOT, "env": environment, "text": True}]


def run(suite: Suite, *words: str, code: int = 0, more: dict[str, str] | None = None) -> str:
    arguments, options = command(suite, *words, **(more or {}))
    done = subprocess.run(arguments, **options, capture_output=True, timeout=SECONDS, check=False)
    assert done.returncode == code, (done.stdout, done.stderr)
    return str(done.stdout if code == 0 else done.stderr)


@pytest.fixture(params=["sqlite", "postgresql"])
def old_and_new(request: pytest.FixtureRequest) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """The databases of the suite that is lost, and those that the backup is restored to."""
    if request.param == "sqlite":
        yield {}, {}
        return
    support.need("pg_dump")
    server = request.getfixturevalue("postgresql_server")
    with postgresql_databases(server) as old, postgresql_databases(server) as new:
        yield old, new


async def test_everything_acknowledged_before_a_backup_is_there_after_a_restore(
    old_and_new: tuple[dict[str, str], dict[str, str]], tmp_path: Path
) -> None:
    (old, new), data, backups = old_and_new, tmp_path / "data", tmp_path / "backups"
    with running_suite(data, old) as suite:
        async with writing(suite, people=4) as writers:
            while len(writers.orders) < 40:  # noqa: ASYNC110 - the writers set it
                await asyncio.sleep(0.05)
            before = writers.acknowledged()
            await asyncio.to_thread(run, suite, "backup", "--to", str(backups))
        assert len(writers.orders) > len(before.orders)
        assert "stop the suite first" in run(
            suite, "restore", str(*backups.glob("*.tar")), "--replace", code=1
        )
    (backup,) = backups.glob("*.tar")

    shutil.rmtree(data)
    data.mkdir()
    run(suite, "restore", str(backup), more=new)
    assert "has data already" in run(suite, "restore", str(backup), code=1, more=new)
    for url in new.values():  # as a newer version would have added one
        with psycopg.connect(url) as server:
            server.execute("CREATE TABLE later (id text)")
    other = {"AUTH_KEY_SECRET": secrets.token_hex(32)}
    assert "another KEY_SECRET" in run(suite, "restore", str(backup), "--replace", code=1, more=new | other)
    run(suite, "restore", str(backup), "--replace", more=new)
    assert [path.name for path in data.glob("replaced-*/**/auth.*")] == ["auth.pgdump" if new else "auth.db"]
    with running_suite(data, new) as restored:
        async with restored.client() as client:
            await all_there(client, before)
            await no_event_is_missing(client, Rows(data, new))


async def all_there(client: httpx.AsyncClient, before: Writers) -> None:
    """Everybody is still signed in and has every order, and every file with its content."""
    for kind, found in (("orders", before.orders), ("files", before.files)):
        for one, person in found.items():
            response = await client.get(f"/{kind}/{one}", headers=before.accounts[person])
            assert response.status_code == 200, (kind, one, response.text)
            assert person in response.text


async def no_event_is_missing(client: httpx.AsyncClient, rows: "Rows") -> None:
    """Each account has its profile, and each order and file its record: none fell between two snapshots."""
    for _ in range(600):
        if not any(rows.count(name, "outbox") for name in ("auth", "orders", "files", "users")):
            break
        await asyncio.sleep(0.1)
    admin = await sign_in_admin(client)
    verified = await client.get("/audit/verify", headers=admin.headers)
    assert verified.json()["intact"] is True, verified.text

    assert rows.ids("users", "profiles") == rows.ids("auth", "accounts")
    for service in ("orders", "files"):
        made = f"service = '{service}' AND status = 201 AND outcome = 'success'"
        assert rows.count("audit", "records", made) == rows.count(service, service)
    assert not any(rows.count(name, "parked") for name in ("audit", "users", "orders", "files"))


@dataclass
class Rows:
    """Reads the databases of a suite directly."""

    data: Path
    settings: dict[str, str]

    def count(self, service: str, table: str, condition: str = "true") -> int:
        ((number,),) = self._read(service, f"SELECT count(*) FROM {table} WHERE {condition}")
        return int(number)

    def ids(self, service: str, table: str) -> set[str]:
        return {one for (one,) in self._read(service, f"SELECT id FROM {table}")}

    def _read(self, service: str, query: str) -> list[tuple[Any, ...]]:
        url = self.settings.get(f"{service.upper()}_DATABASE_URL")
        if url:
            with psycopg.connect(url) as server:
                return server.execute(query.encode()).fetchall()
        connection = sqlite3.connect(self.data / f"{service}.db")
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()


async def test_killed_backup_leaves_no_archive_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    backups = tmp_path / "backups"
    with running_suite(tmp_path / "data") as suite:
        async with writing(suite, people=2) as writers:
            while len(writers.files) < 20:  # noqa: ASYNC110 - the writers set it
                await asyncio.sleep(0.05)
            killed = 0
            while killed < support.length(6):
                arguments, options = command(suite, "backup", "--to", str(backups))
                process = subprocess.Popen(arguments, **options, stderr=subprocess.DEVNULL)  # noqa: ASYNC220
                await asyncio.sleep(random.uniform(0.8, 3.0))
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
                killed += await asyncio.to_thread(process.wait) == -signal.SIGKILL
                for path in backups.glob("*.tar"):  # a kill came after its end
                    assert contents(path)
                    path.unlink()
        run(suite, "backup", "--to", str(backups))
        (kept,) = backups.glob("*.tar")
        assert "it can be restored" in run(suite, "backup", "--verify", str(kept))
    assert {path.suffix for path in backups.iterdir()} == {".tar", ".lock"}
