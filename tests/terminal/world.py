"""Boxes without a server: the parts of the service around a backend that runs nothing."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from contracts.boxes import BoxStopped
from services.terminal.backends.base import BoxEvent, Isolation, Place, Start, ignore_event
from services.terminal.boxes import Boxes
from services.terminal.disk_watch import DiskWatch
from services.terminal.errors import EngineUnavailable, ShellNotStarted
from services.terminal.models import BOXES, EVENTS
from services.terminal.places import Places
from services.terminal.ports.tunnels import Tunnels
from services.terminal.settings import Settings
from services.terminal.terminals import Terminals
from services.terminal.workspace.quota import Quota
from services.terminal.workspace.walks import Usage
from shared.clock import now
from shared.data.database import Database
from shared.events.outbox import OUTBOX, Outbox
from tests.told import events


class Still:
    """A backend whose shells never start."""

    name = "still"
    isolation: Isolation = "container"
    cpu: float | None = None
    unlinked = 0

    def __init__(self) -> None:
        self.on_event: Callable[[BoxEvent], None] = ignore_event

    async def adopt(self, places: Sequence[Place]) -> None: ...

    async def ensure(self, place: Place) -> None:
        await asyncio.to_thread(place.home.mkdir, parents=True, exist_ok=True)
        (place.home / "kept").touch()

    async def begin(self, place: Place, start: Start) -> None:
        raise ShellNotStarted

    async def cpu_seconds(self, place: Place) -> float | None:
        return self.cpu

    async def unlinked_bytes(self, place: Place) -> int:
        return self.unlinked

    async def relay(self, place: Place) -> None: ...

    def is_alive(self, place: Place, terminal_id: str) -> bool:
        return False

    async def stop(self, place: Place) -> None: ...

    async def run(self, place: Place, command: Sequence[str], seconds: float) -> tuple[int, str]:
        raise EngineUnavailable

    async def describe(self) -> dict[str, str]:
        return {}

    async def close(self) -> None: ...


class World:
    def __init__(self, settings: Settings) -> None:
        self.settings, self.database = settings, Database(settings.database_url)
        self.database.session_info[OUTBOX] = Outbox(EVENTS, "terminal", {BoxStopped.topic: ["notifications"]})
        self.places, self.backend = Places(settings), Still()
        backend = self.backend
        self.terminals = Terminals(self.database, backend, self.places, settings)
        self.used = Usage(0, 0)
        self.quota = Quota(1000, 10, self.measured)
        self.tunnels = Tunnels(backend)
        parts = (self.database, backend, self.places, self.terminals, settings, self.quota, self.tunnels)
        self.boxes = Boxes(*parts)
        self.disk_watch = DiskWatch(self.database, self.boxes, self.terminals, self.quota)

    async def measured(self, owner: str) -> Usage:
        return self.used

    async def sweep(self) -> None:
        await asyncio.to_thread(self.boxes.sweep)

    def emitted(self) -> list[tuple[str, str]]:
        """Return the owner and the reason of each box that was stopped, in order."""
        found = events(self.settings.database_url, EVENTS)
        return [(one.data["user_id"], one.data["reason"]) for one in found if one.topic == BoxStopped.topic]

    async def tell(self, work: Callable[..., None], event: object) -> None:
        await self.database.run(work, [event])


def age(session: Any, owner: str) -> None:
    old = now() - timedelta(seconds=1001)
    session.connection().execute(BOXES.update().where(BOXES.c.owner == owner).values(last_activity=old))


async def state_of(world: World, owner: str) -> dict[str, Any]:
    row = await world.boxes.show(owner)
    assert row is not None
    return row
