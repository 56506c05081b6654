"""The broker: the only process that uses the engine's socket, which amounts to root on the host.

It offers the methods of a backend for one installation's boxes and nothing else. The service names a box and
its account; every path, label and option of a container is derived here.
"""

import asyncio
import os
import re
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import structlog

from services.terminal.backends.base import BoxEvent, Place, Start
from services.terminal.backends.docker import DockerBackend
from services.terminal.broker.wire import LINE_BYTES_MAX, SOCKET_NAME, Message, read, write
from services.terminal.errors import EngineUnavailable
from services.terminal.links import bound
from services.terminal.places import Places, require_no_links
from services.terminal.settings import HOLDER, BrokerSettings, Settings
from shared.errors import Problem
from shared.process.observe import configure_logging
from shared.process.settings import SettingsError, exit_on_bad_settings
from shared.process.tasks import end

CALLS_MAX = 200  # at the same time
WAITING_MAX = 8
OWNER_CHARACTERS_MAX = 64
SECONDS_MAX = 600.0
WORDS_MAX = 100
_ID = re.compile(r"[0-9A-Za-z-]{1,36}")
_PEER = struct.Struct("iII")  # process, user, group

log = structlog.get_logger(__name__)


class BadCall(Exception):
    """A call that the service never makes."""


class Broker:
    """Serves one service; a newer connection replaces the older one."""

    def __init__(self, backend: DockerBackend, places: Places, users: frozenset[int]) -> None:
        self._backend, self._places, self._users = backend, places, users
        self._writer: asyncio.StreamWriter | None = None
        self._calls: set[asyncio.Task[None]] = set()
        backend.on_event = self._tell

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._is_ours(writer):
            log.warning("broker_refused_user")
            writer.transport.abort()
            return
        if self._writer is not None:
            self._writer.transport.abort()
        self._writer = writer
        try:
            while (message := await read(reader)) is not None:
                self._begin(writer, message)
        except (OSError, ValueError, BadCall) as error:
            log.warning("broker_connection_ended", error=repr(error)[:200])
        finally:
            if self._writer is writer:
                self._writer = None
            writer.transport.abort()

    def _begin(self, writer: asyncio.StreamWriter, message: Message) -> None:
        if len(self._calls) >= CALLS_MAX:
            raise BadCall("too many calls at the same time")
        call = asyncio.create_task(self._answer(writer, message))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    def _is_ours(self, writer: asyncio.StreamWriter) -> bool:
        """Whether the other side runs as one of the expected users, according to the kernel."""
        connection: socket.socket = writer.get_extra_info("socket")
        peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        return _PEER.unpack(peer)[1] in self._users

    async def _answer(self, writer: asyncio.StreamWriter, message: Message) -> None:
        answer: Message = {"id": message.get("id")}
        try:
            answer["result"] = await self._call(message)
        except Problem as problem:
            answer["error"] = problem.code
        except (BadCall, KeyError, TypeError, ValueError) as error:
            log.warning("broker_refused_call", error=repr(error)[:200])
            answer["error"] = "bad_call"
        except Exception:  # whatever failed (the engine's socket, the disk), the service waits for a response
            log.exception("broker_call_failed", method=message.get("method"))
            answer["error"] = EngineUnavailable.code
        if not writer.is_closing():
            write(writer, answer)
            with suppress(OSError):
                await writer.drain()

    async def _call(self, message: Mapping[str, Any]) -> Any:
        """Carry out one call; everything in it is checked, because the service may be compromised."""
        backend, method = self._backend, message["method"]
        if method == "adopt":
            await backend.adopt([self._place(one) for one in message["boxes"]])
            return [*backend.running]
        if method == "describe":
            return await backend.describe()
        place = self._place(message["box"])
        calls: dict[str, Callable[[], Awaitable[Any]]] = {
            "ensure": lambda: backend.ensure(place),
            "begin": lambda: backend.begin(place, _start(message["start"])),
            "relay": lambda: backend.relay(place),
            "stop": lambda: backend.stop(place),
            "cpu_seconds": lambda: backend.cpu_seconds(place),
            "unlinked_bytes": lambda: backend.unlinked_bytes(place),
            "run": lambda: backend.run(place, _words(message["command"]), _seconds(message["seconds"])),
        }
        return await calls[method]()

    def _place(self, box: Mapping[str, Any]) -> Place:
        box_id, owner = box["id"], box["owner"]
        if not isinstance(box_id, str) or not _ID.fullmatch(box_id):
            raise BadCall("not the id of a box")
        if not isinstance(owner, str) or not 0 < len(owner) <= OWNER_CHARACTERS_MAX:
            raise BadCall("not an account")
        return self._places.of(box_id, owner)

    def _tell(self, event: BoxEvent) -> None:
        if self._writer is not None and not self._writer.is_closing():
            write(self._writer, {"event": asdict(event)})

    async def close(self) -> None:
        await end([*self._calls])
        if self._writer is not None:
            self._writer.transport.abort()
        await self._backend.close()


def _start(values: Mapping[str, Any]) -> Start:
    start = Start(values["terminal_id"], values["epoch"], values["rows"], values["columns"])
    are_ids = all(isinstance(one, str) and _ID.fullmatch(one) for one in (start.terminal_id, start.epoch))
    if not are_ids or type(start.rows) is not int or type(start.columns) is not int:
        raise BadCall("not a terminal")
    return start


def _words(command: object) -> list[str]:
    if not isinstance(command, list) or not 0 < len(command) <= WORDS_MAX:
        raise BadCall("not a command")
    if not all(isinstance(word, str) for word in command):
        raise BadCall("not a command")
    return command


def _seconds(value: object) -> float:
    if not isinstance(value, int | float) or not 0 < value <= SECONDS_MAX:
        raise BadCall("not a time limit")
    return value


def copy_holder(folder: Path) -> None:
    """Copy the holder's package in place: boxes that are running have this folder mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in HOLDER.glob("*.py"):
        copied = folder / f".{file.name}"
        copied.unlink(missing_ok=True)
        with copied.open("xb") as new:  # never writes through a link
            new.write(file.read_bytes())
            os.fchmod(new.fileno(), 0o644)
        copied.replace(folder / file.name)
    folder.chmod(0o755)


async def _serve_until_told(settings: Settings, *, follows_parent: bool) -> None:
    users = frozenset((os.getuid(),) if settings.broker_client is None else (settings.broker_client,))
    if settings.box_broker == "separate":
        require_no_links(settings, settings.root, settings.holder)
    if settings.holder != HOLDER:
        copy_holder(settings.holder)
    broker = Broker(DockerBackend(settings), Places(settings), users)
    listening = bound(settings.root, SOCKET_NAME, WAITING_MAX, for_boxes=False)
    if settings.broker_client is not None:
        os.chown(settings.root / SOCKET_NAME, settings.broker_client, -1, follow_symlinks=False)
    server = await asyncio.start_unix_server(broker.serve, sock=listening, limit=LINE_BYTES_MAX)
    log.info("broker_listening")
    try:
        if follows_parent:
            await _parent_is_gone()
        else:
            await asyncio.Event().wait()
    finally:
        server.close()
        await broker.close()


async def _parent_is_gone() -> None:
    """Wait for the end of standard input, which the service holds open as long as it lives."""
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    await reader.read()


def main() -> None:
    """Run until the service ends, or, as a process of its own, until it is stopped."""
    try:
        settings = BrokerSettings.load()
    except SettingsError as error:
        exit_on_bad_settings(error)
        return
    configure_logging(settings)
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve_until_told(settings, follows_parent=settings.box_broker == "child"))
