"""The terminals of all boxes: opening them, adopting them after a restart, recording their end."""

import asyncio
import fcntl
import os
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import structlog
from prometheus_client import Gauge
from sqlalchemy import delete, select, update
from sqlmodel import Session as DatabaseSession

from services.terminal import tabs
from services.terminal.backends.base import Backend, Place, Start
from services.terminal.errors import ShellNotStarted, TerminalEnded
from services.terminal.links import Links
from services.terminal.models import BOXES, LIVE, TERMINALS, BoxState, TerminalState
from services.terminal.places import Places
from services.terminal.session import Session
from services.terminal.settings import Settings
from services.terminal.viewers import Exit
from shared.clock import now
from shared.data.database import Database
from shared.errors import NotFound, Problem
from shared.http.trail import Trail
from shared.process.settings import SettingsFaults
from shared.process.tasks import end

START_SECONDS = 10.0
LOST_SECONDS = 15.0  # how long a live holder has to reconnect
HANG_UP_SECONDS = 2.0
NOTE_SECONDS, NOTE_AGAIN_SECONDS = (
    5.0,
    1.0,
)  # timeout and retry interval for recording a shell's end in the database
ENDED_KEPT = timedelta(days=7)

OPEN = Gauge("terminals_open", "Terminals whose shell is running", multiprocess_mode="livesum")

log = structlog.get_logger(__name__)


class Terminals:
    """The registry of all live terminals on this machine."""

    def __init__(self, database: Database, backend: Backend, places: Places, settings: Settings) -> None:
        self._database, self._backend, self._places, self._settings = database, backend, places, settings
        self._sessions: dict[str, Session] = {}
        self._boxes: dict[str, Place] = {}  # boxes with a listening socket, by owner
        self.links = Links(self._find, self._link_lost)
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        self._lock = _lock(self._settings)
        await self._adopt()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.links.close()
        await end([*self._tasks])
        await self._backend.close()
        os.close(self._lock)

    async def _adopt(self) -> None:
        """Adopt the holders the previous process started; mark those no longer running as lost."""
        boxes, terminals = await self._database.read(_live)
        places = [self._places.of(box["id"], box["owner"]) for box in boxes]
        await self._backend.adopt(places)
        for place in places:
            await self.listen(place)
        for row in terminals:
            session = self._expect(row)
            home = self._boxes.get(row["owner"])
            if home is not None and self._backend.is_alive(home, row["id"]):
                self.spawn(self._lose_unless_linked(session, LOST_SECONDS))
            else:
                self._lose(session)

    async def listen(self, place: Place) -> None:
        self._boxes[place.owner] = place
        await self.links.listen(place.box_id, place.run)

    def end_box(self, place: Place) -> None:
        """Close the socket of a box that has ended."""
        self._boxes.pop(place.owner, None)
        self.links.end(place.box_id)

    def _expect(self, row: Mapping[str, Any]) -> Session:
        session = Session(row["id"], row["owner"], row["epoch"], row.get("rows", 24), row.get("columns", 80))
        session.last_output = asyncio.get_running_loop().time()
        session.on_end = self._ended
        self._sessions[session.id] = session
        OPEN.set(len(self._sessions))
        return session

    async def open(
        self, place: Place, tab: str, rows: int, columns: int, trail: Trail | None = None
    ) -> dict[str, Any]:
        """Start a shell and wait until its holder has connected."""
        row = await self._database.run(self._insert, place.owner, tab, trail)
        session = self._expect({**row, "rows": rows, "columns": columns})
        try:
            await self._backend.begin(place, Start(row["id"], row["epoch"], rows, columns))
            async with asyncio.timeout(START_SECONDS):
                await session.linked.wait()
        except TimeoutError as error:
            await self._give_up(session)
            raise ShellNotStarted from error
        except Problem:
            await self._give_up(session)
            raise
        await self._database.run(_set_state, row["id"], TerminalState.OPEN)
        return {**row, "state": TerminalState.OPEN}

    async def _give_up(self, session: Session) -> None:
        """Mark the terminal as lost and wait until the tab is free again, for five seconds at most."""
        self._lose(session)
        await self._all_noted([session], NOTE_SECONDS)

    def _insert(
        self, session: DatabaseSession, owner: str, tab: str, trail: Trail | None
    ) -> Mapping[str, Any]:
        row = tabs.reserve(session, owner, tab, self._settings.terminals_per_user)
        if trail is not None:
            trail.answered(_Named(row["id"]))
            trail.write(session)
        return row

    def live(self, terminal_id: str) -> Session:
        """Return a terminal that can be shown; raises NotFound or TerminalEnded."""
        session = self._sessions.get(terminal_id)
        if session is None:
            raise NotFound
        if session.exit is not None:
            raise TerminalEnded
        return session

    def find(self, terminal_id: str) -> Session | None:
        """Return a terminal whose shell has not ended, whatever its database row says."""
        session = self._sessions.get(terminal_id)
        return session if session is not None and session.exit is None else None

    def of(self, owner: str) -> list[Session]:
        return [one for one in self._sessions.values() if one.owner == owner]

    def owners(self) -> set[str]:
        return {one.owner for one in self._sessions.values()}

    async def hang_up(self, sessions: list[Session], grace_seconds: float) -> None:
        """Hang up shells, kill them after the grace period, and wait until all have ended."""
        for session in sessions:
            session.hang_up(grace_seconds)
        await self._all_noted(sessions, grace_seconds + HANG_UP_SECONDS)
        for session in sessions:
            self._lose(session)
        await self._all_noted(sessions, NOTE_SECONDS)

    async def _all_noted(self, sessions: list[Session], seconds: float) -> None:
        """Wait until the end of all sessions is recorded, or the timeout expires."""
        waiting = [asyncio.create_task(one.ended.wait()) for one in sessions]
        if waiting:
            _, left = await asyncio.wait(waiting, timeout=seconds)
            await end([*left])

    # Callbacks of `links`.

    def _find(self, box_id: str, terminal_id: str, epoch: str) -> Session | None:
        session = self._sessions.get(terminal_id)
        place = self._boxes.get(session.owner) if session is not None else None
        is_known = session is not None and place is not None and place.box_id == box_id
        return session if is_known and session is not None and session.epoch == epoch else None

    def _link_lost(self, session: Session) -> None:
        if session.exit is None:
            self.spawn(self._lose_unless_linked(session, LOST_SECONDS))
        else:
            self._forget(session)

    async def _lose_unless_linked(self, session: Session, seconds: float) -> None:
        place = self._boxes.get(session.owner)
        deadline = asyncio.get_running_loop().time() + seconds
        while session.exit is None:
            left = deadline - asyncio.get_running_loop().time()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(1.0, max(0.0, left))):
                    await session.linked.wait()
            if session.linked.is_set():
                return
            if left <= 0 or place is None or not self._backend.is_alive(place, session.id):
                self._lose(session)

    def lose_all(self, owner: str, reason: str) -> None:
        """Give up the terminals of a box that has ended."""
        for session in self.of(owner):
            self._lose(session, reason)

    def _lose(self, session: Session, reason: str = "") -> None:
        if session.exit is None:
            log.warning("terminal_lost", terminal_id=session.id, user_id=session.owner, reason=reason or None)
            session.end(Exit(None, None, session.head, is_lost=True, reason=reason))

    def _ended(self, session: Session) -> None:
        assert session.exit is not None
        if not session.linked.is_set():
            self._forget(session)
        self.spawn(self._note_end(session, session.exit))

    def _forget(self, session: Session) -> None:
        """Remove a session from the registry; its viewers keep their own references."""
        self._sessions.pop(session.id, None)
        OPEN.set(len(self._sessions))

    async def _note_end(self, session: Session, exit_: Exit) -> None:
        while True:
            try:
                await self._database.run(_set_ended, session.id, exit_)
            except Problem as error:  # without the database the tab stays taken for now
                log.warning("end_not_noted", terminal_id=session.id, error=repr(error))
                await asyncio.sleep(NOTE_AGAIN_SECONDS)
            else:
                session.note_end()
                return

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("terminal_task_failed", exc_info=error)


