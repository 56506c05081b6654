"""A check of the log while it is written must not report an attack."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from services.audit import before_cut, verification
from services.audit import log as log_module
from services.audit.export import PartialExport
from services.audit.feed import check, pinned
from services.audit.handlers import lift_hold
from services.audit.retention import cut
from services.audit.schemas import FilterLogs
from services.audit.statements import RETENTION_CUT
from shared.ids import new_id
from tests.audit.attacks import (
    JANUARY,
    MARCH,
    actions,
    by_service,
    deletion,
    erase,
    opened,
    put_hold,
    verdict,
)
from tests.audit.support import BOB, Log, checkpoint, entry
from tests.audit.test_tampering import own_settings


@pytest.fixture
def anchored(tmp_path: Path) -> Iterator[Log]:
    with Log(own_settings(tmp_path, anchor_file=tmp_path / "anchor")) as log:
        log.fill(3)
        log.sign()
        yield log


def sign_before(module: ModuleType, name: str, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before this function runs, the log grows and is signed, as by another thread or replica."""
    function = getattr(module, name)

    def run(*arguments: Any, **options: Any) -> Any:
        log.add(entry())
        log.sign()
        return function(*arguments, **options)

    monkeypatch.setattr(module, name, run)


def test_checkpoint_that_is_anchored_during_a_check_is_not_a_rollback(
    anchored: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_before(verification, "_kept", anchored, monkeypatch)

    assert by_service(anchored) == "ok"


def test_checkpoint_that_is_anchored_during_the_check_before_a_cut_does_not_prevent_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at(moment: datetime) -> None:
        monkeypatch.setattr("services.audit.log.now", lambda: moment)

    with Log(own_settings(tmp_path, anchor_file=tmp_path / "anchor")) as log:
        at(JANUARY)
        log.fill(3)
        at(MARCH)
        log.fill(3)
        sign_before(before_cut, "stated_accounts", log, monkeypatch)
        cut(log.checkpoints, MARCH, months=1)

        assert RETENTION_CUT in actions(log)


def test_cut_during_a_check_is_not_an_attack(sqlite_log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_first(*arguments: Any) -> None:
        if RETENTION_CUT not in actions(sqlite_log):
            cut(sqlite_log.checkpoints, MARCH, months=1)
        check(*arguments)

    monkeypatch.setattr(verification, "check", cut_first)
    for moment in (JANUARY, MARCH):
        monkeypatch.setattr("services.audit.log.now", lambda moment=moment: moment)
        sqlite_log.fill(3)

    assert by_service(sqlite_log) == "ok"
    assert RETENTION_CUT in actions(sqlite_log)


def test_erasures_during_a_check_are_not_an_attack(sqlite_log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each erasure makes the check repeat itself, and the next one comes during the repetition."""
    left = [BOB, new_id(), new_id()]
    for person in left:
        opened(sqlite_log).add(entry(person), deletion(person))

    def erase_first(*arguments: Any) -> None:
        if left:
            erase(sqlite_log, left.pop())
        check(*arguments)

    monkeypatch.setattr(verification, "check", erase_first)

    assert by_service(sqlite_log) == "ok"
    assert left == []


def test_checkpoint_is_remembered_only_once_it_is_stored(sqlite_log: Log) -> None:
    """Otherwise a check in between would see it as a rollback."""
    after_commits = []
    sqlite_log.fill(1)
    sqlite_log.database.on_commit.append(lambda _: after_commits.append(sqlite_log.checkpoints.remembered))
    note = sqlite_log.sign()

    assert after_commits[:2] == [None, None], "of the transaction that reads, and of the one that signs"
    assert sqlite_log.checkpoints.remembered == checkpoint(note, sqlite_log.keys)


def test_part_of_the_log_is_intact_if_the_clock_was_set_back_while_a_hold_was_in_force(
    sqlite_log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part is in the order of ids, so the end of the hold comes before its beginning."""
    opened(sqlite_log).add(entry(BOB), deletion(BOB))
    ids = iter(f"ffffffff-0000-7000-8000-00000000000{digit}" for digit in (2, 1, 3))
    made = log_module.Entry
    monkeypatch.setattr(
        log_module, "Entry", lambda *given, **named: replace(made(*given, **named), id=next(ids))
    )
    put_hold(sqlite_log, BOB)
    with sqlite_log.database.transaction() as session:
        lift_hold(BOB, session, sqlite_log.checkpoints.keys)
    erase(sqlite_log, BOB)
    sqlite_log.sign()
    with sqlite_log.database.transaction(write=False) as session:
        export = PartialExport(pinned(session), FilterLogs(resource=BOB), None)
    lines = sqlite_log.lines(export)

    assert actions(sqlite_log)[-3:] == ["HOLD_PLACED", "HOLD_LIFTED", "PERSON_ERASED"]
    stated = [json.loads(line)["action"] for line in lines if b'"HOLD_' in line]
    assert stated == ["HOLD_LIFTED", "HOLD_PLACED"], "the clock was not set back"
    assert verdict(sqlite_log.check(lines)) == "ok"
