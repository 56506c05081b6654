"""The workspaces of all accounts: blocking file operations run in threads, within the account's quota."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from sqlmodel import Session
from starlette.requests import ClientDisconnect, Request

from services.terminal.errors import FileTooLarge
from services.terminal.models import BOXES, BoxState
from services.terminal.places import Places
from services.terminal.settings import Settings
from services.terminal.workspace.quota import STOP_SHARE, Quota, Room
from services.terminal.workspace.tree import FILE_MODE, Tree, new_name, refusals
from services.terminal.workspace.walks import Meter, Usage, remove
from shared.clock import now
from shared.data.database import Database, insert_into
from shared.errors import BadRequest, Overloaded
from shared.ids import new_id
from shared.process.disk import Disk
from shared.process.threads import Threads

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 4
WAITING_MAX = 200
WRITE_BYTES = 512 * 1024
REGISTERED_MAX = 10_000  # accounts that are known to have a box
LEFTOVER_SECONDS = 86_400.0
STAGING, GONE, BATCHES = "staging", "gone", "batches"


class Workspaces:
    """Opens workspaces. A home exists as soon as its files are used, whether or not its box has run."""

    def __init__(self, database: Database, places: Places, settings: Settings, disk: Disk) -> None:
        self._database, self._places, self.settings, self._disk = database, places, settings, disk
        self._registered: set[str] = set()
        self._threads = Threads(THREADS, "workspace")
        self._waiting = 0
        self.quota = Quota(settings.home_bytes, settings.home_entries, self._measured)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._threads.close()

    async def run(
        self, owner: str, work: Callable[Concatenate[Tree, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call `work(tree, …)` in a thread."""
        await self._register(owner)
        return await self.in_thread(self.at_once, owner, work, *args, **kwargs)

    async def _register(self, owner: str) -> None:
        """Add a stopped box for an account without one, so that its home is removed with the account."""
        if owner not in self._registered:
            if len(self._registered) >= REGISTERED_MAX:
                self._registered.clear()
            await self._database.run(_register, owner, self.settings.backend)
            self._registered.add(owner)

    def at_once(
        self, owner: str, work: Callable[Concatenate[Tree, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call `work(tree, …)` in this thread."""
        with refusals(), self.open(owner) as tree:
            return work(tree, *args, **kwargs)

    def open(self, owner: str) -> Tree:
        return Tree(self._places.prepare_home(owner), self._places.area_of(owner))

    async def in_thread(self, work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        if self._waiting >= WAITING_MAX:
            raise Overloaded
        self._waiting += 1
        call = asyncio.ensure_future(self._threads.call(lambda: work(*args, **kwargs)))
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            # The caller will close what the work uses, and another request may be given the same descriptor.
            await asyncio.wait([call])
            raise
        finally:
            self._waiting -= 1

    async def release(self, work: Callable[[], T]) -> T:
        """Clean up in a thread; unlike `run`, this is never refused or cancelled."""
        return await asyncio.shield(self._threads.call(work))

    async def _measured(self, owner: str) -> Usage:
        return await self.run(owner, _measure, int(STOP_SHARE * self.settings.home_entries))

    @asynccontextmanager
    async def receiving(self, owner: str, request: Request) -> AsyncIterator["Upload"]:
        """Reserve room for the body of a request, and a file for it that is removed unless it is placed."""
        declared = request.headers.get("content-length", "")
        size = int(declared) if declared.isdecimal() else 0
        self.require_size(size)
        self._disk.require_room(size)
        async with self.quota.room(owner, size) as room:
            upload = Upload(self, owner, room)
            await self.in_thread(upload.create)
            try:
                await upload.receive(request)
                yield upload
            finally:
                await self.release(upload.discard)

    async def write_all(
        self,
        request: Request,
        write: Callable[[list[bytes]], None],
        grow: Callable[[int], None] | None = None,
    ) -> None:
        """Call `write` in a thread with the body as it arrives, in large pieces."""
        waiting: list[bytes] = []
        held = 0
        try:
            async for piece in request.stream():
                if grow is not None:
                    grow(len(piece))
                waiting.append(piece)
                held += len(piece)
                if held >= WRITE_BYTES:
                    await self.in_thread(_guarded, write, waiting)
                    waiting, held = [], 0
        except ClientDisconnect as error:
            raise BadRequest("The connection closed before the whole body arrived.") from error
        if waiting:
            await self.in_thread(_guarded, write, waiting)

    def remove_leftovers(self, older_seconds: float = LEFTOVER_SECONDS) -> None:
        """Remove what crashes and abandoned uploads left in the areas; called by a duty in its own thread."""
        for folder in self._places.areas().glob("*/*"):
            if folder.name in (STAGING, GONE, BATCHES):
                _remove_old(folder, time.time() - older_seconds)

    def require_size(self, size: int) -> None:
        if size > self.settings.upload_max:
            raise FileTooLarge(limit_bytes=self.settings.upload_max)


def _remove_old(folder: Path, before: float) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for name in os.listdir(opened):
            with suppress(FileNotFoundError):
                if os.stat(name, dir_fd=opened, follow_symlinks=False).st_ctime < before:
                    remove(opened, name)
    finally:
        os.close(opened)


def _guarded(write: Callable[[list[bytes]], None], pieces: list[bytes]) -> None:
    with refusals():
        write(pieces)


def _register(session: Session, owner: str, backend: str) -> None:
    moment = now()
    values = {"id": new_id(), "owner": owner, "backend": backend, "state": BoxState.STOPPED}
    times = {"created": moment, "started": moment, "stopped": moment, "last_activity": moment}
    session.connection().execute(insert_into(session, BOXES).on_conflict_do_nothing(), {**values, **times})


class Upload:
    """A file of the staging area that is filled by one request."""

    def __init__(self, workspaces: Workspaces, owner: str, room: Room) -> None:
        self._workspaces, self._owner, self._room = workspaces, owner, room
        self.name = new_name()
        self.size = 0

    def create(self) -> None:
        with refusals(), self._workspaces.open(self._owner) as tree:
            self._owned_by = tree.owner
            with tree.in_area(STAGING) as folder:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                self._descriptor = os.open(self.name, flags, 0o600, dir_fd=folder)
                self._folder = os.dup(folder)

    async def receive(self, request: Request) -> None:
        """Write the body as it arrives; raises FileTooLarge or HomeFull."""
        await self._workspaces.write_all(request, self._write, self._grow)
        await self._workspaces.in_thread(self._finish)

    def _grow(self, size: int) -> None:
        self.size += size
        self._workspaces.require_size(self.size)
        self._room.grow(self.size)

    def _write(self, pieces: list[bytes]) -> None:
        rest = memoryview(b"".join(pieces))
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def _finish(self) -> None:
        """Make the file durable, and give it to the owner of the workspace."""
        with refusals():
            os.fsync(self._descriptor)
            os.fchmod(self._descriptor, FILE_MODE)
            if os.getuid() == 0:
                os.fchown(self._descriptor, *self._owned_by)

    def discard(self) -> None:
        os.close(self._descriptor)
        with suppress(FileNotFoundError):  # it was placed
            os.unlink(self.name, dir_fd=self._folder)
        os.close(self._folder)

    @property
    def folder(self) -> int:
        return self._folder


def _measure(tree: Tree, entries_max: int) -> Usage:
    meter = Meter(entries_max)
    with tree.folder(()) as home:
        meter.add(home)
    tree.area.mkdir(parents=True, exist_ok=True, mode=0o700)
    area = os.open(tree.area, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        meter.add(area)
    finally:
        os.close(area)
    return Usage(meter.bytes, meter.entries)


def remove_for_good(tree: Tree, parts: tuple[str, ...]) -> str:
    """Take a file or folder out of the workspace, then remove it; return its kind."""
    name = new_name()
    with tree.in_area(GONE) as gone:
        kind = tree.take_out(parts, gone, name).kind
        remove(gone, name)
    return kind
