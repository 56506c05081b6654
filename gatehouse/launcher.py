"""`gatehouse up`: runs every program of the suite as a supervised process, and stops them in order."""

import asyncio
import errno
import json
import re
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from gatehouse.control import Control, NotReplaced
from gatehouse.logfile import LogFile
from gatehouse.plan import Logging, NoPlan, Plan, Planned
from gatehouse.ports import fault_of_binding
from gatehouse.programs import GATEWAY
from gatehouse.reloading import Reloader
from gatehouse.scheduled import ScheduledBackups
from gatehouse.screen import Screen
from gatehouse.starting import Starter
from gatehouse.watched import REPLACE_SECONDS, Watched

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
LOOK_SECONDS = 0.5
SLOW_SECONDS = 5.0  # after this, report what is still starting
SLOW_AGAIN_SECONDS = (5.0, 10.0, 30.0, 60.0)  # pauses between such reports where lines cannot be redrawn
STALLED_SECONDS = 120.0


class Slow:
    """A program that is slow to start, and when this was last reported."""

    def __init__(self, watched: Watched, started: float) -> None:
        self.watched = watched
        self.said_phase = ""
        self.times_said = 0
        self.say_at = started + SLOW_SECONDS

    def is_due(self, now: float) -> bool:
        return now >= self.say_at

    def note_said(self, now: float) -> None:
        self.say_at = now + SLOW_AGAIN_SECONDS[min(self.times_said, len(SLOW_AGAIN_SECONDS) - 1)]
        self.times_said += 1


