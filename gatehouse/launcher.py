"""`gatehouse up`: every program of the suite as a process of its own, watched, and stopped in order."""

import asyncio
import errno
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import cycle

from gatehouse.programs import GATEWAY, Program
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
        self._stopping = True
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

    def __init__(self, programs: Sequence[Program], notices: Sequence[str] = ()) -> None:
        self._notices = notices
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
        _print_table(self._watched, time.monotonic() - started, self._notices)
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


def up(programs: Sequence[Program], notices: Sequence[str] = ()) -> int:
    """Run the suite in this terminal until Ctrl-C."""
    faults = _port_faults(programs)
    if faults:
        sys.stderr.write("".join(f"{program.name}: {fault}\n" for program, fault in faults))
        # Where the address itself is wrong, another port would not help.
        ports = [_another_port(program) for program, fault in faults if not fault.startswith("cannot")]
        if ports:
            sys.stderr.write(f"Stop what uses them, or choose other ports: {' '.join(ports)} make up\n")
        return 4
    return asyncio.run(Launcher(programs, notices).run())


def _port_faults(programs: Sequence[Program]) -> list[tuple[Program, str]]:
    wanted_by: dict[str, list[str]] = {}
    for program in programs:
        wanted_by.setdefault(program.url, []).append(program.name)
    faults = []
    for program in programs:
        names = wanted_by[program.url]
        if len(names) > 1:
            faults.append((program, f"port {program.settings.port} is set for {' and '.join(names)}"))
        elif fault := _port_fault(program):
            faults.append((program, fault))
    return faults


def _port_fault(program: Program) -> str | None:
    host, port = program.settings.host, program.settings.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return f"port {port} is taken"
        own = program.name.upper()
        return f"cannot listen on {host}:{port} ({error.strerror}); check {own}_HOST and {own}_PORT"
    return None


def _another_port(program: Program) -> str:
    port = program.settings.port
    return f"{program.name.upper()}_PORT={port + 10_000 if port < 50_000 else port - 10_000}"


def _print_table(all_watched: Sequence[Watched], seconds: float, notices: Iterable[str]) -> None:
    rows = [
        (watched.program.name, watched.program.url, "healthy" if watched.was_ready else "NOT READY")
        for watched in all_watched
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    good = all(watched.was_ready for watched in all_watched)
    verdict = f"ready in {seconds:.1f} s" if good else "not everything started; the lines above say why"
    sys.stdout.write(
        "\n".join(["", *lines, "", *notices, verdict, *(_what_next(all_watched) if good else []), "", ""])
    )
    sys.stdout.flush()


def _what_next(all_watched: Iterable[Watched]) -> Iterator[str]:
    for watched in all_watched:
        notice = watched.program.settings.notice()
        if notice is not None:
            yield notice
    yield "stop with Ctrl-C"


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 - an address of our own
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _log_format(program: Program) -> str:
    chosen = program.settings.log_format
    if chosen != "auto":
        return chosen
    return "console" if sys.stdout.isatty() else "json"


def _ending(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
