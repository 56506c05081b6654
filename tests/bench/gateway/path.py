"""`python -m tests.bench.gateway.path`: CPU per request of the policies and the parsers, without sockets.

All policies are on. The smallest of many short batches is the least disturbed by other processes. The number
of Python calls of a request is the same on every machine.
"""

import asyncio
import cProfile
import os
import pstats
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

import uvloop

from gateway.runtime.reload import first_table
from gateway.settings import Settings
from shared.process.observe import configure_logging
from shared.testing import TEST_JWT_SECRET, token
from tests.gateway.in_process import InMemory

COOKIE = "0123456789abcdef0123456789abcdef"
CLIENTS = 32
PATHS = 100
SECONDS = 4.0
CALL_TURNS = 20
ROOT = Path(__file__).parents[3]
PROJECT = (f"{ROOT / 'gateway'}/", f"{ROOT / 'shared'}/")
WARM_UP_SECONDS = 30
ROUTES = """
routes:
  - path: /orders
    backend: http://127.0.0.1:8003
    methods: ["GET"]
    rate_limit: {rate: 1000000/s, burst: 1000000, key: user}
"""
BROWSER = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    "Accept: application/json, text/plain, */*\r\nAccept-Language: en-US,en;q=0.5\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\nReferer: https://app.example.com/files\r\n"
    "Sec-Fetch-Dest: empty\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Site: same-origin\r\n"
    "Priority: u=0\r\nConnection: keep-alive\r\n"
)
BODY = b'{"id":"0c7e","user_id":"42","name":"file.pdf","size":1024000,"created":"2025-10-15T10:35:00Z"}'
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Thu, 26 Nov 2026 21:17:43 GMT\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\nConnection: keep-alive\r\n\r\n%b"
    % (len(BODY), BODY)
)


class Load:
    """Clients that send one request each, and targets that respond to it."""

    def __init__(self, running: InMemory, requests: list[bytes]) -> None:
        self._running = running
        self._clients = [running.client() for _ in range(CLIENTS)]
        self._requests = requests
        self._turn = 0

    async def turn(self) -> list[bytes]:
        self._turn += 1
        for place, (client, _) in enumerate(self._clients):
            client.data_received(self._requests[(self._turn * 7 + place * 13) % len(self._requests)])
        await asyncio.sleep(0)
        self._respond()
        await asyncio.sleep(0)
        return [wire.taken() for _, wire in self._clients]

    def _respond(self) -> None:
        for connection, wire in self._running.targets:
            if wire.written:
                wire.written.clear()
                connection.data_received(ANSWER)

    async def warm_up(self) -> None:
        """Verify the token and connect to the targets; then every turn responds to all clients."""
        await self.turn()
        async with asyncio.timeout(WARM_UP_SECONDS):
            while len(self._running.gateway.idle) < CLIENTS:
                await asyncio.sleep(0.01)
                self._respond()
        await self.turn()
        answers = await self.turn()
        if not all(answer.startswith(b"HTTP/1.1 200") for answer in answers):
            sys.exit(f"unexpected response: {answers[0]!r}")


def requests_of(kind: str) -> list[bytes]:
    """Return what a client sends: always the same, with varied paths, as a browser does, or with a cookie."""
    more = BROWSER if kind == "browser" else ""
    credential = (
        f"Cookie: session={COOKIE}" if kind == "cookie" else f"Authorization: Bearer {token('bench')}"
    )
    paths = ["/orders/me"] if kind == "same" else [f"/orders/{k * 7919}/x?page={k}" for k in range(PATHS)]
    tail = f"HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n{credential}\r\n{more}\r\n"
    return [f"GET {path} {tail}".encode() for path in paths]


async def _measure(settings: Settings) -> None:
    table = first_table(settings)
    for kind in ("same", "varied", "browser", "cookie"):
        running = InMemory(settings, table)
        running.gateway.exchange.keep(COOKIE.encode(), token("bench"), time.monotonic() + 3600)
        load = Load(running, requests_of(kind))
        await load.warm_up()
        costs: list[float] = []
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            before = time.process_time()
            await load.turn()
            costs.append((time.process_time() - before) / CLIENTS * 1e6)
        costs.sort()
        found = f"{costs[0]:>7.1f} µs at least{costs[len(costs) // 2]:>7.1f} µs median"
        sys.stderr.write(f"{kind:<10}{found}{await _calls(load):>7.1f} calls\n")
        if "--profile" in sys.argv:
            await _profile(load)


async def _calls(load: Load) -> float:
    """Return the number of Python functions of the project that one request calls."""
    counted = 0

    def count(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal counted
        counted += event == "call" and frame.f_code.co_filename.startswith(PROJECT)

    sys.setprofile(count)
    for _ in range(CALL_TURNS):
        await load.turn()
    sys.setprofile(None)
    return counted / CALL_TURNS / CLIENTS


async def _profile(load: Load) -> None:
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(200):
        await load.turn()
    profile.disable()
    pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(45)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        routes = Path(name) / "routes.yaml"
        routes.write_text(ROUTES)
        os.environ |= {
            "JWT_SECRET": TEST_JWT_SECRET,
            "ROUTES_FILE": str(routes),
            "ADMIN_PORT": "0",
            "DATA_DIR": name,
            "LOG_FORMAT": "json",
        }
        settings = Settings.load()
        configure_logging(settings)
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - the access log, written but not needed
        uvloop.run(_measure(settings))


if __name__ == "__main__":
    main()
