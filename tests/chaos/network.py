"""A connection between two processes that can be cut, stalled and slowed, and whose packets can be lost."""

import asyncio
import ctypes
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

from tests.support import free_port

Mode = Literal["good", "cut", "stalled", "slow"]
SLOW_SECONDS = 0.2
LOST = 0.1  # of all packets
DROPPED = f"--match statistic --mode random --probability {LOST} --jump DROP"  # the end of a rule of iptables
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET; Python has os.unshare from 3.12


class Link:
    """Listens on a port of loopback and passes everything on to another, as its mode says."""

    def __init__(self, name: str, target: int) -> None:
        self.name = name
        self.port = free_port()
        self._target = target
        self._mode: Mode = "good"
        self._loop = asyncio.new_event_loop()
        self._passes = asyncio.Event()
        self._passes.set()
        self._writers: set[asyncio.StreamWriter] = set()

    def become(self, mode: Mode) -> None:
        asyncio.run_coroutine_threadsafe(self._become(mode), self._loop).result()

    async def _become(self, mode: Mode) -> None:
        self._mode = mode
        if mode == "stalled":
            self._passes.clear()
        else:
            self._passes.set()
        if mode == "cut":
            for writer in self._writers:
                writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, inner_writer}
        self._writers |= both
        try:
            # A side that is reset resets the other. Otherwise that one would wait for a response forever.
            with suppress(OSError, asyncio.CancelledError):  # cancelled: the link ends
                if self._mode != "cut":
                    await asyncio.gather(
                        self._pass_on(reader, inner_writer), self._pass_on(inner_reader, writer)
                    )
        finally:
            self._writers -= both
            for each in both:
                each.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            await self._passes.wait()
            if self._mode == "slow":
                await asyncio.sleep(SLOW_SECONDS)
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    def run(self, is_ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._connected, "127.0.0.1", self.port))
        is_ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)


@contextmanager
def link(name: str, target: int) -> Iterator[Link]:
    made, is_ready = Link(name, target), threading.Event()
    thread = threading.Thread(target=made.run, args=(is_ready,), name=f"link to {name}")
    thread.start()
    is_ready.wait()
    try:
        yield made
    finally:
        made.stop()
        thread.join()


def enter_own_network() -> bool:
    """Move this thread, and all it starts, to a network with nothing but loopback; only root may.

    Rules for packets end with that network, and concern nothing else on this machine.
    """
    ip = shutil.which("ip")
    if ip is None or ctypes.CDLL(None, use_errno=True).unshare(_NEW_NETWORK) != 0:
        return False
    subprocess.run([ip, "link", "set", "lo", "up"], check=True)
    return True


@contextmanager
def packets_lost(port: int) -> Iterator[None]:
    """Let the kernel drop some of the packets from and to a port."""
    rules = [f"INPUT --protocol tcp --{side} {port} {DROPPED}" for side in ("sport", "dport")]
    try:
        for rule in rules:
            subprocess.run(["iptables", "--wait", "--append", *rule.split()], check=True)
        yield
    finally:
        for rule in rules:  # one that could not be added cannot be deleted
            subprocess.run(
                ["iptables", "--wait", "--delete", *rule.split()], check=False, capture_output=True
            )
