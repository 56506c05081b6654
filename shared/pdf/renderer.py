"""Renders PDFs in a worker process: if it hangs, runs out of memory or dies, the service is not affected."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import structlog

from shared.errors import Overloaded
from shared.pdf.errors import NotRendered, Reason
from shared.pdf.frames import LENGTH_BYTES, packed

ROOT = Path(__file__).parents[2]  # where the worker finds this package
NO_NETWORK = "http://127.0.0.1:9"  # the discard port, where nothing listens
ALARM_SECONDS = 5  # after which the worker ends itself if the service could not kill it

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one document, and one worker, may take."""

    seconds: float = 10.0
    start_seconds: float = 15.0
    whole_seconds: float = 20.0  # including the wait for its turn and the start of a worker
    memory: int = 512 * 1024 * 1024
    pdf_bytes: int = 1024 * 1024
    documents_per_worker: int = 200
    waiting: int = 16


@dataclass(frozen=True, slots=True)
class Rendered:
    """A document, and the Unicode numbers of the characters that it could not show."""

    pdf: bytes
    unshown: tuple[str, ...]


class Renderer:
    """Renders documents from the templates of one folder, one at a time.

    The output is PDF/A-2a and PDF/UA-1. The same template, data and time give the same bytes. `fonts` is a
    folder with further fonts. The worker starts with the first document, and is replaced after a number of
    documents, or when it holds much memory between two documents.
    """

    def __init__(self, templates: Path, *, fonts: Path | None = None, limits: Limits | None = None) -> None:
        refuse_packages(templates)
        self._limits = limits or Limits()
        self._templates = templates
        self._fonts = fonts
        self._worker: Process | None = None
        self._rendered = 0  # by this worker
        self._waiting = 0
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def render(self, template: str, data: Mapping[str, Any], issued: datetime) -> Rendered:
        """Render one document, dated `issued`; raise NotRendered, or Overloaded if too many wait."""
        if self._waiting >= self._limits.waiting:
            raise Overloaded
        self._waiting += 1
        try:
            async with asyncio.timeout(self._limits.whole_seconds), self._turn:
                return await self._render(template, data, issued)
        except TimeoutError as error:
            raise self._failed(Reason.TOOK_TOO_LONG, template) from error
        finally:
            self._waiting -= 1

    async def _render(self, template: str, data: Mapping[str, Any], issued: datetime) -> Rendered:
        asked = {"template": template, "data": data, "issued": int(issued.timestamp())}
        is_done = False
        try:
            worker = await self._ready()
            async with asyncio.timeout(self._limits.seconds):
                answer, pdf = await self._exchange(worker, asked)
            is_done = not answer["is_last"]
        except TimeoutError as error:
            raise self._failed(Reason.TOOK_TOO_LONG, template) from error
        except (EOFError, OSError) as error:
            raise self._failed(Reason.WORKER_DIED, template) from error
        finally:
            # A worker whose response was not read would send this document in response to the next request.
            if not is_done:
                await self._end()
        if "error" in answer:
            raise self._failed(Reason.NOT_COMPILED, template, message=answer["error"])
        return Rendered(pdf, tuple(answer["unshown"]))

    async def _exchange(self, worker: Process, asked: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(packed(asked))
        await worker.stdin.drain()
        answer = await _message(worker.stdout)
        if answer["bytes"] > self._limits.pdf_bytes:
            raise self._failed(Reason.TOO_LARGE, asked["template"], bytes=answer["bytes"])
        return answer, await worker.stdout.readexactly(answer["bytes"])

    async def _ready(self) -> Process:
        """Return a worker that can render; start one if there is none."""
        if self._rendered >= self._limits.documents_per_worker:
            await self._end()
        if self._worker is None or self._worker.returncode is not None:
            await self._end()
            self._worker = await self._start()
        self._rendered += 1
        return self._worker

    async def _start(self) -> Process:
        self._rendered = 0
        limits = (str(self._limits.memory), str(int(self._limits.seconds) + ALARM_SECONDS))
        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "shared.pdf.worker",
            str(self._templates.resolve()),
            str(self._fonts.resolve()) if self._fonts else "",
            *limits,
            env={  # nothing of ours: it needs neither secrets nor addresses
                "PYTHONPATH": str(ROOT),
                "RAYON_NUM_THREADS": "1",
                "MALLOC_ARENA_MAX": "1",  # every arena reserves address space, which is limited
                **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), NO_NETWORK),
            },
            stdin=PIPE,  # closes when we die, which tells the worker to stop
            stdout=PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # the compiler quotes data there
            start_new_session=True,  # Ctrl-C reaches only us
        )
        self._worker = worker
        assert worker.stdout is not None
        try:
            async with asyncio.timeout(self._limits.start_seconds):
                await _message(worker.stdout)
        except (TimeoutError, EOFError) as error:
            raise self._failed(Reason.WORKER_NOT_STARTED, "") from error
        return worker

    async def _end(self) -> None:
        """Kill the worker, even if our task is being cancelled."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        if worker.returncode is None:
            with suppress(ProcessLookupError):
                worker.kill()
        if worker.stdin is not None:
            worker.stdin.close()
        await asyncio.shield(worker.wait())

    @staticmethod
    def _failed(reason: Reason, template: str, **details: object) -> NotRendered:
        log.error("pdf_not_rendered", reason=str(reason), template=template, **details)
        return NotRendered(reason)


async def _message(stream: asyncio.StreamReader) -> dict[str, Any]:
    length = int.from_bytes(await stream.readexactly(LENGTH_BYTES))
    message: dict[str, Any] = json.loads(await stream.readexactly(length))
    return message


def refuse_packages(templates: Path) -> None:
    """Refuse templates that import packages, because a worker must not download anything."""
    for file in sorted(templates.rglob("*.typ")):
        if "@preview" in file.read_text() or "@local" in file.read_text():
            raise ValueError(f"{file} imports a package; copy what it needs into the folder")
