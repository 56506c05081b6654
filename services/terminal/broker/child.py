"""The broker as a child of the service: started again if it ends, and ended with the service."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

import structlog

from services.terminal.broker.wire import COMMAND

PAUSE_SECONDS, PAUSE_SECONDS_MAX = 0.1, 10.0
STEADY_SECONDS = 10.0  # after a broker that ran this long, the next one starts quickly again
PROGRAM = (sys.executable, "-m", "services.terminal", COMMAND)

log = structlog.get_logger(__name__)


class Child:
    """A broker that ends soon after every start is started less and less often."""

    def __init__(self, command: Sequence[str] = PROGRAM) -> None:
        self._command = command
        self._started, self._pause = 0.0, 0.0
        self.process: asyncio.subprocess.Process | None = None
        self.sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
        self.clock: Callable[[], float] = time.monotonic

    async def ensure(self) -> None:
        """Start the broker unless it is running."""
        if self.process is not None:
            if self.process.returncode is None:
                return
            await self._wait_after(self.process.returncode)
        self._started = self.clock()
        self.process = await asyncio.create_subprocess_exec(*self._command, stdin=asyncio.subprocess.PIPE)

    async def _wait_after(self, code: int) -> None:
        ran = self.clock() - self._started
        is_first = ran > STEADY_SECONDS or not self._pause
        self._pause = PAUSE_SECONDS if is_first else min(self._pause * 2, PAUSE_SECONDS_MAX)
        log.warning("broker_ended", exit_code=code, ran_seconds=round(ran, 1), restart_seconds=self._pause)
        await self.sleep(self._pause)

    async def close(self) -> None:
        """Tell the broker that the service ends, and wait for its end."""
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
            await self.process.wait()
