"""What runs the shells of a box: one interface for all backends."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

Isolation = Literal["none", "container"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a box is on this machine."""

    box_id: str
    owner: str
    run: Path  # the socket of the box, and a lock for each of its terminals
    home: Path


@dataclass(frozen=True, slots=True)
class Start:
    """A shell to be started."""

    terminal_id: str
    epoch: str
    rows: int
    columns: int


class Backend(Protocol):
    """Makes boxes and starts holders in them. A holder connects to the socket of its box by itself."""

    name: str
    isolation: Isolation

    async def adopt(self, places: Sequence[Place]) -> None:
        """Find what the process before this one has left; these are the boxes that should run."""

    async def ensure(self, place: Place) -> None:
        """Make the box ready, or find it; EngineUnavailable when nothing can run it."""

    async def begin(self, place: Place, start: Start) -> None:
        """Start a holder in a box that is ready."""

    def is_alive(self, place: Place, terminal_id: str) -> bool:
        """Whether the holder of a terminal still runs."""

    async def stop(self, place: Place) -> None:
        """Stop the box after its shells were asked to end. Its home stays."""

    async def close(self) -> None:
        """The service stops; boxes go on."""
