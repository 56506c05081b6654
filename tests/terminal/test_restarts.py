"""Restarts of the service: shells, their output and their exit status survive."""

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests import support
from tests.terminal.support import Owner, Screen, Service, children_of, holders_of

JAPANESE = "シェルは一文字も失わない。"
RECONNECT_SECONDS = 30
GROWTH_MAX = 8 << 20


@pytest.fixture(scope="module")
def own_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that the tests of this module may kill; each leaves it running."""
    started = Service(tmp_path_factory.mktemp("restarts"), HOLD_SECONDS="60")
    try:
        started.start()
        yield started
    finally:
        started.close()


async def read_to_the_end(owner: Owner, session: str, screen: Screen, end: bytes) -> None:
    """Read until `end`, resuming at the last offset whenever the socket is lost."""
    deadline = time.monotonic() + 240
    while end not in screen.output[-4096:]:
        assert time.monotonic() < deadline
        with suppress(ConnectionClosed, InvalidHandshake, OSError):
            async with owner.watching(session, screen):
                while end not in screen.output[-4096:]:
                    await screen.read()
                return
        await asyncio.sleep(0.05)


async def flood_over_kills(service: Service, lines: int, kills: int) -> int:
    """Print numbered lines while the service is killed repeatedly; return the number of bytes received."""
    async with Owner(service.url) as owner:
        session = await owner.open()
        screen = Screen()
        async with owner.watching(session, screen):
            await screen.type("stty -echo -opost; PS1=\n")
            await screen.until_control("replay_end")
            await screen.type(
                f'i=0; while [ $i -lt {lines} ]; do echo "$i {JAPANESE}"; i=$((i+1)); done; echo "the e"nd\n'
            )
            await screen.until(b"\n1 ")
        reading = asyncio.ensure_future(read_to_the_end(owner, session, screen, b"the end"))
        for _ in range(kills):
            screen.came.clear()
            coming = asyncio.ensure_future(screen.came.wait())
            await asyncio.wait([coming, reading], return_when=asyncio.FIRST_COMPLETED)
            coming.cancel()
            await asyncio.sleep(random.uniform(0.01, 0.2))  # at a random position in the stream
            await asyncio.to_thread(service.kill)
            await asyncio.to_thread(service.start)
        await reading
        output = bytes(screen.output)
        start = output.index(b"0 " + JAPANESE.encode())
        wanted = b"".join(f"{number} {JAPANESE}\n".encode() for number in range(lines))
        assert output[start : start + len(wanted)] == wanted
        assert output[start + len(wanted) :].startswith(b"the end")
        assert not any(one.get("truncated") for one in screen.controls)
        assert {one["type"] for one in screen.controls} <= {"hello", "replay", "replay_end", "size", "lead"}
        await owner.client.post("/terminal/stop")
        return len(output)


async def test_no_output_is_lost_when_the_service_is_killed(own_service: Service) -> None:
    await flood_over_kills(own_service, lines=20_000, kills=1)


@pytest.mark.prove
async def test_half_a_megabyte_of_output_for_each_kill_survives(own_service: Service) -> None:
    """Five kills by default; LENGTH=4 kills twenty times, during ten megabytes."""
    kills = round(support.length(5))
    assert await flood_over_kills(own_service, lines=13_000 * kills, kills=kills) > 500_000 * kills


async def test_exit_while_the_service_is_down_is_recorded_after_its_restart(own_service: Service) -> None:
    async with Owner(own_service.url) as owner:
        session = await owner.open()
        async with owner.watching(session) as screen:
            is_up = f"[ -d /proc/{own_service.pid} ]"
            await screen.type(f"echo rea''dy; while {is_up}; do sleep 0.05; done; exit 5\n")
            await screen.until(b"ready")
        (holder,) = holders_of(session)
        assert children_of(holder)
        own_service.kill()
        assert support.eventually(lambda: not children_of(holder), seconds=20)  # the shell has ended
        assert holders_of(session) == [holder]
        own_service.start()

        async def state() -> dict[str, object]:
            shown: dict[str, object] = (await owner.client.get(f"/terminal/sessions/{session}")).json()
            return shown

        deadline = time.monotonic() + 20
        while (shown := await state())["state"] != "ended":
            assert time.monotonic() < deadline, shown
            await asyncio.sleep(0.05)
        assert shown["exit_code"] == 5
        assert support.eventually(lambda: holders_of(session) == [], seconds=10), holders_of(session)


async def test_terminal_whose_holder_died_is_lost_right_after_a_restart(own_service: Service) -> None:
    async with Owner(own_service.url) as owner:
        session = await owner.open()
        own_service.close()  # ends every holder as well
        own_service.start()
        shown = (await owner.client.get(f"/terminal/sessions/{session}")).json()
        assert shown["state"] in ("open", "lost")
        deadline = time.monotonic() + 5
        while (await owner.client.get(f"/terminal/sessions/{session}")).json()["state"] != "lost":
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        await owner.open()  # the tab is free


async def test_second_service_with_the_same_data_directory_does_not_start(own_service: Service) -> None:
    second = Service(own_service.folder)
    second.log = own_service.folder / "second.log"
    second._environment["DATABASE_WAIT_SECONDS"] = "1"
    try:
        with pytest.raises(AssertionError):
            second.start()
    finally:
        second.close()
    assert "another terminal service is using" in second.log.read_text()


async def test_reader_that_stops_pauses_the_program_without_using_memory(own_service: Service) -> None:
    """`yes` runs while the browser hangs; afterwards Ctrl-C takes effect at once."""
    await hold_back(own_service, seconds=2)


@pytest.mark.prove
async def test_reader_that_stops_for_half_a_minute_uses_no_memory(own_service: Service) -> None:
    await hold_back(own_service, seconds=support.length(30))


async def hold_back(service: Service, seconds: float) -> None:
    async with Owner(service.url) as owner:
        session = await owner.open()
        async with owner.watching(session) as screen:
            await screen.until_control("replay_end")
            before = service.memory_bytes()
            screen.acks = False
            await screen.type("yes\n")
            await screen.until(b"y\r\n", count=10)
            await asyncio.sleep(seconds)  # the reader stays away for this long
            growth = service.memory_bytes() - before
            assert growth < GROWTH_MAX, f"{growth} bytes"
            screen.acks = True
            await screen.type("\x03")
            began = time.monotonic()
            await screen.acknowledge()
            await screen.type("echo sto''pped\n")
            await screen.until(b"stopped")
            print(
                f"growth {growth / 1e6:.2f} MB, {len(screen.output)} bytes, {time.monotonic() - began:.3f} s"
            )
            assert len(screen.output) < 2_000_000
