"""A backend in its own process, to be killed and stopped; it responds with its pid."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.gateway.backends import Backend as Listening
from tests.gateway.backends import Conversation, Handler
from tests.support import free_port

PROJECT = Path(__file__).parents[2]


class Process:
    """A backend that can be started more than once on one port."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __name__, str(self.port), cwd=PROJECT, stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert await self._process.stdout.readline() == b"ready\n"

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        if self._process is not None:
            if self._process.returncode is None:
                self._process.kill()
            await self._process.wait()
            self._process = None


@asynccontextmanager
async def processes(count: int) -> AsyncIterator[list[Process]]:
    backends = [Process() for _ in range(count)]
    try:
        await asyncio.gather(*(backend.start() for backend in backends))
        yield backends
    finally:
        for backend in backends:
            await backend.kill()


async def _who(conversation: Conversation) -> None:
    while await conversation.request() is not None:
        await conversation.answer(str(os.getpid()).encode())


async def _serve(port: int, handler: Handler) -> None:
    async with Listening(handler, port):
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), _who))
