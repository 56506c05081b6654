"""Starts the processes of the suite: by fork from a warm process, or each with its own Python."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from gatehouse.programs import OF_BACKUPS
from shared.process.supervision import HAND_OVER, HANDED_OVER, LISTEN_FD

LINE_BYTES_MAX = 1024 * 1024
HAND_OVER_SECONDS = 5.0
MESSAGE_BYTES_MAX = 1 << 20  # between the fork server and the launcher
PROGRAMS = "GATEHOUSE_PROGRAMS"  # the modules that the fork server imports
# Imported by the fork server: after a change, the next process is forked from a new server.
IMPORTED_ONCE = ("shared", "contracts")
# An argument that reserves room for the process name, which is written after the fork.
_ROOM = "-" * 64


class Process(Protocol):
    """The part of a process that the launcher uses, however it was started."""

    @property
    def pid(self) -> int: ...
    @property
    def stdout(self) -> asyncio.StreamReader | None: ...
    @property
    def returncode(self) -> int | None: ...
    async def wait(self) -> int: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...
    def tell(self, words: bytes) -> None: ...
    async def hand_over(self) -> socket.socket | None:
        """Return a copy of the socket on which the process listens; None if it does not give one."""


class Starter(Protocol):
    async def start(
        self, module: str, environment: Mapping[str, str], listening: socket.socket | None = None
    ) -> Process:
        """Start a process, which listens on this socket, or else opens its own."""

    def renew(self, programs: Sequence[str]) -> None:
        """Start later processes from the code that is on disk now."""

    def close(self) -> None: ...


class Executed:
    """A process with its own Python."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid, self.stdout = process.pid, process.stdout
        self.wait, self.terminate, self.kill = process.wait, process.terminate, process.kill

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    def tell(self, words: bytes) -> None:
        if self._process.stdin is not None and self.returncode is None:
            self._process.stdin.write(words)

    async def hand_over(self) -> socket.socket | None:
        return None


class ByExecution:
    """Starts each process on its own, where fork is not safe, as on macOS."""

    async def start(
        self, module: str, environment: Mapping[str, str], listening: socket.socket | None = None
    ) -> Process:
        files = () if listening is None else (listening.fileno(),)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            env=environment if listening is None else {**environment, LISTEN_FD: str(listening.fileno())},
            pass_fds=files,
            stdin=asyncio.subprocess.PIPE,  # closes when we die, which tells the process to stop
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=LINE_BYTES_MAX,
            start_new_session=True,  # Ctrl-C reaches only us, and we stop the programs in order
        )
        return Executed(process)

    def renew(self, programs: Sequence[str]) -> None:
        """Do nothing: each process reads the code anew."""

    def close(self) -> None:
        """Do nothing: nothing stays open between two starts."""


class Forked:
    """A process created by the fork server; a handle (pidfd) ensures that no other process is signalled."""

    def __init__(self, pid: int, handle: int, stdin: socket.socket, stdout: asyncio.StreamReader) -> None:
        self.pid, self.stdout = pid, stdout
        self._handle, self._stdin = handle, stdin
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def returncode(self) -> int | None:
        return self._ended.result() if self._ended.done() else None

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def tell(self, words: bytes) -> None:
        if not self._ended.done():
            with suppress(OSError):
                self._stdin.send(words)

    async def hand_over(self) -> socket.socket | None:
        self.tell(HAND_OVER)
        loop, answered = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._stdin, answered.set)
        try:
            async with asyncio.timeout(HAND_OVER_SECONDS):
                await answered.wait()
            _, files, _, _ = socket.recv_fds(self._stdin, len(HANDED_OVER), 1)
        except OSError:  # or a timeout
            return None
        finally:
            loop.remove_reader(self._stdin)
        return socket.socket(fileno=files[0]) if files else None

    def note_end(self, code: int) -> None:
        if self._ended.done():
            return
        self._ended.set_result(code)
        os.close(self._handle)
        self._stdin.close()

    def watch_alone(self) -> None:
        """Watch for the end of the process without its exit code, since the fork server is gone."""
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(self._handle)
            self.note_end(1)

        loop.add_reader(self._handle, ended)

    def _signal(self, number: signal.Signals) -> None:
        if not self._ended.done():
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)


