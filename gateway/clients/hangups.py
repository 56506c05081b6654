"""Detects clients that hang up while nothing is read from them."""

import asyncio
import select
from collections.abc import Callable

# Only this event distinguishes a closed peer from one that has more to send. It is reported
# even if earlier data has not been read. Without epoll, the idle timeout closes the connection.
_CLOSED = getattr(select, "EPOLLRDHUP", 0)


class Hangups:
    """Watches sockets, but only for the peer's close."""

    def __init__(self) -> None:
        self._watched: dict[int, Callable[[], None]] = {}
        self._poll = select.epoll() if _CLOSED else None

    def start(self) -> None:
        if self._poll is not None:
            asyncio.get_running_loop().add_reader(self._poll.fileno(), self._tell)

    def stop(self) -> None:
        if self._poll is not None:
            asyncio.get_running_loop().remove_reader(self._poll.fileno())
            self._poll.close()
            self._poll = None

    def watch(self, transport: asyncio.Transport, hung_up: Callable[[], None]) -> int:
        """Call back when the peer is gone; pass the returned value to `forget` before closing the socket."""
        descriptor: int = transport.get_extra_info("socket").fileno()
        if self._poll is not None:
            self._watched[descriptor] = hung_up
            self._poll.register(descriptor, _CLOSED)
        return descriptor

    def forget(self, descriptor: int) -> None:
        if self._watched.pop(descriptor, None) is not None and self._poll is not None:
            self._poll.unregister(descriptor)

    def _tell(self) -> None:
        assert self._poll is not None
        for descriptor, _ in self._poll.poll(0):
            self._poll.unregister(descriptor)
            self._watched.pop(descriptor)()
