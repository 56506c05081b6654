"""Process backend: shells run as the service's own user, without isolation, for development only."""

import asyncio
import fcntl
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from services.terminal.backends.base import BoxEvent, Isolation, Place, Start, ignore_event
from services.terminal.errors import EngineUnavailable, ShellNotStarted
from services.terminal.holder import PORTS_SOCKET, PROGRAM, RELAY
from services.terminal.holder.unlinked import unlinked_bytes
from services.terminal.links import SOCKET_NAME
from services.terminal.settings import Settings

START_SECONDS = 10.0
LINGER_SECONDS = 600
NICE = 5
FLAGS = ("-I", "-S", "-B", "-c")
LIMITS = {"core": 0, "nofile": 4096, "fsize": 5 << 30}
PATHS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ProcessBackend:
    """Starts holders that outlive the service; each keeps a lock, which shows that it is running."""

    name = "process"
    isolation: Isolation = "none"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.on_event: Callable[[BoxEvent], None] = ignore_event

    async def adopt(self, places: Sequence[Place]) -> None:
        """Do nothing: holders connect on their own, and their locks show which are running."""

    async def ensure(self, place: Place) -> None:
        place.home.mkdir(parents=True, exist_ok=True, mode=0o700)

    async def begin(self, place: Place, start: Start) -> None:
        lock = os.open(_lock_file(place, start.terminal_id), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            await self._run_detached(PROGRAM, {**self._config(place, start), "keep": lock}, [lock])
        except (OSError, TimeoutError) as error:
            raise ShellNotStarted from error
        finally:
            os.close(lock)

    async def relay(self, place: Place) -> None:
        try:
            await self._run_detached(RELAY, {"run": str(place.run), "socket": PORTS_SOCKET}, [])
        except (OSError, TimeoutError) as error:
            raise ShellNotStarted from error

    async def _run_detached(self, program: str, config: Mapping[str, Any], kept: Sequence[int]) -> None:
        """Run a program of the holder's package, which forks; its child keeps running."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *FLAGS, program, json.dumps(config), str(self._settings.holder.parent)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={},
            pass_fds=kept,
        )
        async with asyncio.timeout(START_SECONDS):
            if await process.wait() != 0:
                raise ShellNotStarted

    def _config(self, place: Place, start: Start) -> dict[str, Any]:
        shell = str(self._settings.shell)
        return {
            "terminal": start.terminal_id,
            "epoch": start.epoch,
            "run": str(place.run),
            "socket": SOCKET_NAME,
            "argv": [shell, "-l"],
            "directory": str(place.home),
            "environment": {
                "HOME": str(place.home),
                "PATH": PATHS,
                "SHELL": shell,
                "TERM": "xterm-256color",
                "LANG": "C.UTF-8",
            },
            "rows": start.rows,
            "columns": start.columns,
            "ring_bytes": self._settings.ring_bytes,
            "hold_seconds": self._settings.hold_seconds,
            "orphan_seconds": self._settings.idle_seconds,
            "linger_seconds": LINGER_SECONDS,
            "limits": LIMITS,
            "nice": NICE,
        }

    def is_alive(self, place: Place, terminal_id: str) -> bool:
        try:
            lock = os.open(_lock_file(place, terminal_id), os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    async def stop(self, place: Place) -> None:
        """Remove the lock files of terminals whose holder has exited."""
        for lock in place.run.glob("*.lock"):
            if not self.is_alive(place, lock.stem):
                lock.unlink(missing_ok=True)

    async def run(self, place: Place, command: Sequence[str], seconds: float) -> tuple[int, str]:  # noqa: ARG002
        raise EngineUnavailable

    async def cpu_seconds(self, place: Place) -> float | None:
        return await asyncio.to_thread(_cpu_seconds_with, f"HOME={place.home}".encode())

    async def unlinked_bytes(self, place: Place) -> int:
        return await asyncio.to_thread(unlinked_bytes, str(place.home))

    async def describe(self) -> dict[str, str]:
        return {}

    async def close(self) -> None:
        """Do nothing, as nothing is open."""


def _cpu_seconds_with(variable: bytes) -> float:
    """Add up the processor time of our processes with this variable, and of their children that ended."""
    ticks = 0
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError, IndexError):  # it has ended, or belongs to another user
            if folder.name.isdigit() and variable in (folder / "environ").read_bytes().split(b"\0"):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _lock_file(place: Place, terminal_id: str) -> Path:
    return place.run / f"{terminal_id}.lock"
