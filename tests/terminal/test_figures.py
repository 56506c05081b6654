"""Figures of a quiet machine: keystroke to echo beside a plain pseudo-terminal, and memory per terminal."""

import asyncio
import os
import pty
import statistics
import time
import tty
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.terminal.support import Owner, Screen, Service

pytestmark = pytest.mark.prove

KEYS = 400
KEY_SECONDS = 0.01  # between keys, as when someone types fast
ECHO_MORE_MS_MAX = 1.0
TERMINALS = 100
TERMINAL_BYTES_MAX = 300 * 1024
IDLE_SECONDS, IDLE_SHARE_MAX = 10.0, 0.5


@pytest.fixture(scope="module")
def large_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    started = Service(tmp_path_factory.mktemp("figures"), BOXES_MAX="200")
    try:
        started.start()
        yield started
    finally:
        started.close()


def echo_of_a_plain_terminal() -> list[float]:
    """The seconds from key to echo on a pseudo-terminal of this process, with the same program in it."""
    pid, master = pty.fork()
    if pid == 0:
        os.execvp("cat", ["cat"])
    try:
        tty.setcbreak(master)
        seconds = []
        for _ in range(KEYS):
            time.sleep(KEY_SECONDS)
            began = time.perf_counter()
            os.write(master, b"x")
            while b"x" not in os.read(master, 100):
                pass
            seconds.append(time.perf_counter() - began)
        return seconds
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(master)


async def echo_over(screen: Screen) -> list[float]:
    """The seconds from key to echo over a socket, while `cat` runs."""
    await screen.type("stty -icanon -echo; echo rea''dy; exec cat\n")
    await screen.until(b"ready\r\n")
    seconds = []
    for _ in range(KEYS):
        await asyncio.sleep(KEY_SECONDS)
        before = screen.offset
        began = time.perf_counter()
        await screen.type("x")
        while screen.offset == before:
            await screen.read()
        seconds.append(time.perf_counter() - began)
    return seconds


def words(seconds: list[float]) -> str:
    p50, p95 = statistics.median(seconds) * 1000, statistics.quantiles(seconds, n=20)[18] * 1000
    return f"p50 {p50:.3f} ms, p95 {p95:.3f} ms"


async def test_echo_through_the_service_takes_at_most_a_millisecond_more_than_on_a_plain_terminal(
    large_service: Service,
) -> None:
    plain = await asyncio.to_thread(echo_of_a_plain_terminal)
    async with Owner(large_service.url) as owner:
        async with owner.watching(await owner.open()) as screen:
            through = await echo_over(screen)
        await owner.client.post("/terminal/stop")
    print(f"plain: {words(plain)}; service: {words(through)}")

    assert statistics.median(through) - statistics.median(plain) <= ECHO_MORE_MS_MAX / 1000


async def test_hundred_open_terminals_use_little_memory_and_an_idle_core(large_service: Service) -> None:
    async with AsyncExitStack() as stack:
        warm = await stack.enter_async_context(Owner(large_service.url))
        await stack.enter_async_context(warm.watching(await warm.open()))
        before = large_service.memory_bytes()
        for _ in range(TERMINALS):
            owner = await stack.enter_async_context(Owner(large_service.url))
            screen = await stack.enter_async_context(owner.watching(await owner.open()))
            await screen.type("echo o''pen\n")
            await screen.until(b"open\r\n")
        each = (large_service.memory_bytes() - before) / TERMINALS
        used = cpu_seconds(large_service.pid)
        await asyncio.sleep(IDLE_SECONDS)
        share = (cpu_seconds(large_service.pid) - used) / IDLE_SECONDS
    print(f"{TERMINALS} terminals: {each / 1024:.0f} KiB each, {share * 100:.1f} % of one core while idle")

    assert each < TERMINAL_BYTES_MAX
    assert share < IDLE_SHARE_MAX


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
