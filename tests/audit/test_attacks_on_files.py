"""Files beside the log: SQLite's own, the anchor, kept checkpoints, and copies that are only read."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from services.audit import export as export_module
from services.audit.app import create_app
from services.audit.caretaker import Caretaker
from services.audit.checkpoints import Anchor
from services.audit.export import PartialExport
from services.audit.feed import pinned
from services.audit.proofs import notes_in
from services.audit.retention import cut
from services.audit.schemas import FilterLogs
from services.audit.settings import Settings
from services.audit.verifier import main
from shared.clock import now
from shared.data import write_ahead
from shared.ids import first_id, new_id
from shared.testing import bearer, running, token
from tests.audit.attacks import JANUARY, deletion, erase, hold, opened
from tests.audit.support import ALICE, BOB, Log, entry

ADMIN = bearer(token(role="admin"))
ADDRESS = "203.0.113.77"
NEWEST = "(SELECT max(size) FROM checkpoints)"


class TestErasedData:
    @pytest.fixture
    def deleted(self, sqlite_log: Log) -> Log:
        opened(sqlite_log).add(entry(BOB, ip=ADDRESS), deletion(BOB))
        sqlite_log.sign()
        with sqlite_log.database.transaction() as session:
            session.connection().execute(
                text("INSERT INTO erasures VALUES (:account, :since, -1)"),
                {"account": BOB, "since": now().isoformat(timespec="microseconds")},
            )
        return sqlite_log

    def files(self, log: Log) -> list[str]:
        here = Path(str(log.database.url.database))
        return [one.name for one in here.parent.glob(f"{here.name}*") if ADDRESS.encode() in one.read_bytes()]

    def test_it_is_in_no_file_of_sqlite(self, deleted: Log) -> None:
        """Its write-ahead log kept the pages as they were before."""
        assert self.files(deleted) != []
        Caretaker(deleted.settings, deleted.database, deleted.checkpoints)._erase()

        assert self.files(deleted) == []

    def test_it_is_removed_once_nothing_reads_it(self, deleted: Log) -> None:
        caretaker = Caretaker(deleted.settings, deleted.database, deleted.checkpoints)
        with deleted.database.transaction(write=False) as session:
            session.connection().execute(text("SELECT count(*) FROM personal"))
            caretaker._erase()
            assert self.files(deleted) != []
        caretaker._erase()

        assert self.files(deleted) == []


class TestAnchor:
    @pytest.fixture
    def anchor(self, settings: Settings) -> Path:
        assert settings.anchor_file is not None
        return settings.anchor_file

    def test_log_survives_a_power_failure_if_the_anchor_does(
        self, log: Log, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """SQLite does not flush each commit; the log would look cut off, and nothing would be signed."""
        steps = list[str]()
        fsync = os.fsync
        file = Path(f"{log.database.url.database}-wal")

        def flushed(opened: int) -> None:
            if file.exists() and os.path.samestat(os.fstat(opened), file.stat()):
                steps.append("flushed")
            fsync(opened)

        def noted(step: str, work: Callable[..., None]) -> Callable[..., None]:
            def do(*some: Any) -> None:
                steps.append(step)
                work(*some)

            return do

        monkeypatch.setattr(os, "fsync", flushed)
        monkeypatch.setattr(write_ahead, "flush", noted("flush", write_ahead.flush))
        monkeypatch.setattr(Anchor, "catch_up", noted("anchor", Anchor.catch_up))
        log.fill(1)
        log.sign()

        assert steps == ["flush", *(["flushed"] if log.database.is_sqlite else []), "anchor"]

    async def test_service_starts_and_names_an_anchor_that_it_cannot_use(
        self, settings: Settings, anchor: Path
    ) -> None:
        """Checks and exports failed with 500, and the service did not start."""
        anchor.mkdir()  # noqa: ASYNC240 - takes no time
        async with running(create_app, settings) as audit:
            found = [await audit.get(f"/audit/{what}", headers=ADMIN) for what in ("verify", "export")]

        assert [(one.status_code, one.json()["code"]) for one in found] == [(503, "anchor_unusable")] * 2


def test_checkpoints_are_found_in_time_in_a_hostile_file(sqlite_log: Log) -> None:
    """One response with a megabyte of lines kept the verifier busy for hours."""
    sqlite_log.fill(1)
    note = sqlite_log.sign()

    assert notes_in("a line\n" * 100_000 + "\n" + note + "x" * 1_000_000 + "\n\n" + note) == [note, note]


@pytest.mark.parametrize(
    "note", ["'x'", "note || 'x'", "(SELECT note FROM checkpoints ORDER BY size LIMIT 1)"]
)
async def test_checkpoint_that_the_key_did_not_sign_is_not_handed_out(log: Log, note: str) -> None:
    """One such response made a whole file of kept checkpoints useless."""
    for _ in range(2):
        log.fill(1)
        log.sign()
    log.tamper(f"UPDATE checkpoints SET note = {note} WHERE size = {NEWEST}")
    async with running(create_app, log.settings.model_copy(update={"background": "off"})) as audit:
        found = await audit.get("/audit/checkpoint")

    assert (found.status_code, found.json()["code"]) == (503, "log_damaged")


def test_file_without_a_key_is_no_sign_of_tampering(
    sqlite_log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after a failed download."""
    sqlite_log.fill(1)
    (tmp_path / "export").write_bytes(b"".join(sqlite_log.lines()))
    (tmp_path / "key").write_text("\n")

    assert main([str(tmp_path / "export"), "--key", str(tmp_path / "key")]) == 2
    assert capsys.readouterr().err == "cannot be checked: there is no public key\n"


