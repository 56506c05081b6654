"""The backups that `gatehouse up` takes by itself."""

import asyncio
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gatehouse import planning, programs
from gatehouse.plan import Backups
from gatehouse.scheduled import ScheduledBackups
from gatehouse.screen import Screen
from shared.process.settings import SettingsFaults
from shared.testing import TEST_INTERNAL_SECRET
from tests.shared.processes import ROOT

TAKES = """
import json, pathlib, sys
assert sys.argv[1:] == ["--json", "--keep", "7d"], sys.argv
with pathlib.Path("taken").open("a") as file: file.write("x")
if len(pathlib.Path("taken").read_text()) == 2: sys.exit("the disk is full")
warning = "no receipt" if len(pathlib.Path("taken").read_text()) == 3 else ""
taken = {"path": "backups/one.tar", "size": 2_500_000, "seconds": 1.25, "warning": warning, "removed": []}
print(json.dumps(taken))
"""
HANGS = "import pathlib, time; pathlib.Path('taken').touch(); time.sleep(600)"


class Clock:
    """A clock that stands five hours before the next time of the schedule until it is moved on."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 27, 22, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def scheduled(code: str, clock: Clock) -> ScheduledBackups:
    plan = Backups("0 3 * * *", "7d")
    command = (sys.executable, "-c", code)
    return ScheduledBackups(plan, Screen(as_json=False), command=command, clock=clock)


async def test_a_backup_is_taken_at_each_scheduled_time_and_failures_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gatehouse.scheduled.LOOK_SECONDS_MAX", 0.01)
    clock = Clock()
    running = asyncio.create_task(scheduled(TAKES, clock).run())
    await asyncio.sleep(0)  # now it knows the first time
    said = ""
    for times, moved in ((0, 4), (1, 1), (2, 24), (3, 24)):
        clock.now += timedelta(hours=moved)
        while len(said.splitlines()) < times:
            await asyncio.sleep(0.01)
            said += capsys.readouterr().out
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert (tmp_path / "taken").read_text() == "xxx"
    assert said.splitlines() == [
        "backup taken: backups/one.tar, 2.5 MB in 1.2 s",
        "the scheduled backup failed: the disk is full",
        "backup taken: backups/one.tar, 2.5 MB in 1.2 s; no receipt",
    ]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("/no/such/command",), "No such file or directory"),
        ((sys.executable, "-c", "print('taken')"), "Expecting value"),
    ],
)
async def test_the_next_time_comes_after_an_unexpected_error(
    command: tuple[str, ...],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("gatehouse.scheduled.LOOK_SECONDS_MAX", 0.01)
    clock = Clock()
    backups = ScheduledBackups(
        Backups("0 3 * * *", "7d"), Screen(as_json=False), command=command, clock=clock
    )
    running = asyncio.create_task(backups.run())
    await asyncio.sleep(0)  # now it knows the first time
    said = ""
    for times in (1, 2):
        clock.now += timedelta(hours=24)
        while len(said.splitlines()) < times and not running.done():
            await asyncio.sleep(0.01)
            said += capsys.readouterr().out
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    lines = said.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("the scheduled backup failed: ") and reason in line for line in lines)


async def test_a_running_backup_ends_with_the_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    backups = scheduled(HANGS, Clock())
    taking = asyncio.create_task(backups.take())
    while not (tmp_path / "taken").exists():  # noqa: ASYNC110 - another process makes it
        await asyncio.sleep(0.01)
    taking.cancel()
    with suppress(asyncio.CancelledError):
        await taking
    assert backups.process is not None
    assert backups.process.returncode is not None


def test_a_schedule_needs_a_passphrase_which_no_program_gets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {
        "DATA_DIR": str(tmp_path),
        "INTERNAL_SECRET": TEST_INTERNAL_SECRET,
        "BACKUP_SCHEDULE": "0 3 * * *",
        "BACKUP_KEEP": "3d",
        "BACKUP_PASSPHRASE": "a long passphrase",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    plan = planning.plan(ROOT)
    assert plan.backups == Backups("0 3 * * *", "3d", "UTC")
    assert type(plan).from_json(plan.as_json()).backups == plan.backups
    for planned in plan.programs:
        assert planned.environment["BACKUP_KEEP"] == "3d"
        assert "BACKUP_PASSPHRASE" not in planned.environment
    assert "BACKUP_PASSPHRASE_FILE" not in programs.own_environment("a", {}, {"BACKUP_PASSPHRASE_FILE": "f"})

    for wrong in ({"BACKUP_SCHEDULE": "at three"}, {"BACKUP_KEEP": "many"}, {"BACKUP_PASSPHRASE": ""}):
        ((name, value),) = wrong.items()
        with monkeypatch.context() as changed:
            changed.setenv(name, value)
            with pytest.raises(SettingsFaults, match=name):
                planning.Settings.load()
