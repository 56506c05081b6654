"""The life cycle of a box: started on demand, stopped when idle, removed with its account."""

import asyncio
import os
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

import structlog
from sqlalchemy import delete, func, select, update
from sqlmodel import Session as DatabaseSession

from contracts.boxes import BoxStopped
from services.terminal import models
from services.terminal.backends import selftest
from services.terminal.backends.base import Backend, BoxEvent, EventKind, Place
from services.terminal.errors import NoCapacity
from services.terminal.events import DELETED
from services.terminal.models import BOXES, SHARES, TABS, TERMINALS, TICKETS, TRASH, BoxState
from services.terminal.places import Places
from services.terminal.ports import leases
from services.terminal.ports.tunnels import Tunnels
from services.terminal.session import Session
from services.terminal.settings import Settings
from services.terminal.shares import forget_expired
from services.terminal.terminals import Terminals, forget_ended
from services.terminal.workspace.quota import STOP_SHARE, Quota
from services.terminal.workspace.walks import remove
from shared.clock import now
from shared.data.database import Database, one_row
from shared.data.statements import insert_row
from shared.errors import NotFound, Problem
from shared.events import emit
from shared.ids import new_id

GRACE_SECONDS = 5.0
DISK_FULL, KILLED = "disk_full", "killed"
OUT_OF_MEMORY = "A program was killed: your box has reached its memory limit of {}."
CPU_SECONDS, CPU_SHARE = 60.0, 0.01  # a box that uses more of one processor is not idle
SWEEP_ROWS = 100
ACTIVITY_KEPT = timedelta(minutes=1)  # precision of `last_activity`


log = structlog.get_logger(__name__)