class _Named:
    def __init__(self, id_: str) -> None:
        self.id = id_


def _lock(settings: Settings) -> int:
    """Lock the data directory, because two processes would take over each other's holders."""
    settings.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(settings.root / "service.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        fault = (
            f"DATA_DIR: another terminal service is using {settings.root}; stop it, or use another DATA_DIR"
        )
        raise SettingsFaults([fault], Settings.service) from error
    return descriptor


def _live(session: DatabaseSession) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    run = session.connection().execute
    boxes = run(select(BOXES.c.id, BOXES.c.owner).where(BOXES.c.state == BoxState.RUNNING))
    terminals = run(select(TERMINALS).where(TERMINALS.c.state.in_(LIVE)))
    return [row._asdict() for row in boxes], [row._asdict() for row in terminals]


def _set_state(session: DatabaseSession, terminal_id: str, state: TerminalState) -> None:
    change = update(TERMINALS).where(TERMINALS.c.id == terminal_id, TERMINALS.c.state.in_(LIVE))
    session.connection().execute(change.values(state=state))


def _set_ended(session: DatabaseSession, terminal_id: str, exit_: Exit) -> None:
    change = update(TERMINALS).where(TERMINALS.c.id == terminal_id, TERMINALS.c.state.in_(LIVE))
    state = TerminalState.LOST if exit_.is_lost else TerminalState.ENDED
    values = {"exit_code": exit_.code, "exit_signal": exit_.signal, "head": exit_.head, "ended": now()}
    session.connection().execute(change.values(state=state, **values))


def forget_ended(session: DatabaseSession) -> None:
    session.connection().execute(delete(TERMINALS).where(TERMINALS.c.ended < now() - ENDED_KEPT))
