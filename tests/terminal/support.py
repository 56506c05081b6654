"""A terminal service in its own process, which can be killed, and a client that checks every byte."""

import asyncio
import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import pytest
import websockets
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from shared.ids import new_id
from shared.testing import TEST_INTERNAL_SECRET, TEST_JWT_SECRET, bearer, token
from tests import support

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS, END_SECONDS = 180, 30  # a busy machine took 26 s to start one service
TERM_V1 = Subprotocol("term.v1")
ACK_BYTES = 32 * 1024


class Service:
    """The service with its own directory and port; its holders outlive it until `close`."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder, self.port = folder, support.free_port()
        self._environment = {
            **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME")},
            "PORT": str(self.port),
            "DATA_DIR": str(folder),
            "JWT_SECRET": TEST_JWT_SECRET,
            "INTERNAL_SECRET": TEST_INTERNAL_SECRET,
            "BOX_SHELL": "/bin/sh",
            "BOX_BACKEND": "process",
            "AUDIT_URL": "http://127.0.0.1:9",
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.log = folder / "log"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def database_url(self) -> str:
        return self._environment.get("DATABASE_URL", f"sqlite:///{self.folder}/terminal.db")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.terminal"],
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        assert support.eventually(self._answers_or_ended, seconds=START_SECONDS), self.log.read_text()
        assert self._process.poll() is None, self.log.read_text()

    def _answers_or_ended(self) -> bool:
        return self._answers() or (self._process is not None and self._process.poll() is not None)

    def _answers(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/health").status_code == 200
        return False

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(END_SECONDS)

    def close(self) -> None:
        """End the service and all its holders."""
        try:
            if self._process is not None:
                self._end(self._process)
        finally:
            kill_holders(self.folder)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"the service did not end in {END_SECONDS} s:\n{self.log.read_text()[-4000:]}")

    def holders(self) -> list[int]:
        return holders_in(self.folder)

    def memory_bytes(self) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError


def command_lines() -> list[tuple[int, str]]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                found.append((int(folder.name), line))
    return found


def holders_in(folder: Path) -> list[int]:
    found = [pid for pid, line in command_lines() if "holder.main" in line and str(folder) in line]
    forked = {child for pid in found for child in children_of(pid)}  # not yet replaced by the shell
    return [pid for pid in found if pid not in forked]


def kill_holders(folder: Path) -> None:
    """Kill the holders of this folder and their shells, which outlive the service by intent."""
    for pid in holders_in(folder):
        for victim in (pid, *children_of(pid)):
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)


def holders_of(session: str) -> list[int]:
    return [pid for pid, line in command_lines() if "holder.main" in line and session in line]


def children_of(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


class Owner:
    """An account that owns terminals."""

    def __init__(self, url: str, user_id: str | None = None, **claims: Any) -> None:
        self.url = url
        self.user_id = user_id or new_id()
        self.token = token(self.user_id, **claims)
        self.headers = bearer(self.token)
        self.client = httpx.AsyncClient(base_url=url, headers=self.headers, timeout=30)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.client.aclose()

    async def open(self, tab: str = "1", **size: int) -> str:
        response = await self.client.post("/terminal/sessions", json={"tab": tab, **size})
        assert response.status_code == 201, response.text
        opened: str = response.json()["id"]
        return opened

    async def ticket(self, session: str, mode: str = "rw", **more: str) -> str:
        body = {"session": session, "mode": mode, **more}
        response = await self.client.post("/terminal/tickets", json=body)
        assert response.status_code == 201, response.text
        made: str = response.json()["ticket"]
        return made

    @asynccontextmanager
    async def connected(
        self, session: str, *, ticket: str | None = None, **options: Any
    ) -> AsyncIterator[ClientConnection]:
        query = f"session={session}" + (f"&ticket={ticket}" if ticket else "")
        headers = {} if ticket else {"Authorization": f"Bearer {self.token}"}
        address = self.url.replace("http", "ws", 1) + f"/terminal/ws?{query}"
        usual: dict[str, Any] = {"additional_headers": headers, "subprotocols": [TERM_V1], "max_size": None}
        async with websockets.connect(address, proxy=None, **{**usual, **options}) as socket:
            yield socket

    @asynccontextmanager
    async def watching(
        self, session: str, screen: "Screen | None" = None, *, ticket: str | None = None, **hello: Any
    ) -> AsyncIterator["Screen"]:
        screen = screen or Screen()
        async with self.connected(session, ticket=ticket) as socket:
            await screen.begin(socket, **hello)
            yield screen


class Screen:
    """A client's view of a shell: all its output, assembled over any number of sockets."""

    def __init__(self) -> None:
        self.output = bytearray()
        self.start: int | None = None
        self.epoch = ""
        self.controls: list[dict[str, Any]] = []
        self.socket: ClientConnection
        self._acked = 0
        self.acks = True
        self.came = asyncio.Event()  # set by every piece of output

    @property
    def offset(self) -> int:
        return (self.start or 0) + len(self.output)

    async def begin(self, socket: ClientConnection, rows: int = 24, cols: int = 80, **hello: Any) -> None:
        self.socket = socket
        resume = {"epoch": self.epoch, "offset": self.offset} if self.epoch else None
        self._acked = self.offset
        await self.control("hello", **{"rows": rows, "cols": cols, "resume": resume, **hello})

    async def control(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def type(self, text: str) -> None:
        await self.socket.send(text.encode())

    async def read(self) -> dict[str, Any] | bytes:
        """Read and process the next message."""
        message = await self.socket.recv()
        if isinstance(message, str):
            control: dict[str, Any] = json.loads(message)
            self._take_note(control)
            return control
        (offset,), data = struct.unpack_from("!Q", message), message[8:]
        assert offset == self.offset, f"got offset {offset}, expected {self.offset}"
        self.output += data
        self.came.set()
        if self.acks and self.offset - self._acked >= ACK_BYTES:
            await self.acknowledge()
        return data

    async def acknowledge(self) -> None:
        self._acked = self.offset
        await self.control("ack", offset=self._acked)

    def _take_note(self, control: dict[str, Any]) -> None:
        self.controls.append(control)
        if control["type"] == "hello":
            self.epoch = control["epoch"]
        elif control["type"] == "replay" and control["kind"] == "ring":
            self.start, self.output = control["from"], bytearray()
            self._acked = self.start or 0
        elif control["type"] == "skipped":
            self.start, self.output = control["offset"], bytearray()
            self._acked = control["offset"]

    async def until(self, text: bytes, *, count: int = 1) -> None:
        """Read until the output contains this text `count` times."""
        while self.output.count(text) < count:
            await self.read()

    async def until_control(self, kind: str) -> dict[str, Any]:
        while True:
            message = await self.read()
            if isinstance(message, dict) and message["type"] == kind:
                return message

    async def until_closed(self) -> int:
        try:
            while True:
                await self.read()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006