class Boxes:
    """One box per account. Operations on the same account run one at a time."""

    def __init__(
        self,
        database: Database,
        backend: Backend,
        places: Places,
        terminals: Terminals,
        settings: Settings,
        quota: Quota,
        tunnels: Tunnels,
    ) -> None:
        self._database, self._backend, self._places = database, backend, places
        self._terminals, self._settings, self._quota = terminals, settings, quota
        self._tunnels = tunnels
        backend.on_event = self._notice
        self._cpu: dict[str, tuple[float, float]] = {}  # of boxes without activity: when, seconds used
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Leave boxes running without the service."""

    @property
    def backend(self) -> Backend:
        return self._backend

    async def ensure(self, owner: str) -> Place:
        """Start this account's box unless it is running; return its place."""
        async with self._locks[owner]:
            row = await self._database.read(_row_of, owner)
            place = self._places.of(row["id"], owner) if row else None
            if row is None or place is None or row["state"] != BoxState.RUNNING:
                if row is not None and row["reason"] == DISK_FULL:
                    await self._quota.require_below(owner, STOP_SHARE)
                row = await self._database.run(self._begin, owner)
                place = self._places.of(row["id"], owner)
            await self._terminals.listen(place)
            try:
                await self._backend.ensure(place)
            except Problem:
                await self._database.run(_set_stopped, row["id"], "failed")
                raise
            return place

    def _begin(self, session: DatabaseSession, owner: str) -> dict[str, Any]:
        run = session.connection().execute
        running = run(select(func.count()).select_from(BOXES).where(BOXES.c.state == BoxState.RUNNING))
        if running.scalar_one() >= self._settings.boxes_max:
            raise NoCapacity
        row = _row_of(session, owner)
        if row is None:
            return dict(insert_row(session, BOXES, owner=owner, backend=self._backend.name))
        moment = now()
        values = {"state": BoxState.RUNNING, "started": moment, "last_activity": moment}
        run(
            update(BOXES)
            .where(BOXES.c.id == row["id"])
            .values(**values, stopped=None, reason=None, ends_for=None)
        )
        return {**row, **values}

    async def show(self, owner: str) -> dict[str, Any] | None:
        return await self._database.read(_row_of, owner)

    async def unlinked_bytes(self, owner: str) -> int:
        """Return the bytes of deleted files that programs in this account's box still have open."""
        place = await self.running(owner)
        try:
            return await self._backend.unlinked_bytes(place) if place is not None else 0
        except Problem:  # the engine does not respond; the walk of the home still counts
            return 0

    async def running(self, owner: str) -> Place | None:
        """Return the place of this account's box if it is running."""
        row = await self._database.read(_row_of, owner)
        is_running = row is not None and row["state"] == BoxState.RUNNING
        return self._places.of(row["id"], owner) if row is not None and is_running else None

    async def stop(self, owner: str, reason: str) -> None:
        """End an account's shells and its box. The home directory stays."""
        async with self._locks[owner]:
            row = await self._database.read(_row_of, owner)
            if row is None or row["state"] != BoxState.RUNNING:
                return
            place = self._places.of(row["id"], owner)
            await self._terminals.hang_up(self._terminals.of(owner), GRACE_SECONDS)
            self._terminals.end_box(place)
            await self._tunnels.ignore(place.box_id)
            await self._backend.stop(place)
            self._quota.note_unlinked(owner, 0)  # the kernel has freed them
            await self._database.run(_end, row, reason)
            log.info("box_stopped", box_id=row["id"], user_id=owner, reason=reason)

    def _notice(self, event: BoxEvent) -> None:
        if event.kind == EventKind.DIED:
            self._terminals.spawn(self._note_death(event.box_id))
        else:
            self._terminals.spawn(self._tell_out_of_memory(event.box_id))

    async def _note_death(self, box_id: str) -> None:
        """Give up a box that ended without a request, unless it was started again meanwhile."""
        owner = await self._database.read(_owner_of, box_id)
        if owner is None:
            return
        async with self._locks[owner]:
            row = await self._database.read(_row_of, owner)
            place = self._places.of(box_id, owner)
            if row is None or row["state"] != BoxState.RUNNING or self._backend.is_alive(place, ""):
                return
            self._terminals.lose_all(owner, KILLED)
            self._terminals.end_box(place)
            await self._tunnels.ignore(box_id)
            self._quota.note_unlinked(owner, 0)
            await self._database.run(_end, row, KILLED)
            log.warning("box_ended_from_outside", box_id=box_id, user_id=owner)

    async def _tell_out_of_memory(self, box_id: str) -> None:
        owner = await self._database.read(_owner_of, box_id)
        limit = f"{self._settings.box_memory >> 20} MiB"
        for session in self._terminals.of(owner) if owner else ():
            for viewer in session.viewers:
                viewer.tell("notice", code="out_of_memory", message=OUT_OF_MEMORY.format(limit))

    async def stop_by_id(self, box_id: str, reason: str) -> None:
        owner = await self._database.read(_owner_of, box_id)
        if owner is None:
            raise NotFound
        await self.stop(owner, reason)

    async def count_running(self) -> int:
        return len(await self._database.read(_running))

    async def selftest(self) -> list[Mapping[str, Any]]:
        """Run the self-test in a new box without an account, and remove the box."""
        owner = f"selftest-{new_id()}"[: models.ID_CHARACTERS]
        place = self._places.of(new_id(), owner)
        await self._terminals.listen(place)  # its socket is mounted like that of any box
        try:
            await self._backend.ensure(place)
            return selftest.verdicts(
                *await self._backend.run(place, selftest.command(self._settings), selftest.SECONDS)
            )
        finally:
            self._terminals.end_box(place)
            await self._backend.stop(place)
            await asyncio.to_thread(_remove_folder, place.home)

    # Called by duties, in their own threads.

    def sweep(self) -> None:
        """Stop idle and unwanted boxes; delete expired tickets and shares, and old terminals."""
        asyncio.run_coroutine_threadsafe(self._stop_idle(), self._loop).result()
        for row in self._unwanted():
            self._end(row)
        with self._database.transaction() as session:
            run = session.connection().execute
            run(delete(TICKETS).where(TICKETS.c.expires < now()))
            forget_ended(session)
            forget_expired(session)
            ended = leases.forget_expired(session, SWEEP_ROWS)
        for lease in ended:
            self._loop.call_soon_threadsafe(self._tunnels.close_port, lease["owner"], lease["port"])

    def _unwanted(self) -> list[dict[str, Any]]:
        with self._database.transaction(write=False) as session:
            unwanted = select(BOXES).where(BOXES.c.ends_for.is_not(None)).limit(SWEEP_ROWS)
            return [row._asdict() for row in session.connection().execute(unwanted)]

    def _end(self, row: dict[str, Any]) -> None:
        """Stop the box of a disabled or deleted account; delete all data of a deleted one."""
        stopping = self.stop(row["owner"], row["ends_for"])
        asyncio.run_coroutine_threadsafe(stopping, self._loop).result()
        if row["ends_for"] == DELETED:
            for folder in (self._places.home_of(row["owner"]), self._places.area_of(row["owner"])):
                _remove_folder(folder)
        with self._database.transaction() as session:
            run = session.connection().execute
            if row["ends_for"] == DELETED:
                run(delete(BOXES).where(BOXES.c.id == row["id"]))
                leases.forget_account(session, row["owner"])
                for table in (TERMINALS, TICKETS, TABS, SHARES, TRASH):
                    run(delete(table).where(table.c.owner == row["owner"]))
            else:
                run(update(BOXES).where(BOXES.c.id == row["id"]).values(ends_for=None))

    async def _stop_idle(self) -> None:
        clock = asyncio.get_running_loop().time()
        for row in await self._database.read(_running):
            sessions = self._terminals.of(row["owner"])
            moments = [_last_activity(one, clock) for one in sessions]
            used = self._tunnels.last_used(row["id"])
            active = max([*moments, *([] if used is None else [used])], default=None)
            seen = row["last_activity"] if active is None else now() - timedelta(seconds=clock - active)
            if (now() - seen).total_seconds() < self._settings.idle_seconds:
                self._cpu.pop(row["id"], None)
            elif await self._computes_nothing(row):
                await self.stop(row["owner"], "idle")
                continue
            if seen - row["last_activity"] > ACTIVITY_KEPT:
                await self._database.run(_set_activity, row["id"], seen)

    async def _computes_nothing(self, row: Mapping[str, Any]) -> bool:
        """Whether a box without activity has used almost no processor for a minute."""
        clock = clock_of()
        try:
            used = await self._backend.cpu_seconds(self._places.of(row["id"], row["owner"]))
        except Problem:
            used = None
        since, before = self._cpu.setdefault(row["id"], (clock, used or 0.0))
        if used is None:
            return True
        if clock - since < CPU_SECONDS:
            return False
        self._cpu[row["id"]] = (clock, used)
        if used - before >= CPU_SHARE * (clock - since):
            return False
        del self._cpu[row["id"]]
        return True


