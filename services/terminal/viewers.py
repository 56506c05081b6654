"""What a session deals with: the link to its holder, the viewers, and how a shell ended."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol

from services.terminal.protocol import Close, write_control


class Link(Protocol):
    """The connection to a holder."""

    def send(self, kind: bytes, payload: bytes = b"") -> None: ...


@dataclass(frozen=True, slots=True)
class Exit:
    """How a shell ended; `head` is where its output ends."""

    code: int | None
    signal: int | None
    head: int
    is_lost: bool = False

    @classmethod
    def told(cls, told: dict[str, Any]) -> "Exit":
        """As a holder says it."""
        return cls(_small(told["code"]), _small(told["signal"]), int(told["head"]))


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a holder answers: the bytes from an offset, none when they are gone or have not come."""

    base: int
    offset: int
    is_alternate: bool
    data: bytes


@dataclass(eq=False, slots=True)
class Viewer:
    """One socket that shows the terminal."""

    may_write: bool
    rows: int
    columns: int
    sent: int = 0
    acked: int = 0
    replay_to: int | None = None  # when it has been sent so far, the client is told that the replay is over
    controls: deque[str] = field(default_factory=deque)
    closing: tuple[Close, str] | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, kind: str, /, **fields: Any) -> None:
        self.controls.append(write_control(kind, **fields))
        self.wake.set()

    def close(self, code: Close, reason: str) -> None:
        self.closing = self.closing or (code, reason)
        self.wake.set()


def _small(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 2**16 else None
