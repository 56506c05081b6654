"""`python -m tests.bench.gateway.reloads`: a thousand reloads of a real process under load.

Prints the number of requests and WebSocket messages, the failures, and the latency before and during the
reloads. The exit code is 1 if anything failed.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from websockets.asyncio.client import connect as open_socket
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import WebSocketException

from tests.gateway.backends import Backend, echo
from tests.gateway.test_drain import connect, gateway_process
from tests.support import free_port

RELOADS = int(os.environ.get("RELOADS", "1000"))
CLIENTS = 16
SOCKETS = 16
WARM_SECONDS = 3.0
LIMIT = "rate_limit: {rate: 1000000/s}"


@dataclass
class Tally:
    """The results of one phase."""

    seconds: list[float] = field(default_factory=list)
    messages: int = 0
    failures: list[str] = field(default_factory=list)

    def show(self, name: str, lasted: float) -> None:
        cuts = [cut * 1000 for cut in statistics.quantiles(self.seconds, n=100)]
        print(
            f"{name:<18}{len(self.seconds):>9,} requests ({len(self.seconds) / lasted:,.0f}/s), "
            f"{self.messages:,} messages, {len(self.failures)} failed, "
            f"p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms, longest {max(self.seconds) * 1000:.0f} ms"
        )


class Load:
    """HTTP clients and WebSockets that run until `is_over`; `tally` may be replaced between phases."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.tally = Tally()
        self.is_over = False

    async def ask(self) -> None:
        wire = await connect(self.port)
        while not self.is_over:
            started = time.perf_counter()
            try:
                answer = await wire.request("POST", "/open/x", body=b"x" * 100)
            except (OSError, asyncio.IncompleteReadError) as error:
                self.tally.failures.append(repr(error))
                wire = await connect(self.port)
                continue
            self.tally.seconds.append(time.perf_counter() - started)
            if answer.status != 200:
                self.tally.failures.append(str(answer.status))
        await wire.close()

    async def talk(self) -> None:
        try:
            async with open_socket(f"ws://127.0.0.1:{self.port}/socket") as socket:
                while not self.is_over:
                    await socket.send("still there?")
                    await socket.recv()
                    self.tally.messages += 1
        except WebSocketException as error:
            self.tally.failures.append(repr(error))


async def main(more_routes: int = 0) -> int:
    async def echoes(socket: ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)

    with tempfile.TemporaryDirectory() as folder:
        async with Backend(echo) as backend, serve(echoes, "127.0.0.1", 0) as sockets:
            socket_url = f"http://127.0.0.1:{next(iter(sockets.sockets)).getsockname()[1]}"
            admin_port = free_port()
            async with gateway_process(backend, Path(folder), ADMIN_PORT=str(admin_port)) as (_, port):
                always = [
                    f"{{path: /open, backend: '{backend.url}', auth: none, {LIMIT}}}",
                    f"{{path: /socket, backend: '{socket_url}', auth: none}}",
                    *(f"{{path: /more/{n}, backend: '{backend.url}'}}" for n in range(more_routes)),
                ]
                return await _measure(Path(folder) / "routes.yaml", always, port, admin_port)


async def _measure(file: Path, always: list[str], port: int, admin_port: int) -> int:
    load = Load(port)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{admin_port}", trust_env=False) as admin:

        async def reload(number: int) -> None:
            lines = [*always, f"{{path: /only-{number}, backend: 'http://127.0.0.1:9'}}"]
            await asyncio.to_thread(file.write_text, f"routes: [{', '.join(lines)}]")
            answer = await admin.post("/reload", timeout=60)
            if not answer.json()[0]["success"]:
                load.tally.failures.append(answer.text)

        await reload(-1)
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(load.ask())
            for _ in range(SOCKETS):
                group.create_task(load.talk())
            await asyncio.sleep(WARM_SECONDS)
            calm, load.tally = load.tally, Tally()
            started = time.monotonic()
            for number in range(RELOADS):
                await reload(number)
            lasted = time.monotonic() - started
            load.is_over = True
    calm.show("before", WARM_SECONDS)
    load.tally.show(f"{RELOADS:,} reloads", lasted)
    for failure in (*calm.failures, *load.tally.failures):
        print(failure)
    print(f"{RELOADS / lasted:,.0f} reloads per second, {len(always) + 1} routes")
    return 1 if calm.failures or load.tally.failures else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*map(int, sys.argv[1:]))))
