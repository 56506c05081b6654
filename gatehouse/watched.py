"""One program of the suite: starts it, passes on its output, and restarts it if it ends unexpectedly."""

import asyncio
import json
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

from gatehouse.control import NotReplaced
from gatehouse.plan import Planned
from gatehouse.screen import Screen
from gatehouse.starting import Process, Starter
from shared.process.supervision import PHASE_MARK, STARTING, SUITE_IS_UP, SUPERVISED

POLL_SECONDS = 0.05
POLL_SECONDS_MAX = 0.5
ANSWER_SECONDS = 2.0
ANSWER_BYTES_MAX = 10_000
STOP_SECONDS = 25.0
REPLACE_SECONDS = 120.0  # for a new process to listen
RESTART_SECONDS = 0.3  # for requests in progress when the code changes
# The first restarts are immediate; only a program that keeps ending has to wait.
BACKOFF_SECONDS = (0.1, 0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
STEADY_SECONDS = 10.0  # a program that ran this long is not in a crash loop
IMPORTING, LISTENING = "importing", "listening"  # the first and the last phase of a start


class _Run:
    """One process of a program, from its start to its end."""

    def __init__(self) -> None:
        self.process: Process | None = None
        self.is_listening = asyncio.Event()

    @property
    def is_alive(self) -> bool:
        return self.process is not None and self.process.returncode is None


class Watched:
    """One program and its process, which is a new one after each restart."""

    def __init__(self, program: Planned, screen: Screen, log_format: str, starter: Starter) -> None:
        self.program = program
        self._starter = starter
        self._screen = screen
        self._log_format = log_format
        self._process: Process | None = None
        self._stopping = False
        self._next: _Run | None = None  # a process that is about to replace the present one
        self._successor: asyncio.Task[int] | None = None
        self._restart = asyncio.Event()
        self._suite_is_up = False
        self._is_listening = asyncio.Event()
        self.was_ready = False
        self.phase = IMPORTING
        self.progressed = time.monotonic()  # when its startup last made progress
        self._cpu_ticks = 0
        self.last_line = ""
        self.ending = ""  # how it ended, if it did before it was ready

    @property
    def name(self) -> str:
        return self.program.name

    async def run(self) -> None:
        """Keep the program running until it is stopped; return if it cannot start at all."""
        failures = 0
        while not self._stopping:
            started = time.monotonic()
            ending = _ending(await self._run())
            if self._stopping:
                return
            if not self.was_ready:
                self.ending = ending
                return
            if self._restart.is_set():
                self._restart.clear()
                failures = 0
                continue
            failures = 0 if time.monotonic() - started > STEADY_SECONDS else failures + 1
            delay = BACKOFF_SECONDS[min(max(failures - 1, 0), len(BACKOFF_SECONDS) - 1)]
            words = f"ended ({ending}); restarting in {delay:g} s"
            self.say("ended", words, level="error", ending=ending, starting_again_in_seconds=delay)
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._restart.wait()
            self._restart.clear()

    async def restart(self) -> None:
        """Restart the program because its code has changed; requests in progress get little time."""
        self.say("changed", "changed; restarting", "info")
        self._restart.set()
        process = self._process
        if process is not None and process.returncode is None:
            await _end(process, RESTART_SECONDS)

    async def replace(self, program: Planned) -> None:
        """Replace the process by one from the code that is on disk; NotReplaced if that does not start.

        The new process takes over the socket, so no connection is refused. It starts before the old one ends;
        if the program must run alone, connections wait meanwhile.
        """
        old, begun = self._process, _Run()
        if old is None or old.returncode is not None:
            raise NotReplaced(f"{self.name} does not run now")
        listening = await old.hand_over()
        self.program, self._next = program, begun
        is_first = program.alone or listening is None
        self.say("replacing", "is being replaced", "info")
        try:
            if is_first:
                self._successor = asyncio.create_task(self._after(old, begun, listening))
                await _end(old, STOP_SECONDS)
            else:
                self._successor = asyncio.create_task(self._run_once(begun, listening))
            await self._until_listening(begun, self._successor, has_port=is_first)
            self._process = begun.process
            if not is_first:
                await _end(old, STOP_SECONDS)
        finally:
            self._next = None
            if listening is not None:
                listening.close()
        self.say("replaced", "runs the new code", "info")

    async def _after(self, old: Process, begun: _Run, listening: socket.socket | None) -> int:
        await old.wait()
        return 0 if self._stopping else await self._run_once(begun, listening)

    async def _until_listening(self, begun: _Run, running: "asyncio.Task[int]", *, has_port: bool) -> None:
        listens = asyncio.create_task(begun.is_listening.wait())
        # While the old process still serves the port, an answer there proves nothing.
        answers = asyncio.create_task(self._note_answer(begun)) if has_port else None
        try:
            await asyncio.wait(
                {listens, running}, timeout=REPLACE_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            listens.cancel()
            if answers is not None:
                answers.cancel()
        if begun.is_listening.is_set():
            assert begun.process is not None
            begun.process.tell(SUITE_IS_UP)
            return
        if begun.is_alive:
            assert begun.process is not None
            begun.process.kill()
        if self._process is not None and self._process.returncode is None:
            self._successor = None  # the former process serves as before
        raise NotReplaced(f"{self.name} does not start: {self.last_line or self.phase}")

    async def _note_answer(self, begun: _Run) -> None:
        """Note that a process listens which serves without having reported it."""
        while not begun.is_listening.is_set():
            if begun.is_alive and await self._answers():
                begun.is_listening.set()
            await asyncio.sleep(POLL_SECONDS_MAX)

    async def _run(self) -> int:
        """Run the program until its process ends, or the last of those that have replaced it."""
        code = await self._run_once(_Run())
        while (successor := self._successor) is not None:
            code = await successor
            if self._successor is successor:
                self._successor = None
        return code

    async def _run_once(self, run: _Run, listening: socket.socket | None = None) -> int:
        is_first = run is not self._next
        supervised = "1" if self._suite_is_up and is_first else STARTING
        environment = {**self.program.environment, SUPERVISED: supervised, "LOG_FORMAT": self._log_format}
        run.process = process = await self._starter.start(self.program.module, environment, listening)
        if is_first:
            self._process = process
        if is_first and self._suite_is_up and supervised == STARTING:  # while this process was being started
            self.tell_suite_is_up()
        assert process.stdout is not None
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:  # over the limit; read on, or the process would block
                self.say("line_too_long", "(line too long)", level="warning")
                continue
            if not line:
                return await process.wait()
            self._take(line.decode(errors="replace").rstrip(), run)

    def _take(self, line: str, run: _Run) -> None:
        if line.startswith(PHASE_MARK):
            self.phase = line.removeprefix(PHASE_MARK) or self.phase  # empty: still in the same phase
            self.progressed = time.monotonic()
            if self.phase == LISTENING:
                self._is_listening.set()
                run.is_listening.set()
        else:
            self.last_line = line or self.last_line
            self._screen.pass_on(self.name, line)

    async def ready(self) -> bool:
        """Wait until the program responds; False if it ended instead."""
        pause = POLL_SECONDS
        while not self.ending:
            if await self._answers():
                self.was_ready = True
                return True
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    # Polling is pointless before the program listens, unless it reports no phases.
                    await (asyncio.sleep(pause) if self._is_listening.is_set() else self._is_listening.wait())
            pause = min(2 * pause, POLL_SECONDS_MAX)
        return False

    async def _answers(self) -> bool:
        refused = await _refused_with(self.program.host, self.program.port)
        if refused is not None and refused != "":
            self.phase = refused
        return refused == ""

    def look_for_progress(self) -> None:
        """Check the program's CPU time, the only sign of progress while it imports code."""
        if self.phase == IMPORTING and self._process is not None:
            ticks = _cpu_ticks(self._process.pid)
            if ticks > self._cpu_ticks:
                self._cpu_ticks, self.progressed = ticks, time.monotonic()

    def tell_suite_is_up(self) -> None:
        self._suite_is_up = True
        if self._process is not None:
            self._process.tell(SUITE_IS_UP)

    async def stop(self) -> None:
        self._stopping = True
        if self._next is not None and self._next.process is not None:
            self._next.process.kill()
        process = self._process
        if process is None or process.returncode is not None:
            return
        if not await _end(process, STOP_SECONDS):
            words = f"did not stop within {STOP_SECONDS:g} s and was killed"
            self.say("killed", words, level="error", after_seconds=STOP_SECONDS)
            await process.wait()

    def kill(self) -> None:
        self._stopping = True
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()

    def say(self, event: str, words: str, level: str, **fields: object) -> None:
        self._screen.say(event, words, program=self.name, level=level, **fields)


async def _end(process: Process, seconds: float) -> bool:
    """Stop a process; kill it, and return False, if it has not ended in time."""
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(seconds):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        return False
    return True


async def _refused_with(host: str, port: int) -> str | None:
    """Return what the program still lacks: empty if it is ready, None if it does not respond."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            status, body = await _ask(host, port, "/health/ready")
    except (OSError, TimeoutError, ValueError, IndexError):
        return None
    if status == 200:
        return ""
    with suppress(ValueError, AttributeError):
        checks = json.loads(body).get("checks", {})
        return "not ready: " + ", ".join(f"{name} {state}" for name, state in checks.items())
    return f"not ready: it responds with {status}"


async def _ask(host: str, port: int, path: str) -> tuple[int, bytes]:
    """Return the status and the body; written by hand, since HTTP clients need 5 MiB more of memory."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nhost: {host}:{port}\r\nconnection: close\r\n\r\n".encode())
        response = b""
        while len(response) < ANSWER_BYTES_MAX and (part := await reader.read(ANSWER_BYTES_MAX)):
            response += part
    finally:
        writer.close()
    head, _, body = response.partition(b"\r\n\r\n")
    return int(head.split(maxsplit=2)[1]), body


def _cpu_ticks(pid: int) -> int:
    """Return the CPU time of the process so far; 0 if the system does not report it."""
    with suppress(OSError, ValueError, IndexError):
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return int(user) + int(system)
    return 0


def _ending(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
