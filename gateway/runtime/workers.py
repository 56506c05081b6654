"""Several workers on one port, and the parent that starts, supervises, queries and stops them.

Each worker has its own listening socket on the same port, and the kernel spreads connections over them. The
parent keeps all of them open, so a worker's successor serves connections left in the queue. Each worker
responds to the parent on a Unix socket and keeps its counts in files of its own.
"""

import asyncio
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import httpx
import structlog
from prometheus_client import multiprocess
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.runtime import admin_listener
from gateway.runtime.process_status import WORKER, Inside
from gateway.runtime.reload import KEPT_ROUTES
from gateway.settings import Settings
from gateway.telemetry.metrics import METRICS_FOLDER, exposition
from shared.process.server import listen
from shared.process.supervision import LISTEN_FD, SUPERVISED, follow_parent, report_phase

CONTROL = "GATEHOUSE_CONTROL"  # the Unix socket on which a worker responds to its parent
BACKOFF_SECONDS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
STEADY_SECONDS = 30.0  # a worker that ran this long restarts without delay
STOP_SECONDS = 5.0  # in addition to the drain time
ASK_SECONDS = 2.0
RELOAD_SECONDS = 30.0
POLL_SECONDS = 0.05
GAUGE_SECONDS = 1.0
BACKLOG = 2048

log = structlog.get_logger(__name__)


@asynccontextmanager
async def answering_parent(inside: Inside) -> AsyncIterator[None]:
    """Serve the parent's requests, in a worker."""
    path = os.environ[CONTROL]

    async def state(_request: Request) -> Response:
        return JSONResponse(inside.state())

    async def brief(_request: Request) -> Response:
        return JSONResponse(inside.brief())

    async def reload(_request: Request) -> Response:
        return JSONResponse(await inside.reload())

    async def leave(_request: Request) -> Response:
        inside.leave()
        return JSONResponse({"leaving": True})

    app = Starlette(
        routes=[
            Route("/state", state),
            Route("/brief", brief),
            Route("/reload", reload, methods=["POST"]),
            Route("/leave", leave, methods=["POST"]),
        ]
    )
    noting = asyncio.create_task(_note_gauges(inside))
    async with admin_listener.served(app, _bound(path)):
        yield
    noting.cancel()


async def _note_gauges(inside: Inside) -> None:
    while True:
        inside.note_gauges()
        await asyncio.sleep(GAUGE_SECONDS)


def _bound(path: str) -> socket.socket:
    Path(path).unlink(missing_ok=True)  # left by a killed predecessor
    opened = socket.socket(socket.AF_UNIX)
    opened.bind(path)
    return opened


class Worker:
    """One worker: started, queried, and restarted if it ends unexpectedly."""

    def __init__(self, number: int, settings: Settings, folder: Path) -> None:
        self.number = number
        self.is_stopping = False
        self._settings = settings
        self._folder = folder
        self._control = folder / f"{number}.sock"
        self._process: asyncio.subprocess.Process | None = None
        self._socket: socket.socket | None = None
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(
                uds=str(self._control), verify=False
            ),  # only the worker listens there
            base_url="http://worker",
            trust_env=False,
        )
        self.was_ready = False
        self.open_port()

    def open_port(self) -> None:
        if self._socket is None:
            self._socket = listen(self._settings, shared=True)
            self._socket.listen(BACKLOG)

    def close_port(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def run(self) -> int:
        """Keep the worker running until it is stopped; return the exit code if it cannot start at all."""
        failures = 0
        while True:
            started = time.monotonic()
            code = await self._run_once()
            if self.is_stopping or not self.was_ready:
                return code
            failures = 0 if time.monotonic() - started > STEADY_SECONDS else failures + 1
            delay = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)]
            log.error("worker_ended", worker=self.number, exit_code=code, starting_again_in_seconds=delay)
            if failures > 1:
                self.close_port()  # the other workers take its connections during the delay
            await asyncio.sleep(delay)
            if self.is_stopping:
                return code

    async def _run_once(self) -> int:
        self.open_port()
        assert self._socket is not None
        number = self._socket.fileno()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway.worker",
            env={
                **os.environ,
                WORKER: str(self.number),
                CONTROL: str(self._control),
                LISTEN_FD: str(number),
                SUPERVISED: "1",
                KEPT_ROUTES: str(self._folder / "routes.yaml"),
                METRICS_FOLDER: str(self._folder / "metrics"),
            },
            stdin=asyncio.subprocess.PIPE,  # closes when we die, which tells the worker to stop
            pass_fds=(number,),
            start_new_session=True,  # Ctrl-C reaches only us, and we stop the workers
        )
        if self.is_stopping:  # stopped while it was being started
            self.signal(signal.SIGTERM)
        log.info("worker_started", worker=self.number, pid=self._process.pid)
        code = await self._process.wait()
        forget_gauges = cast("Callable[[int, str], None]", multiprocess.mark_process_dead)
        forget_gauges(self.number, str(self._folder / "metrics"))
        return code

    async def ready(self) -> None:
        """Wait until the worker responds."""
        while not self.was_ready:
            self.was_ready = await self.ask("GET", "/state", ASK_SECONDS) is not None
            if not self.was_ready:
                await asyncio.sleep(POLL_SECONDS)

    async def ask(self, method: str, path: str, seconds: float) -> dict[str, Any] | None:
        try:
            answer = await self._client.request(method, path, timeout=seconds)
            answer.raise_for_status()
        except httpx.HTTPError:
            return None
        found: dict[str, Any] = answer.json()
        return found

    def signal(self, number: int) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def close(self) -> None:
        await self._client.aclose()


