"""Load in an open model: arrivals do not wait for responses, and durations are those of the people."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gatehouse import cli
from gatehouse.load import NotRun
from gatehouse.load.client import Client, Failed
from gatehouse.load.journey import SHARES, Journey
from gatehouse.load.measure import Histogram, Measured, budget_of
from gatehouse.load.running import NOT_SENT, Plan, run

Answer = Callable[[str, str], Awaitable[bytes]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
REGISTERED = b'{"token": "abc"}'


def response(status: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[tuple[Client, Counter[str]]]:
    """Run a server that answers as told; an empty answer ends the connection."""
    seen: Counter[str] = Counter()
    handlers: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen["connections"] += 1
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                method, path, _ = lines[0].split()
                length = [line.partition(":")[2] for line in lines if line.startswith("Content-Length:")]
                await reader.readexactly(int(length[0]) if length else 0)
                seen[f"{method} {path}"] += 1
                answered = await answer(method, path)
                writer.write(answered)
                if not answered:
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client or the test has ended
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    client = Client("http://127.0.0.1:{1}".format(*server.sockets[0].getsockname()), timeout=10)
    try:
        yield client, seen
    finally:
        client.close()
        server.close()
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers)


async def well(method: str, path: str) -> bytes:
    return response("201 Created", REGISTERED) if path == "/auth/register" else OK


async def test_people_arrive_while_earlier_ones_still_wait() -> None:
    """The server answers nobody until twenty people wait; a model that waits for responses would hang."""
    waiting, enough = 0, asyncio.Event()

    async def slowly(method: str, path: str) -> bytes:
        nonlocal waiting
        if path == "/users/me":
            waiting += 1
            if waiting == 20:
                enough.set()
            await enough.wait()
        return await well(method, path)

    async with serving(slowly) as (client, _):
        journey = Journey(client, seed=1)
        await journey.prepare(1)
        plan = Plan(rate=200, seconds=0.5, shares={"me": 1})
        measured = await run(journey, plan, print)
    step = measured.steps["me"]
    assert step.times.count >= 20
    assert not step.errors
    # The first one waited until the twentieth had arrived, and this counts.
    assert step.times.longest > step.times.percentile(5)


async def test_arrivals_beyond_the_bound_are_counted_as_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    ended, pauses = asyncio.Event(), iter([0.001] * 50)

    async def late(_method: str, path: str) -> bytes:
        if path == "/auth/register":
            return response("201 Created", REGISTERED)
        await ended.wait()
        return OK

    def pause(_rate: float) -> float:
        for seconds in pauses:
            return seconds
        ended.set()
        return 1_000_000.0

    async with serving(late) as (client, _):
        journey = Journey(client, seed=1)
        await journey.prepare(1)
        monkeypatch.setattr(journey, "pause", pause)
        measured = await run(journey, Plan(500, 60, {"me": 1}, under_way_max=3), print)
    assert measured.steps["me"].errors == {NOT_SENT: 47}
    assert measured.steps["me"].times.count == 50


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (response("429 Too Many Requests", b'{"code": "rate_limited"}'), "rate_limited"),
        (response("502 Bad Gateway", b"<html>"), "status_502"),
        (b"", "connection_lost"),
        (b"no HTTP\r\n\r\n", "connection_lost"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n" + b"x" * 4_500_000, "response_too_large"),
    ],
)
async def test_errors_are_counted_by_step_and_code(answer: bytes, code: str) -> None:
    async def refusing(method: str, path: str) -> bytes:
        return answer if path == "/users/me" else await well(method, path)

    async with serving(refusing) as (client, _):
        journey = Journey(client, seed=1)
        await journey.prepare(1)
        measured = await run(journey, Plan(100, 0.1, {"me": 1}), print)
    step = measured.steps["me"]
    assert step.errors == {code: step.times.count}
    assert step.times.count > 0


async def test_connections_are_reused_and_chunked_bodies_read() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx"

    async def answer(_method: str, path: str) -> bytes:
        return closing if path == "/close" else chunked

    async with serving(answer) as (client, seen):
        for _ in range(5):
            assert (await client.request("GET", "/")).body == b"abcde"
        assert seen["connections"] == 1
        await client.request("GET", "/close")
        await client.request("GET", "/")
        assert seen["connections"] == 2


async def test_server_that_is_away_and_response_that_never_comes_have_their_codes() -> None:
    async def never(_method: str, _path: str) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with serving(never) as (client, _):
        impatient = Client(f"http://127.0.0.1:{client.port}", timeout=0.05)
        with pytest.raises(Failed, match="timeout"):
            await impatient.request("GET", "/")
    with pytest.raises(Failed, match="unreachable"):
        await Client(f"http://127.0.0.1:{client.port}").request("GET", "/")
    with pytest.raises(NotRun, match="unreachable"):
        await Journey(Client(f"http://127.0.0.1:{client.port}")).prepare(1)


def test_percentiles_are_exact_to_two_percent() -> None:
    chance, histogram = random.Random(8), Histogram()
    durations = [chance.lognormvariate(-4, 1) for _ in range(5_000)]
    for duration in durations:
        histogram.add(duration)
    durations.sort()
    for percent in (50, 95, 99, 100):
        exact = durations[-(-len(durations) * percent // 100) - 1]
        assert exact <= histogram.percentile(percent) * 1.0001 <= exact * 1.021


def test_exceeded_budgets_are_named() -> None:
    measured = Measured(list(SHARES))
    for number in range(100):
        measured.add("me", 0.010, "timeout" if number < 2 else "")
        measured.add("order", 0.100)
    for text, breach in {
        "p99=150": "",
        "me.p99=50": "",
        "order.p50=50": "order.p50 is 100 ms, more than 50 ms",
        "errors=0.5": "errors is 1%, more than 0.5%",
        "me.errors=2": "",
        "file.errors=0": "",
    }.items():
        assert budget_of(text, list(SHARES)).breach(measured) == breach
    for wrong in ("p99", "p98=1", "nobody.p99=1", "p99=-1", "p99=nan"):
        with pytest.raises(ValueError, match="is not a budget"):
            budget_of(wrong, list(SHARES))


@pytest.mark.parametrize(
    "words",
    [
        ["--rate", "fast"],
        ["--rate", "0"],
        ["--for", "10x"],
        ["--mix", "me=a"],
        ["--mix", "fly=1"],
        ["--mix", "me=0"],
    ],
)
def test_wrong_options_are_refused_with_an_example(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["load", "--target", "http://127.0.0.1:1", *words]) == 2
    assert words[0] in capsys.readouterr().err


async def test_command_prints_each_step_and_fails_on_a_budget(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def mostly(method: str, path: str) -> bytes:
        if path == "/orders":
            return response("201 Created", b'{"id": "7"}')
        if path == "/files":
            return response("507 Insufficient Storage", b'{"code": "disk_full"}')
        if path == "/auth/login":
            return response("200 OK", REGISTERED)
        return await well(method, path)

    async with serving(mostly) as (client, seen):
        target = ["load", "--target", f"http://127.0.0.1:{client.port}", "--users", "3", "--seed", "1"]
        more = ["--rate", "300/s", "--for", "0.5s", "--journal", str(tmp_path / "journal")]
        mix = ["--mix", "order=1,file=1,login=1,audit=1"]
        assert await asyncio.to_thread(cli.main, [*target, *more, *mix, "--json"]) == 1
        told = json.loads(capsys.readouterr().out)
        assert await asyncio.to_thread(cli.main, [*target, *more, "--mix", "me=1"]) == 0
        shown = capsys.readouterr().out
    assert told["errors"] == {"file": {"disk_full": told["steps"]["file"]["requests"]}}
    assert told["breaches"] == [f"errors is {told['breaches'][0].split()[2]} more than 1%"]
    assert set(told["steps"]) == {"order", "file", "login", "audit"}
    assert told["steps"]["order"]["requests"] == seen["POST /orders"]
    assert {"step", "me", "all"} <= {line.split()[0] for line in shown.splitlines()}
    assert len((tmp_path / "journal").read_text().splitlines()) == 3
