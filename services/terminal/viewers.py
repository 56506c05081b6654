"""The parts of a session: the link to its holder, its viewers, and the exit of its shell."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from services.terminal.output import Pace
from services.terminal.protocol import Close, write_control


class Link(Protocol):
    """The connection to a holder."""

    def send(self, kind: bytes, payload: bytes = b"") -> None: ...


CONTROLS_MAX = 1_000  # waiting messages of a client that does not read
WINDOW_BYTES = 256 * 1024  # sent to a viewer but not acknowledged


def _cannot_send(_data: bytes) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Exit:
    """How a shell ended; `head` is the offset of the end of its output."""

    code: int | None
    signal: int | None
    head: int
    is_lost: bool = False
    reason: str = ""  # why it was lost, if that is known

    @classmethod
    def reported(cls, report: dict[str, Any]) -> "Exit":
        """Parse an exit message from a holder."""
        return cls(_small(report["code"]), _small(report["signal"]), int(report["head"]))


@dataclass(frozen=True, slots=True)
class Chunk:
    """A holder's response: the bytes at an offset, or none if they were dropped or not printed yet."""

    base: int
    offset: int
    is_alternate: bool
    data: bytes


@dataclass(eq=False, slots=True)
class Viewer:
    """One socket that displays the terminal."""

    may_write: bool
    rows: int = 24
    columns: int = 80
    sent: int = 0
    acked: int = 0
    replay_to: int | None = None  # once `sent` reaches this offset, `replay_end` is sent
    controls: deque[str] = field(default_factory=deque)
    closing: tuple[Close, str] | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    is_guest: bool = False  # invited by a share
    is_waiting: bool = False  # its writer has sent everything and waits for `wake`
    pace: Pace = field(default_factory=Pace)
    send_directly: Callable[[bytes], bool] = _cannot_send

    def may_receive(self, offset: int, length: int, now: float) -> bool:
        """Whether output may be sent right now, past the writer: nothing has to be sent before it."""
        return (
            self.is_waiting
            and not self.wake.is_set()
            and self.sent == offset
            and self.replay_to is None
            and self.sent + length - self.acked <= WINDOW_BYTES
            and not self.pace.delay(now)
        )

    def tell(self, kind: str, /, **fields: Any) -> None:
        if len(self.controls) >= CONTROLS_MAX:
            self.close(Close.TOO_LARGE, "the client does not read what it is sent")
            return
        self.controls.append(write_control(kind, **fields))
        self.wake.set()

    def close(self, code: Close, reason: str) -> None:
        self.closing = self.closing or (code, reason)
        self.wake.set()


def _small(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 2**16 else None