class Launcher:
    """The whole suite: services start first and the gateway last, and stop in reverse order."""

    def __init__(
        self,
        plan: Plan,
        starter: Starter,
        *,
        reload_from: Path | None = None,
        read_again: Callable[[], Plan] | None = None,
    ) -> None:
        self._notices = plan.notices
        self._log_file = _log_file(plan.logging)
        self._screen = Screen(
            as_json=_log_format(plan.logging.format) == "json",
            log_file=self._log_file,
            width=max(len(program.name) for program in plan.programs),
        )
        self._watched = [
            Watched(program, self._screen, self._log_format_of(program), starter) for program in plan.programs
        ]
        self._asked_to_stop = asyncio.Event()
        self._starter, self._read_again = starter, read_again
        self._running: list[asyncio.Task[None]] = []
        self._control = Control(Path(plan.control), self._replace) if plan.control and read_again else None
        self._backups = ScheduledBackups(plan.backups, self._screen) if plan.backups.schedule else None
        # Created now, to notice changes during startup as well.
        self._reloader = Reloader(reload_from, self._watched) if reload_from else None

    def _log_format_of(self, program: Planned) -> str:
        return "json" if self._log_file else _log_format(program.log_format)

    async def run(self) -> int:
        """Start everything, wait, stop everything; return the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        running = self._running
        running += [asyncio.create_task(watched.run()) for watched in self._watched]
        if self._control is not None:
            await self._control.open()
        ready = asyncio.create_task(self._all_ready())
        stop = asyncio.create_task(self._asked_to_stop.wait())
        try:
            await asyncio.wait({ready, stop}, return_when=asyncio.FIRST_COMPLETED)
            if ready.done() and not ready.result():
                return 1
            if self._reloader is not None:
                running.append(asyncio.create_task(self._reloader.run()))
            if self._backups is not None:
                running.append(asyncio.create_task(self._backups.run()))
            await stop
            return 0
        finally:
            ready.cancel()
            if self._control is not None:
                self._control.close()
            await self._stop()
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)  # a backup has to clean up

    async def _replace(self, names: Sequence[str], told: Callable[[str], None]) -> None:
        """Replace programs by those of the code that is on disk now, and start those that it adds."""
        assert self._read_again is not None
        if starting := self._starting():
            raise NotReplaced(f"{starting[0].name} is still starting")
        try:
            plan = await asyncio.to_thread(self._read_again)
        except NoPlan as error:
            raise NotReplaced(f"the new code cannot use the settings: {error}") from error
        planned = {program.name: program for program in plan.programs}
        self._starter.renew([program.module for program in plan.programs])
        for name in names:
            if name not in planned:
                raise NotReplaced(f"the new code has no program {name!r}")
            watched = next((one for one in self._watched if one.name == name), None)
            await (self._add(planned[name]) if watched is None else watched.replace(planned[name]))
            told(name)

    async def _add(self, program: Planned) -> None:
        watched = Watched(program, self._screen, self._log_format_of(program), self._starter)
        self._watched.append(watched)
        self._running.append(asyncio.create_task(watched.run()))
        try:
            async with asyncio.timeout(REPLACE_SECONDS):
                fault = "" if await watched.ready() else _reason(watched)
        except TimeoutError:
            fault = f"{program.name} is not ready after {REPLACE_SECONDS:g} s ({watched.phase})"
            await watched.stop()
        if fault:
            self._watched.remove(watched)
            raise NotReplaced(fault)
        watched.tell_suite_is_up()

    async def _all_ready(self) -> bool:
        """Wait until all programs are ready, or none of them makes progress."""
        started = time.monotonic()
        slow = [Slow(watched, started) for watched in self._watched]
        waiting = {asyncio.create_task(watched.ready()) for watched in self._watched}
        try:
            while waiting and not self._is_stalled():
                _, waiting = await asyncio.wait(
                    waiting, timeout=LOOK_SECONDS, return_when=asyncio.ALL_COMPLETED
                )
                self._say_what_is_slow(slow, started)
        finally:
            for task in waiting:
                task.cancel()
        good = all(watched.was_ready for watched in self._watched)
        self._say_outcome(good, time.monotonic() - started)
        if good:
            for watched in self._watched:
                watched.tell_suite_is_up()
        return good

    def _starting(self) -> list[Watched]:
        return [watched for watched in self._watched if not watched.was_ready and not watched.ending]

    def _is_stalled(self) -> bool:
        """Whether no starting program has made progress for a long time."""
        starting = self._starting()
        for watched in starting:
            watched.look_for_progress()
        now = time.monotonic()
        return bool(starting) and all(now - each.progressed > STALLED_SECONDS for each in starting)

    def _say_what_is_slow(self, slow: Sequence[Slow], started: float) -> None:
        now = time.monotonic()
        seconds = now - started
        starting = self._starting()
        if self._screen.redraws:
            if seconds >= SLOW_SECONDS:
                self._screen.show_status(
                    [(each.name, f"{each.phase} ({seconds:.0f} s)") for each in starting]
                )
            return
        for each in slow:
            watched = each.watched
            if watched in starting and each.is_due(now):
                words = f"is slow to start: {watched.phase} ({seconds:.0f} s)"
                watched.say("waiting", words, "info", phase=watched.phase, seconds=round(seconds, 1))
                each.note_said(now)

    def _say_outcome(self, good: bool, seconds: float) -> None:
        if self._screen.redraws:
            self._screen.show_status([])
        reasons = [] if good else [_reason(watched) for watched in self._watched if not watched.was_ready]
        verdict = f"ready in {seconds:.1f} s" if good else f"not everything started: {'; '.join(reasons)}"
        following = self._what_next() if good else []
        table = _table(self._watched)
        self._screen.say(
            "ready" if good else "not_ready",
            "\n".join(["", *table, "", *self._notices, verdict, *following, "", ""]),
            level="info" if good else "error",
            seconds=round(seconds, 1),
            programs=[
                {"name": each.name, "url": each.program.url, "healthy": each.was_ready}
                for each in self._watched
            ],
            notices=[*self._notices, *following],
            reasons=reasons,
        )

    def _what_next(self) -> list[str]:
        notices = [watched.program.notice for watched in self._watched]
        file = [f"the log is in {self._log_file.path}"] if self._log_file else []
        return [*(notice for notice in notices if notice is not None), *file, "stop with Ctrl-C"]

    async def _stop(self) -> None:
        """Stop the gateway first, so that no request loses its service."""
        gateways = [watched for watched in self._watched if watched.name == GATEWAY]
        services = [watched for watched in self._watched if watched.name != GATEWAY]
        for group in (gateways, services):
            await asyncio.gather(*[watched.stop() for watched in group])
        self._screen.say("stopped", "stopped")

    def _on_signal(self) -> None:
        if self._asked_to_stop.is_set():  # the second signal: do not wait any longer
            for watched in self._watched:
                watched.kill()
            return
        self._asked_to_stop.set()
        self._screen.say("stopping", "\nstopping … (press Ctrl-C again to stop at once)")


def up(
    plan: Plan,
    starter: Starter,
    *,
    reload_from: Path | None = None,
    read_again: Callable[[], Plan] | None = None,
) -> int:
    """Run the suite in this terminal until Ctrl-C; restart programs that change below `reload_from`.

    With `read_again`, which reads the plan of the code that is on disk then, `gatehouse upgrade` can replace
    programs.
    """
    faults = _port_faults(plan.programs)
    if faults:
        sys.stderr.write("".join(f"{program.name}: {fault}\n" for program, fault in faults))
        # If the address itself is wrong, another port would not help.
        ports = [_another_port(program) for program, fault in faults if not fault.startswith("cannot")]
        if ports:
            choice = f"Stop the programs that use them, or choose other ports: {' '.join(ports)} make up"
            sys.stderr.write(f"{choice}\n")
        return 4
    return asyncio.run(Launcher(plan, starter, reload_from=reload_from, read_again=read_again).run())


def _log_file(logging: Logging) -> LogFile | None:
    if logging.file is None:
        return None
    try:
        return LogFile(Path(logging.file), logging.file_bytes_max, logging.files_kept)
    except OSError as error:
        fault = f"LOG_FILE: {error.filename} cannot be written ({error.strerror})"
        sys.stderr.write(f"The settings are invalid:\n  {fault}\n")
        raise NoPlan(2) from error


def _reason(watched: Watched) -> str:
    """Return why a program is not ready; its last output often says more than its exit code."""
    if watched.ending:
        said = _said(watched.last_line)
        return f"{watched.name} ended ({watched.ending})" + (f": {said}" if said else "")
    return (
        f"{watched.name} made no progress for {time.monotonic() - watched.progressed:.0f} s ({watched.phase})"
    )


def _said(line: str) -> str:
    """Return the essential part of a log line in any format, without colours."""
    with suppress(ValueError, AttributeError):
        entry = json.loads(line)
        parts = [str(entry[name]) for name in ("event", "reason", "remedy") if entry.get(name)]
        return ", ".join(parts)
    return _COLOUR.sub("", line)


def _port_faults(programs: Sequence[Planned]) -> list[tuple[Planned, str]]:
    wanted_by: dict[str, list[str]] = {}
    for program in programs:
        wanted_by.setdefault(program.url, []).append(program.name)
    faults = []
    for program in programs:
        names = wanted_by[program.url]
        if len(names) > 1:
            faults.append((program, f"port {program.port} is set for {' and '.join(names)}"))
        elif fault := _port_fault(program):
            faults.append((program, fault))
    return faults


def _port_fault(program: Planned) -> str | None:
    host, port = program.host, program.port
    fault = fault_of_binding(host, port)
    if fault is None:
        return None
    if fault.errno == errno.EADDRINUSE:
        return f"port {port} is taken"
    own = program.name.upper()
    return f"cannot listen on {host}:{port} ({fault.strerror}); check {own}_HOST and {own}_PORT"


def _another_port(program: Planned) -> str:
    port = program.port
    return f"{program.name.upper()}_PORT={port + 10_000 if port < 50_000 else port - 10_000}"


def _table(all_watched: Sequence[Watched]) -> list[str]:
    rows = [
        (watched.name, watched.program.url, "healthy" if watched.was_ready else "NOT READY")
        for watched in all_watched
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _log_format(wanted: str) -> str:
    if wanted != "auto":
        return wanted
    return "console" if sys.stdout.isatty() else "json"
