"""The interface of the backends, which run the shells of a box."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

Isolation = Literal["none", "container"]


@dataclass(frozen=True, slots=True)
class Place:
    """The directories of a box on this machine."""

    box_id: str
    owner: str
    run: Path  # holds the box's socket and a lock file per terminal
    home: Path


@dataclass(frozen=True, slots=True)
class Start:
    """The parameters of a new shell."""

    terminal_id: str
    epoch: str
    rows: int
    columns: int


class Backend(Protocol):
    """Creates boxes and starts holders in them. A holder connects to the box's socket on its own."""

    name: str
    isolation: Isolation

    async def adopt(self, places: Sequence[Place]) -> None:
        """Find what the previous process left running; `places` are the boxes that should run."""

    async def ensure(self, place: Place) -> None:
        """Create the box unless it is running; raises EngineUnavailable if nothing can run it."""

    async def begin(self, place: Place, start: Start) -> None:
        """Start a holder in a running box."""

    async def relay(self, place: Place) -> None:
        """Start the relay in a running box, which connects the ports of the box with the service."""

    def is_alive(self, place: Place, terminal_id: str) -> bool:
        """Whether the holder of a terminal is still running."""

    async def stop(self, place: Place) -> None:
        """Stop the box, whose shells were asked to end before. Its home stays."""

    async def run(self, place: Place, command: Sequence[str], seconds: float) -> tuple[int, str]:
        """Run a program in a running box; return its exit code and output."""

    async def describe(self) -> dict[str, str]:
        """Describe what runs the boxes, for operators."""

    async def close(self) -> None:
        """Release resources; boxes keep running."""