class Workers:
    """All workers, as the parent controls them."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        (folder / "metrics").mkdir()
        self._workers = [Worker(number, settings, folder) for number in range(1, settings.workers + 1)]
        self._asked_to_stop = asyncio.Event()

    async def run(self) -> int:
        """Start all workers, wait, and stop all; return the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_stop)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        running = [asyncio.create_task(worker.run()) for worker in self._workers]
        asked = asyncio.create_task(self._asked_to_stop.wait())
        ready = asyncio.gather(*(worker.ready() for worker in self._workers))
        try:
            async with AsyncExitStack() as stack:
                waiting: set[asyncio.Future[Any]] = {asked, ready, *running}
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if ready.done():
                    await stack.enter_async_context(admin_listener.listening(self, self._settings))
                    log.info("workers_ready", workers=len(self._workers))
                    report_phase("listening")
                await asyncio.wait({asked, *running}, return_when=asyncio.FIRST_COMPLETED)
                # Workers are restarted unless they never became ready; such a worker has printed the reason.
                return next((task.result() for task in running if task.done()), 0)
        finally:
            ready.cancel()
            asked.cancel()
            await self._stop(running)

    async def _stop(self, running: list[asyncio.Task[int]]) -> None:
        for worker in self._workers:
            worker.is_stopping = True
            worker.close_port()
            worker.signal(signal.SIGTERM)
        _, late = await asyncio.wait(running, timeout=self._settings.drain_seconds + STOP_SECONDS)
        if late:
            log.error("workers_killed", workers=len(late))
            self._kill()
            for task in late:
                task.cancel()
        await asyncio.gather(*(worker.close() for worker in self._workers))

    def _on_stop(self) -> None:
        if self._asked_to_stop.is_set():  # the second signal: do not wait any longer
            self._kill()
        self._asked_to_stop.set()

    def _kill(self) -> None:
        for worker in self._workers:
            worker.signal(signal.SIGKILL)

    def _on_hangup(self) -> None:
        for worker in self._workers:
            worker.signal(signal.SIGHUP)

    # Called by the admin listener.

    async def states(self) -> list[dict[str, Any]]:
        return await self._ask_all("GET", "/state", ASK_SECONDS)

    async def reload(self) -> list[dict[str, Any]]:
        return await self._ask_all("POST", "/reload", RELOAD_SECONDS)

    async def drain(self, notice_seconds: float) -> None:
        await self._ask_all("POST", "/leave", ASK_SECONDS)
        asyncio.get_running_loop().call_later(notice_seconds, self._asked_to_stop.set)

    def metrics(self) -> bytes:
        return exposition(self._folder / "metrics")

    async def _ask_all(self, method: str, path: str, seconds: float) -> list[dict[str, Any]]:
        answers = await asyncio.gather(*(worker.ask(method, path, seconds) for worker in self._workers))
        return [answer for answer in answers if answer is not None]


def run(settings: Settings) -> int:
    """Run the parent until it is stopped."""
    listen(settings).close()  # prints one sentence if the port is taken
    follow_parent()
    report_phase("starting workers")
    with tempfile.TemporaryDirectory(prefix="gatehouse-") as folder:
        return asyncio.run(_run(settings, Path(folder)))


async def _run(settings: Settings, folder: Path) -> int:
    return await Workers(settings, folder).run()
