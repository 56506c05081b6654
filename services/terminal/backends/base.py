"""The interface of the backends, which run the shells of a box."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
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


class EventKind(StrEnum):
    """What happened to a box: a program in it reached the memory limit, or it ended without a request."""

    OUT_OF_MEMORY = "out_of_memory"
    DIED = "died"


@dataclass(frozen=True, slots=True)
class BoxEvent:
    box_id: str
    kind: EventKind


def ignore_event(_event: BoxEvent) -> None:
    """Do nothing: the first value of `on_event`."""


class Backend(Protocol):
    """Creates boxes and starts holders in them. A holder connects to the box's socket on its own."""

    name: str
    isolation: Isolation
    on_event: Callable[[BoxEvent], None]

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
        """Stop the box, after its shells were asked to end; its home stays."""

    async def run(self, place: Place, command: Sequence[str], seconds: float) -> tuple[int, str]:
        """Run a program in a running box; return its exit code and output."""

    async def cpu_seconds(self, place: Place) -> float | None:
        """Return the processor time that a running box has used; None if unknown."""

    async def unlinked_bytes(self, place: Place) -> int:
        """Return the bytes of deleted files of the home that programs in a running box still have open."""

    async def describe(self) -> dict[str, str]:
        """Describe what runs the boxes, for operators."""

    async def close(self) -> None:
        """Release resources; boxes keep running."""
