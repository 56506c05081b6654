"""The backups that `gatehouse up` takes by itself (BACKUP_SCHEDULE)."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from gatehouse.plan import Backups
from gatehouse.screen import Screen
from shared.work.cron import Cron

LOOK_SECONDS_MAX = 30.0  # the clock may be set meanwhile, or the machine may have slept
STOP_SECONDS = 10.0


def _now() -> datetime:
    return datetime.now(UTC)


class ScheduledBackups:
    """Takes a backup at the scheduled times, in a process of its own: it needs more memory than the launcher.

    Times at which the suite does not run are skipped. A failed backup is reported, and tried again at the
    next time.
    """

    def __init__(
        self,
        plan: Backups,
        screen: Screen,
        *,
        command: Sequence[str] = (sys.executable, "-m", "gatehouse", "backup"),
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self._cron = Cron(plan.schedule, plan.zone)
        self._command = [*command, "--json", *(["--keep", plan.keep] if plan.keep else [])]
        self._screen, self._clock = screen, clock
        self.process: asyncio.subprocess.Process | None = None

    async def run(self) -> None:
        due = self._cron.next_after(self._clock())
        while True:
            seconds = (due - self._clock()).total_seconds()
            if seconds > 0:
                await asyncio.sleep(min(seconds, LOOK_SECONDS_MAX))
                continue
            try:
                await self.take()
            except Exception as error:  # noqa: BLE001 - the next time must come in any case
                self._failed(str(error) or type(error).__name__)
            due = self._cron.next_after(self._clock())

    async def take(self) -> None:
        """Take a backup and report how it ended. A cancelled one leaves no half archive."""
        process = self.process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches only us
        )
        try:
            said, complaints = await process.communicate()
        except asyncio.CancelledError:
            await _end(process)
            raise
        if process.returncode == 0:
            taken: dict[str, Any] = json.loads(said)
            words = (
                f"backup taken: {taken['path']}, {taken['size'] / 1e6:,.1f} MB in {taken['seconds']:.1f} s"
            )
            warning = taken.get("warning")
            words += f"; {warning}" if warning else ""
            self._screen.say("backup_taken", words, level="warning" if warning else "info", **taken)
            return
        lines = complaints.decode(errors="replace").strip().splitlines()
        self._failed(lines[-1] if lines else f"exit code {process.returncode}")

    def _failed(self, reason: str) -> None:
        words = f"the scheduled backup failed: {reason}"
        self._screen.say("backup_failed", words, level="error", reason=reason)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
