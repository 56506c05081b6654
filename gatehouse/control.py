"""How `gatehouse upgrade` asks the running launcher to replace its programs.

The launcher listens on a socket in DATA_DIR that only its user can open. A request is one line of JSON,
`{"replace": ["orders"]}`. The response has one line for each program that was replaced, and ends with
`{"done": true}` or `{"failed": "why"}`.
"""

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ANSWER_SECONDS = 600.0  # for one program
PATH_BYTES_MAX = 107  # the longest path of a socket on Linux


class NotReplaced(Exception):
    """A program was not replaced; the message says why."""


Told = Callable[[str], None]
Replace = Callable[[Sequence[str], Told], Awaitable[None]]


def path_in(data_dir: Path) -> Path:
    return data_dir.absolute() / "launcher.sock"


class Control:
    """The launcher's side. One request is carried out at a time."""

    def __init__(self, path: Path, replace: Replace) -> None:
        self._path, self._replace = path, replace
        self._server: asyncio.Server | None = None
        self._one_at_a_time = asyncio.Lock()

    async def open(self) -> None:
        """Listen, unless another suite with this DATA_DIR does so, or the path is too long for a socket."""
        if len(os.fsencode(self._path)) > PATH_BYTES_MAX or connected(self._path) is not None:
            return
        listening = socket.socket(socket.AF_UNIX)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.unlink(missing_ok=True)  # of a launcher that was killed
            listening.bind(str(self._path))
            self._path.chmod(0o600)
            self._server = await asyncio.start_unix_server(self._answer, sock=listening)
        except OSError:  # DATA_DIR cannot be written: `gatehouse upgrade` cannot reach this launcher
            listening.close()

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            with suppress(OSError):
                self._path.unlink()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def told(name: str) -> None:
            writer.write(_line({"replaced": name}))

        with suppress(OSError, ValueError, KeyError, TypeError):
            names = list(map(str, json.loads(await reader.readline())["replace"]))
            async with self._one_at_a_time:
                writer.write(_line(await self._outcome(names, told)))
                await writer.drain()
        writer.close()

    async def _outcome(self, names: Sequence[str], told: Told) -> dict[str, Any]:
        try:
            await self._replace(names, told)
        except NotReplaced as error:
            return {"failed": str(error)}
        except Exception as error:  # noqa: BLE001 - the operator reads it; without a response we seem to have ended
            return {"failed": f"{type(error).__name__}: {error}"}
        return {"done": True}


def connected(path: Path) -> socket.socket | None:
    """Return a connection to the launcher; None if none runs."""
    channel = socket.socket(socket.AF_UNIX)
    try:
        channel.connect(str(path))
    except OSError:
        channel.close()
        return None
    return channel


def ask(path: Path, names: Sequence[str]) -> Iterator[str]:
    """Let the launcher replace these programs; yield each when it was replaced."""
    channel = connected(path)
    if channel is None:
        raise NotReplaced("`gatehouse up` has ended meanwhile")
    with channel:
        channel.settimeout(ANSWER_SECONDS)
        channel.sendall(_line({"replace": list(names)}))
        with channel.makefile("rb") as answers:
            for line in answers:
                answer = json.loads(line)
                if "replaced" in answer:
                    yield str(answer["replaced"])
                elif "failed" in answer:
                    raise NotReplaced(str(answer["failed"]))
                else:
                    return
    raise NotReplaced("`gatehouse up` has ended meanwhile")


def _line(told: dict[str, Any]) -> bytes:
    return json.dumps(told).encode() + b"\n"
