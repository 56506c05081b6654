"""SIGTERM under load: no request is lost, and the process always ends."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.gateway.backends import Backend, Conversation
from tests.gateway.conftest import StartBackend
from tests.gateway.support import Wire
from tests.support import free_port

PROJECT = Path(__file__).parents[2]
CLIENTS = 16
EXIT_SECONDS_MAX = 30


@asynccontextmanager
async def gateway_process(
    backend: Backend, folder: Path, **more: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    file, port = folder / "routes.yaml", free_port()
    file.write_text(
        f"routes: [{{path: /open, backend: '{backend.url}', auth: none, rate_limit: {{rate: 100000/s}}}}]"
    )
    environment = os.environ | {
        "ROUTES_FILE": str(file),
        "DATA_DIR": str(folder),
        "PORT": str(port),
        "ADMIN_PORT": "0",
        **more,
    }
    with (folder / "output").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", cwd=PROJECT, env=environment,
            stdin=asyncio.subprocess.PIPE, stdout=output,
        )  # fmt: skip
    try:
        async with asyncio.timeout(20):
            while True:
                try:
                    await (await connect(port)).close()
                    break
                except ConnectionRefusedError:
                    await asyncio.sleep(0.02)
        yield process, port
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def connect(port: int) -> Wire:
    return Wire(*await asyncio.open_connection("127.0.0.1", port))


async def test_sigterm_under_load_loses_no_request(start_backend: StartBackend, tmp_path: Path) -> None:
    async def answers(conversation: Conversation) -> None:
        while received := await conversation.request():
            await conversation.answer(received.target.encode())

    served, failures = [0] * CLIENTS, list[str]()
    warm = asyncio.Event()

    async def client(number: int, port: int) -> None:
        """Send one request after the other on one connection, until a response says `Connection: close`."""
        wire = await connect(port)
        while True:
            try:
                answer = await wire.request("POST", f"/open/{number}/{served[number]}", body=b"x" * 100)
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                failures.append(repr(error))
                return
            if answer.status != 200 or answer.body.decode() != f"/open/{number}/{served[number]}":
                failures.append(repr(answer))
            served[number] += 1
            if min(served) >= 20:
                warm.set()
            if answer.value("connection") == "close":
                await wire.close()
                return

    backend = await start_backend(answers)
    async with gateway_process(backend, tmp_path) as (process, port):
        clients = [asyncio.create_task(client(number, port)) for number in range(CLIENTS)]
        async with asyncio.timeout(EXIT_SECONDS_MAX):
            await warm.wait()
            process.send_signal(signal.SIGTERM)
            await asyncio.gather(*clients)
            await process.wait()
    assert failures == []
    assert sum(served) == len(backend.received)


async def test_streams_finish_and_endless_requests_are_ended(
    start_backend: StartBackend, tmp_path: Path
) -> None:
    go_on = asyncio.Event()

    async def streams(conversation: Conversation) -> None:
        received = await conversation.request()
        if received is None:
            return
        if received.target == "/open/socket":
            await conversation.send("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n")
            await conversation.reader.read()
            return
        await conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
        await go_on.wait()
        await conversation.send("67890")

    async with gateway_process(await start_backend(streams), tmp_path, DRAIN_SECONDS="2") as (process, port):
        stream, socket, endless = await connect(port), await connect(port), await connect(port)
        await stream.send("GET /open/stream HTTP/1.1\r\nHost: a\r\n\r\n")
        await socket.send(
            "GET /open/socket HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n"
        )
        await endless.send("POST /open/endless HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\nx")
        assert (await stream.head()).status == 200
        assert (await socket.head()).status == 101
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(EXIT_SECONDS_MAX):
            while not await _refuses(port):  # noqa: ASYNC110 - another process changes it
                await asyncio.sleep(0.01)
            go_on.set()
            assert await stream.reader.readexactly(10) == b"1234567890"
            assert await socket.is_closed()
            assert time.monotonic() - started >= 2, "the socket was not given its time"
            await process.wait()
        assert process.returncode == 0
        for wire in (stream, socket, endless):
            await wire.close()


async def _refuses(port: int) -> bool:
    try:
        await (await connect(port)).close()
    except ConnectionRefusedError:
        return True
    return False