class _Server:
    """One fork server and the processes it has created; it imports these programs before it forks any."""

    def __init__(self, programs: Sequence[str]) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._programs = programs
        self.born = time.time()
        with theirs:
            command = [sys.executable, "-m", "gatehouse.fork_server", str(theirs.fileno()), _ROOM]
            self._process = subprocess.Popen(  # noqa: S603 - our own
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                # Not as arguments: a search for the processes of a program must not find this one.
                env={**_inheritable(), PROGRAMS: " ".join(programs)},
                start_new_session=True,
            )
        self._channel.setblocking(False)
        self._is_read = False
        self.is_gone = False
        self._starting: deque[asyncio.Future[tuple[int, int]]] = deque()
        self._processes: dict[int, Forked] = {}
        self._ended_early: dict[int, int] = {}

    async def fork(
        self, module: str, environment: Mapping[str, str], listening: socket.socket | None
    ) -> Forked:
        loop = asyncio.get_running_loop()
        if not self._is_read:
            self._is_read = True
            loop.add_reader(self._channel, self._receive)
        stdin, their_stdin = socket.socketpair()
        stdin.setblocking(False)
        stdout, their_stdout = os.pipe()
        given = [their_stdin.fileno(), their_stdout]
        given += [] if listening is None else [listening.fileno()]
        message = json.dumps({"module": module, "environment": dict(environment)}).encode()
        started: asyncio.Future[tuple[int, int]] = loop.create_future()
        try:
            socket.send_fds(self._channel, [message], given)
            self._starting.append(started)
            pid, handle = await started
        except OSError:
            stdin.close()
            os.close(stdout)
            raise
        finally:
            their_stdin.close()
            os.close(their_stdout)
        process = Forked(pid, handle, stdin, await _reader(stdout))
        self._processes[pid] = process
        if (code := self._ended_early.pop(pid, None)) is not None:
            self._note_end(pid, code)
        elif self.is_gone:
            process.watch_alone()
        return process

    def _receive(self) -> None:
        while True:
            try:
                message, files, _, _ = socket.recv_fds(self._channel, MESSAGE_BYTES_MAX, 1)
            except BlockingIOError:
                return
            except OSError:
                message, files = b"", []
            if not message:
                self._lost()
                return
            self._take(json.loads(message), files)

    def _take(self, message: Mapping[str, Any], files: list[int]) -> None:
        if "started" in message:
            self._starting.popleft().set_result((message["started"], files[0]))
        else:
            self._note_end(message["ended"], message["code"])

    def _note_end(self, pid: int, code: int) -> None:
        process = self._processes.pop(pid, None)
        if process is None:
            self._ended_early[pid] = code
        else:
            process.note_end(code)

    def _lost(self) -> None:
        self.is_gone = True
        asyncio.get_running_loop().remove_reader(self._channel)
        while self._starting:
            self._starting.popleft().set_exception(ConnectionError("the fork server has ended"))
        for process in self._processes.values():
            process.watch_alone()

    def close(self) -> None:
        """Stop the server. The processes that it has created keep running."""
        self._channel.close()
        self._process.terminate()
        self._process.wait()

    def is_stale(self, root: Path, module: str) -> bool:
        """Whether code that a process of this module would inherit has changed."""
        own = [module.replace(".", "/")] if module in self._programs else []
        return newest_change(root, [*IMPORTED_ONCE, *own]) > self.born


def _inheritable() -> dict[str, str]:
    """Return our environment without variables that no program gets: forked processes show it in /proc."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OF_BACKUPS)}


class ByFork:
    """Forks processes from a warm server, which is replaced when its code has changed or it has died."""

    def __init__(self, root: Path, programs: Sequence[str] = ()) -> None:
        """Start importing at once, while the settings are read; a process shares what was imported."""
        self._root, self._programs = root, programs
        self._server = _Server(programs)
        self._retired: list[_Server] = []  # they report the exit codes of their processes
        self._alone = ByExecution()

    async def start(
        self, module: str, environment: Mapping[str, str], listening: socket.socket | None = None
    ) -> Process:
        if self._server.is_gone or self._server.is_stale(self._root, module):
            self.renew(self._programs)
        try:
            return await self._server.fork(module, environment, listening)
        except OSError:
            # The server could not import the common modules, or an order was too large: a process started
            # on its own reports the error.
            return await self._alone.start(module, environment, listening)

    def renew(self, programs: Sequence[str]) -> None:
        self._retired.append(self._server)
        self._programs = programs
        self._server = _Server(programs)

    def close(self) -> None:
        for server in (*self._retired, self._server):
            server.close()


def newest_change(root: Path, parts: Iterable[str]) -> float:
    """Return the time of the last change of any Python file below these folders."""
    files = (file for part in parts for file in (root / part).rglob("*.py"))
    return max((_changed(file) for file in files), default=0.0)


def _changed(file: Path) -> float:
    with suppress(OSError):
        return file.stat().st_mtime
    return 0.0


async def _reader(file: int) -> asyncio.StreamReader:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LINE_BYTES_MAX, loop=loop)
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader, loop=loop), os.fdopen(file, "rb", 0)
    )
    return reader


def can_fork() -> bool:
    """Whether forking is safe: outside Linux, system libraries start threads that Python does not know of."""
    return sys.platform == "linux" and hasattr(os, "pidfd_open")
