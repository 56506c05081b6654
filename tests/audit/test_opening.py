"""A log begins with a signed statement; from then on unsigned statements are forged."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from structlog.testing import capture_logs

from services.audit.app import create_app
from services.audit.checkpoints import Checkpoints
from services.audit.models import HOLDS, RECORDS
from services.audit.opening import open_log, open_older_log
from services.audit.retention import cut
from services.audit.settings import Settings
from shared.clock import now
from shared.ids import new_id
from shared.testing import bearer, running, token
from tests.audit.attacks import JANUARY, MARCH, append_without_root, opened
from tests.audit.attacks import actions as actions_of
from tests.audit.support import ALICE, BOB, Log, entry

NOBODY = new_id()
FIRST = {ALICE: 1, BOB: 2, NOBODY: None}  # the first record of each account
ADMIN = bearer(token(role="admin"))


@pytest.fixture
def unopened() -> None:
    """Open the log as in production."""


@pytest.fixture
async def audit(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app, settings) as client:
        yield client


async def actions(audit: httpx.AsyncClient) -> list[str]:
    return [one["action"] for one in (await audit.get("/audit/logs", headers=ADMIN)).json()]


async def test_log_is_opened_once_even_after_restarts(audit: httpx.AsyncClient, settings: Settings) -> None:
    assert await actions(audit) == ["LOG_OPENED"]
    async with running(create_app, settings) as again:
        assert await actions(again) == ["LOG_OPENED"]
        assert (await again.get("/audit/verify", headers=ADMIN)).json()["intact"]


async def test_placing_and_lifting_a_hold_are_recorded(audit: httpx.AsyncClient) -> None:
    for _ in range(2):
        await audit.put(f"/audit/holds/{ALICE}", json={"reason": "a case"}, headers=ADMIN)
    await audit.delete(f"/audit/holds/{ALICE}", headers=ADMIN)

    assert await actions(audit) == ["HOLD_LIFTED", "HOLD_PLACED", "HOLD_PLACED", "LOG_OPENED"]
    found = (await audit.get(f"/audit/logs?resource={ALICE}", headers=ADMIN)).json()
    assert {one["actor"] for one in found} == {"log"}


def test_existing_holds_are_restated_with_their_first_record(log: Log) -> None:
    log.add(entry(None), entry(ALICE), entry(BOB), entry(ALICE))
    with log.database.transaction() as session:
        for account in (ALICE, BOB, NOBODY):
            hold = {"user_id": account, "reason": "a case", "created": now()}
            session.connection().execute(HOLDS.insert().values(hold))
        open_log(session, log.checkpoints.keys)
    stated = log.check(log.lines()).ledger.statements

    assert [(one.action, one.resource, {**one.said, "root": ""}) for one in stated.values()] == [
        ("LOG_OPENED", "audit", {"statements": "signed", "root": ""}),
        *(("HOLD_PLACED", one, {"first": FIRST[one], "root": ""}) for one in sorted(FIRST)),
    ]
    assert all(one.root is not None for one in stated.values())


def test_log_opened_with_another_key_is_opened_again(log: Log) -> None:
    other = {"key_secret": type(log.settings.key_secret)("70f1e2d3c4b5a69788796a5b4c3d2e1f")}
    keys = Checkpoints(log.settings.model_copy(update=other), log.database).keys
    with log.database.transaction() as session:
        open_log(session, log.checkpoints.keys)
        open_log(session, keys)
        open_log(session, keys)

    assert sum(b'"LOG_OPENED"' in line for line in log.lines()) == 2


def test_log_is_not_opened_again_after_its_opening_was_cut_off(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise each restart would state every hold in the table, even a forged one."""
    for moment in (JANUARY, MARCH):
        monkeypatch.setattr("services.audit.log.now", lambda moment=moment: moment)
        log.prepare_month(moment)
        opened(log).add(entry(ALICE))
    cut(log.checkpoints, MARCH, months=1)
    hold = {"user_id": BOB, "reason": "a case", "created": now()}
    with log.database.transaction() as session:
        session.connection().execute(HOLDS.insert().values(hold))
    opened(log)

    assert actions_of(log) == ["FILE_UPLOAD", "RETENTION_CUT"]
    assert [one.detail for one in log.verify().verification.faults] == [
        f"there is a hold on account {BOB} that no statement placed"
    ]