def _remove_folder(folder: Path) -> None:
    """Rename a folder before deleting it, so that no account gets a partly deleted one after a crash."""
    gone = folder.with_name(f".gone-{folder.name}")
    with suppress(FileNotFoundError):
        folder.rename(gone)
    with suppress(FileNotFoundError):
        parent = os.open(gone.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            remove(parent, gone.name)
        finally:
            os.close(parent)


def clock_of() -> float:
    return asyncio.get_running_loop().time()


def _last_activity(session: Session, clock: float) -> float:
    return clock if session.viewers else session.last_output


def _row_of(session: DatabaseSession, owner: str) -> dict[str, Any] | None:
    return one_row(session, select(BOXES).where(BOXES.c.owner == owner))


def _owner_of(session: DatabaseSession, box_id: str) -> str | None:
    found: str | None = (
        session.connection().execute(select(BOXES.c.owner).where(BOXES.c.id == box_id)).scalar_one_or_none()
    )
    return found


def _running(session: DatabaseSession) -> list[dict[str, Any]]:
    running = select(BOXES).where(BOXES.c.state == BoxState.RUNNING)
    return [row._asdict() for row in session.connection().execute(running)]


def _end(session: DatabaseSession, row: Mapping[str, Any], reason: str) -> None:
    """Record that a running box has stopped, and emit that once."""
    if (stopped := _set_stopped(session, row["id"], reason)) is not None:
        emit(session, BoxStopped(box_id=row["id"], user_id=row["owner"], reason=reason, stopped=stopped))


def _set_stopped(session: DatabaseSession, box_id: str, reason: str) -> datetime | None:
    """Return when it was stopped; None if it was not running any more."""
    values = {"state": BoxState.STOPPED, "stopped": (moment := now()), "reason": reason}
    running = update(BOXES).where(BOXES.c.id == box_id, BOXES.c.state == BoxState.RUNNING)
    return moment if session.connection().execute(running.values(**values)).rowcount else None


def _set_activity(session: DatabaseSession, box_id: str, seen: datetime) -> None:
    session.connection().execute(update(BOXES).where(BOXES.c.id == box_id).values(last_activity=seen))
