"""Holds back small writes until everything readable in this turn of the event loop has been read.

Waking up a sleeping peer costs more than the write itself. When writes follow one another closely, most of
them find the peer awake already.
"""

import asyncio
from typing import Any, cast

HELD_BYTES_MAX = 64 * 1024  # beyond this, memory for many connections matters more than wake-ups


class Outlet:
    """A transport that holds back small writes and otherwise behaves like the one it wraps."""

    __slots__ = ("_held", "_loop", "_transport", "is_closing")

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._loop = asyncio.get_running_loop()
        self._held = b""
        self.is_closing = transport.is_closing  # called often, so not wrapped

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._held:
            self._loop.call_soon(self._let_go)
        self._held += data
        if len(self._held) > HELD_BYTES_MAX:
            self._let_go()

    def write_eof(self) -> None:
        self._let_go()
        self._transport.write_eof()

    def close(self) -> None:
        self._let_go()
        self._transport.close()

    def _let_go(self) -> None:
        held, self._held = self._held, b""
        if held and not self.is_closing():
            self._transport.write(held)
