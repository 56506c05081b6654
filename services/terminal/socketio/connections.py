"""All Socket.IO connections of the service, limited in number, and how they find their terminals."""

import asyncio
from types import TracebackType
from typing import Self

from services.terminal import tabs
from services.terminal.access import may_type
from services.terminal.boxes import Boxes
from services.terminal.errors import TabTaken, TooManyViewers, UnknownConnection
from services.terminal.session import Session
from services.terminal.settings import Settings
from services.terminal.socketio.connection import Connection
from services.terminal.terminals import Terminals
from shared.caller import Caller
from shared.data.database import Database
from shared.errors import Overloaded, TooManyRequests
from shared.identity.tokens import in_person

CONNECTIONS_MAX = 1000
PER_ACCOUNT_MAX = 64
STRANGERS_MAX = 50  # they are refused at once, but keep a connection until then
STRANGER_SECONDS = 10.0


class Connections:
    def __init__(self, database: Database, boxes: Boxes, terminals: Terminals, settings: Settings) -> None:
        self._database, self._boxes, self._terminals = database, boxes, terminals
        self._settings = settings
        self._by_sid: dict[str, Connection] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for connection in [*self._by_sid.values()]:
            connection.close()
        while self._closing:
            await asyncio.wait([*self._closing])

    def add(self, caller: Caller | None, tab: str) -> Connection:
        """Make a connection for a client; without a caller it only says that it is unauthorized."""
        owner = caller.id if caller is not None else None
        same = sum(one.owner == owner for one in self._by_sid.values())
        if len(self._by_sid) >= CONNECTIONS_MAX or (owner is None and same >= STRANGERS_MAX):
            raise Overloaded
        if same >= PER_ACCOUNT_MAX:
            raise TooManyRequests(f"Your account has {PER_ACCOUNT_MAX} open connections; close one of them.")

        async def open_terminal(tab: str, rows: int, columns: int) -> Session:
            assert caller is not None
            return await self._opened(caller, tab, rows, columns)

        connection = Connection(
            owner,
            tab,
            open_terminal,
            may_write=caller is not None and may_type(caller),
            hold_seconds=self._settings.hold_seconds,
        )
        connection.on_close = lambda: self._forget(connection)
        self._by_sid[connection.sid] = connection
        if owner is None:
            asyncio.get_running_loop().call_later(STRANGER_SECONDS, connection.close)
        return connection

    def find(self, sid: str, caller: Caller | None) -> Connection:
        connection = self._by_sid.get(sid)
        if connection is None or connection.owner != (caller.id if caller is not None else None):
            raise UnknownConnection
        return connection

    def _forget(self, connection: Connection) -> None:
        self._by_sid.pop(connection.sid, None)
        task = asyncio.create_task(connection.finish(), name="socketio: close")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _opened(self, caller: Caller, tab: str, rows: int, columns: int) -> Session:
        """Return the live terminal of a tab, opening one if there is none."""
        live = await self._database.read(tabs.live_by_tab, caller.id)
        terminal_id = live.get(tab)
        if terminal_id is None:
            in_person(caller)
            place = await self._boxes.ensure(caller.id)
            try:
                terminal_id = (await self._terminals.open(place, tab, rows, columns))["id"]
            except TabTaken as error:
                terminal_id = error.extensions["session"]
        session = self._terminals.live(terminal_id)
        if len(session.viewers) >= self._settings.viewers_per_terminal:
            raise TooManyViewers
        return session
