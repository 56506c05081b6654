"""`gatehouse up`: every program of the suite as a process of its own, watched, and stopped in order."""

import asyncio
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import cycle

from shared.programs import GATEWAY, Program
from shared.server import SUPERVISED

READY_SECONDS = 60.0
READY_POLL_SECONDS = 0.05
STOP_SECONDS = 25.0
BACKOFF_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
STEADY_SECONDS = 30.0  # a process that lived this long starts again without delay
LINE_BYTES_MAX = 1024 * 1024
_COLOURS = cycle(("36", "33", "32", "35", "34", "31", "96", "93", "92"))


class Watched:
    """One program: started, its lines passed on, started again when it ends unasked."""

    def __init__(self, program: Program, width: int) -> None:
        self.program = program
        colour = next(_COLOURS)
        name = f"{program.name:<{width}}"
        self._prefix = f"\x1b[{colour}m{name}\x1b[0m │ " if sys.stdout.isatty() else f"{name} | "
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self.was_ready = False

    async def run(self) -> None:
        """Keep the program running until it is stopped; return when it cannot even start."""
        failures = 0
        while not self._stopping:
            started = time.monotonic()
            code = await self._run_once()
            if self._stopping or not self.was_ready:
                return
            failures = 0 if time.monotonic() - started > STEADY_SECONDS else failures + 1
            delay = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)]
            self.say(f"ended ({_ending(code)}); starting again in {delay:g} s")
            await asyncio.sleep(delay)

    async def _run_once(self) -> int:
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self.program.module,
            env={**self.program.environment, SUPERVISED: "1", "LOG_FORMAT": _log_format(self.program)},
            stdin=asyncio.subprocess.PIPE,  # closes when we die, which tells the process to stop
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=LINE_BYTES_MAX,
            start_new_session=True,  # Ctrl-C reaches only us, and we stop the programs in order
        )
        assert process.stdout is not None
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:  # over the limit; it must be read on, or the process waits for us to do so
                self.say("(a line that is too long)")
                continue
            if not line:
                return await process.wait()
            self._pass_on(line.decode(errors="replace").rstrip())

    async def ready(self) -> bool:
        """Wait until the program answers; False when it ended instead."""
        while self._process is None or self._process.returncode is None:
            if await asyncio.to_thread(_answers, f"{self.program.url}/health/ready"):
                self.was_ready = True
                return True
            await asyncio.sleep(READY_POLL_SECONDS)
        return False

    async def stop(self) -> None:
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            self.say(f"did not stop within {STOP_SECONDS:g} s and was killed")
            self.kill()
            await process.wait()

    def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()

    def _pass_on(self, line: str) -> None:
        # A JSON line names its service, and stays one that programs can read.
        sys.stdout.write(line + "\n" if line.startswith("{") else f"{self._prefix}{line}\n")
        sys.stdout.flush()

    def say(self, line: str) -> None:
        sys.stdout.write(f"{self._prefix}{line}\n")
        sys.stdout.flush()


class Launcher:
    """The suite as a whole: services first and the gateway last, the other way round when it stops."""

    def __init__(self, programs: Sequence[Program]) -> None:
        width = max(len(program.name) for program in programs)
        self._watched = [Watched(program, width) for program in programs]
        self._asked_to_stop = asyncio.Event()

    async def run(self) -> int:
        """Start everything, wait, stop everything; the exit code."""
        started = time.monotonic()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        running = [asyncio.create_task(watched.run()) for watched in self._watched]
        ready = asyncio.create_task(self._all_ready(started))
        stop = asyncio.create_task(self._asked_to_stop.wait())
        try:
            await asyncio.wait({ready, stop}, return_when=asyncio.FIRST_COMPLETED)
            if ready.done() and not ready.result():
                return 1
            await stop
            return 0
        finally:
            ready.cancel()
            await self._stop()
            for task in running:
                task.cancel()

    async def _all_ready(self, started: float) -> bool:
        try:
            async with asyncio.timeout(READY_SECONDS):
                answers = await asyncio.gather(*[watched.ready() for watched in self._watched])
        except TimeoutError:
            answers = [watched.was_ready for watched in self._watched]
        _print_table(self._watched, time.monotonic() - started)
        return all(answers)

    async def _stop(self) -> None:
        """The gateway first, so that no request finds its service gone."""
        gateways = [watched for watched in self._watched if watched.program.name == GATEWAY]
        services = [watched for watched in self._watched if watched.program.name != GATEWAY]
        for group in (gateways, services):
            await asyncio.gather(*[watched.stop() for watched in group])
        sys.stdout.write("stopped\n")

    def _on_signal(self) -> None:
        if self._asked_to_stop.is_set():  # asked twice: do not wait any longer
            for watched in self._watched:
                watched.kill()
        else:
            sys.stdout.write("\nstopping … (once more to stop at once)\n")
        self._asked_to_stop.set()


def up(programs: Sequence[Program]) -> int:
    """Run the suite in this terminal until Ctrl-C."""
    ports = Counter(program.settings.port for program in programs)
    taken = [program for program in programs if ports[program.settings.port] > 1 or _is_taken(program)]
    for program in taken:
        port = program.settings.port
        free = port + 10_000 if port < 50_000 else port - 10_000
        other = f"{program.name.upper()}_PORT={free} make up"
        sys.stderr.write(
            f"{program.name}: port {port} is taken. Stop what uses it, or choose another: {other}\n"
        )
    if taken:
        return 4
    return asyncio.run(Launcher(programs).run())


def _print_table(all_watched: Iterable[Watched], seconds: float) -> None:
    rows = [
        (watched.program.name, watched.program.url, "healthy" if watched.was_ready else "NOT READY")
        for watched in all_watched
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    good = all(watched.was_ready for watched in all_watched)
    verdict = f"ready in {seconds:.1f} s" if good else "not everything started; the lines above say why"
    notices = [notice for watched in all_watched if (notice := watched.program.settings.notice()) is not None]
    sys.stdout.write(
        "\n" + "\n".join(["", *lines, "", verdict, *notices, *(["stop with Ctrl-C"] if good else []), "", ""])
    )
    sys.stdout.flush()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 - an address of our own
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _is_taken(program: Program) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((program.settings.host, program.settings.port))
        except OSError:
            return True
    return False


def _log_format(program: Program) -> str:
    chosen = program.settings.log_format
    if chosen != "auto":
        return chosen
    return "console" if sys.stdout.isatty() else "json"


def _ending(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