class TestOlderLog:
    """Only a log that matches what was signed is opened again, because that states every hold again."""

    @pytest.fixture
    def planted(self, log: Log) -> Log:
        """An opened log, in which the owner of the database planted a hold."""
        opened(log).add(entry(ALICE), entry(BOB))
        log.sign()
        hold = {"user_id": BOB, "reason": "a case", "created": now()}
        with log.database.transaction() as session:
            session.connection().execute(HOLDS.insert().values(hold))
        return log

    def test_log_whose_statements_were_hidden_is_not_opened(self, planted: Log) -> None:
        planted.tamper(
            "CREATE TABLE aside AS SELECT * FROM records WHERE actor = 'log'",
            "DELETE FROM records WHERE actor = 'log'",
        )
        with capture_logs() as logs:
            open_older_log(planted.checkpoints)
        planted.tamper("INSERT INTO records SELECT * FROM aside")

        assert [(one["event"], one["kind"]) for one in logs] == [("audit_opening_refused", "removed")]
        assert actions_of(planted) == ["LOG_OPENED", "FILE_UPLOAD", "FILE_UPLOAD"]
        assert [one.detail for one in planted.verify().verification.faults] == [
            f"there is a hold on account {BOB} that no statement placed"
        ]

    def test_log_whose_statements_are_hidden_from_queries_by_action_is_not_opened(
        self, planted: Log, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As by a damaged index."""
        monkeypatch.setattr("services.audit.opening._is_opened", lambda _session, _keys: False)
        with capture_logs() as logs:
            open_older_log(planted.checkpoints)

        assert [(one["event"], one["seq"]) for one in logs] == [("audit_opening_refused", 0)]
        assert actions_of(planted) == ["LOG_OPENED", "FILE_UPLOAD", "FILE_UPLOAD"]

    async def test_log_of_an_older_version_is_opened_after_the_start(
        self, log: Log, settings: Settings
    ) -> None:
        append_without_root(log, "LOG_OPENED", "audit", {"statements": "signed"})
        log.add(entry(ALICE), entry(BOB))
        log.sign()
        hold = {"user_id": BOB, "reason": "a case", "created": now()}
        with log.database.transaction() as session:
            session.connection().execute(HOLDS.insert().values(hold))
        async with running(create_app, settings), asyncio.timeout(60):
            while len(actions_of(log)) < 5:  # noqa: ASYNC110 - a thread of the service opens it
                await asyncio.sleep(0.05)

        assert actions_of(log)[3:] == ["LOG_OPENED", "HOLD_PLACED"]
        assert log.verify().verification.faults == []


class TestDamagedTree:
    @pytest.mark.parametrize("damage", ["far", "farthest", "odd"])
    async def test_service_starts_and_reports_it(self, settings: Settings, damage: str) -> None:
        async with running(create_app, settings) as audit:
            await audit.put(f"/audit/holds/{ALICE}", json={"reason": "a case"}, headers=ADMIN)
        with Log(settings) as log:
            odd = "CAST(hashes || x'00' AS BLOB)" if log.database.is_sqlite else r"hashes || '\x00'::bytea"
            planted = "INSERT INTO tiles SELECT 0, {}, hashes FROM tiles WHERE level = 0"
            statements = {
                "far": planted.format(1000),
                "farthest": planted.format(2**63 - 1),
                "odd": f"UPDATE tiles SET hashes = {odd} WHERE level = 0",
            }
            log.tamper(statements[damage])
        async with running(create_app, settings) as audit:
            checked = (await audit.get("/audit/verify", headers=ADMIN)).json()

        assert not checked["intact"]

    async def test_position_that_is_not_whole_is_reported(self, sqlite_log: Log) -> None:
        """The response has only whole positions."""
        opened(sqlite_log).fill(3)
        sqlite_log.sign()
        columns = ", ".join(column.name for column in RECORDS.c if column.name != "seq")
        sqlite_log.tamper(
            "CREATE TABLE copied AS SELECT * FROM records",
            "DROP TABLE records",
            "ALTER TABLE copied RENAME TO records",
            f"INSERT INTO records (seq, {columns}) SELECT -1.5, {columns} FROM records WHERE seq = 1",
        )
        async with running(create_app, sqlite_log.settings) as audit:
            checked = await audit.get("/audit/verify", headers=ADMIN)

        assert checked.status_code == 200
        assert not checked.json()["intact"]


class TestRestoredOlderDatabase:
    """The key must not sign a log that contradicts the anchor."""

    @pytest.fixture
    def restored(self, log: Log) -> Log:
        log.fill(10)
        log.sign()
        log.fill(10)
        log.sign()
        log.tamper(
            "DELETE FROM checkpoints WHERE size > 10",
            "DELETE FROM records WHERE seq >= 10",
            "DELETE FROM personal WHERE seq >= 10",
            "UPDATE tiles SET hashes = substr(hashes, 1, 10 * 32)",
        )
        return log

    @pytest.mark.parametrize(
        ("more", "event"), [(3, "audit_log_rolled_back"), (30, "audit_log_is_not_the_anchored_one")]
    )
    def test_restored_database_is_not_signed_whether_shorter_or_longer(
        self, restored: Log, more: int, event: str
    ) -> None:
        anchor = restored.settings.anchor_file
        assert anchor is not None
        before = anchor.read_bytes()
        restored.fill(more)
        restarted = Checkpoints(restored.settings, restored.database)
        with capture_logs() as logs:
            restarted.make(whole=True)
            restarted.make(whole=True)

        assert [one["event"] for one in logs] == [event]
        assert "restore the newer database" in logs[0]["next_step"]
        assert anchor.read_bytes() == before
        assert restored.full().end == 10
        assert [one[:2] for one in restored.verify().verification.faults] == [("rolled_back", 10)]

    def test_restored_database_without_checkpoints_is_found(self, restored: Log) -> None:
        restored.tamper("DELETE FROM checkpoints")

        assert [one[:2] for one in restored.verify().verification.faults] == [("rolled_back", 0)]

    def test_log_signed_elsewhere_is_not_anchored(self, restored: Log) -> None:
        anchor = restored.settings.anchor_file
        assert anchor is not None
        before = anchor.read_bytes()
        restored.fill(30)
        elsewhere = restored.settings.model_copy(update={"anchor_file": None})
        Checkpoints(elsewhere, restored.database).make(whole=True)
        restored.checkpoints.make(whole=True)

        assert anchor.read_bytes() == before
