"""Measured: time from key to echo, compared with a plain terminal; memory per terminal."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest

from tests.terminal.echo import OurTerminal, PlainTerminal, least_difference
from tests.terminal.support import Owner, Service

pytestmark = pytest.mark.prove

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


async def test_echo_through_the_service_takes_at_most_a_millisecond_more_than_on_a_plain_terminal(
    large_service: Service,
) -> None:
    async with Owner(large_service.url) as owner:
        session = await owner.open()
        more = await asyncio.to_thread(more_than_plain, large_service.port, session, owner.token)
        await owner.client.post("/terminal/stop")

    assert more <= ECHO_MORE_MS_MAX / 1000


def more_than_plain(port: int, session: str, token: str) -> float:
    """Return the seconds that an echo takes longer than on a plain terminal."""
    with closing(PlainTerminal()) as plain, closing(OurTerminal(port, session, token)) as ours:
        more = least_difference(plain, ours, ECHO_MORE_MS_MAX / 1000)
    print(f"{more * 1000:.3f} ms more")
    return more


async def test_a_hundred_open_terminals_use_little_memory_and_an_idle_core(large_service: Service) -> None:
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