def test_erasure_may_come_before_its_records_in_a_part(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is ahead gives records ids after that of their erasure. The part looked malformed."""
    monkeypatch.setattr(export_module, "CHUNK_RECORDS", 2)
    late = [first_id(now(), timedelta(minutes=4))[:18] + new_id()[18:] for _ in range(2)]
    opened(log).add(entry(BOB, id=late[0]), replace(deletion(BOB), id=late[1]))
    erase(log, BOB)
    log.sign()
    with log.database.transaction(write=False) as session:
        part = PartialExport(pinned(session), FilterLogs(outcome="success"), None)
    lines = log.lines(part)
    found = log.check(lines)

    records = [one["action"] for one in map(json.loads, lines) if one["type"] == "record"]
    assert records[:2] == ["LOG_OPENED", "PERSON_ERASED"]  # a whole chunk before those that it cleared
    assert sorted(records[2:]) == ["DELETE_ACCOUNT", "FILE_UPLOAD"]
    assert (found.faults, found.unproven) == ([], [])


async def test_copy_that_is_only_read_signs_no_statement(log: Log) -> None:
    """The owner of the database could add the end of the hold to the log itself."""
    hold(opened(log), BOB)
    async with running(create_app, log.settings.model_copy(update={"background": "off"})) as copy:
        found = [
            await copy.delete(f"/audit/holds/{BOB}", headers=ADMIN),
            await copy.put(f"/audit/holds/{ALICE}", json={"reason": "a case"}, headers=ADMIN),
        ]
        held = (await copy.get("/audit/holds", headers=ADMIN)).json()

    assert [(one.status_code, one.json()["code"]) for one in found] == [(503, "only_read")] * 2
    assert [one["user_id"] for one in held] == [BOB]


def test_hold_that_no_list_can_show_is_reported(sqlite_log: Log) -> None:
    hold(opened(sqlite_log), BOB)
    sqlite_log.sign()
    sqlite_log.tamper("UPDATE holds SET created = 'yesterday'")

    assert [one.kind for one in sqlite_log.verify().verification.faults] == ["malformed"]


def test_foreign_table_among_the_partitions_does_not_stop_cuts(log: Log) -> None:
    if log.database.is_sqlite:
        pytest.skip("SQLite has no partitions")
    log.prepare_month(JANUARY)
    log.tamper('CREATE TABLE partitions."a; SELECT 1" (x int)')
    cut(log.checkpoints, now(), 1)
    log.tamper('DROP TABLE partitions."a; SELECT 1"')
