"""The loop between a shell and the service."""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import struct
import time
from contextlib import suppress
from typing import Any, Callable  # noqa: UP035 - Python 3.9

from .ring import Ring
from .shell import Shell
from .wire import (
    CHUNK_HEAD,
    GET,
    NO_LIMIT,
    NUMBER,
    OFFSET,
    PIECE_BYTES,
    PROTOCOL,
    SIZE,
    FrameError,
    Frames,
    frame,
)

READ_AHEAD_BYTES = (
    256 * 1024
)  # how far reading may run ahead of the push limit; small, so that Ctrl-C takes effect soon
OUTGOING_BYTES_MAX = 4 * PIECE_BYTES
STATE_SECONDS = 5.0
CONNECT_FIRST, CONNECT_MAX = 0.05, 1.0
DRAIN_SECONDS, DRAIN_SECONDS_MAX = 0.2, 2.0  # for output of background jobs after the shell has ended
QUIT_SECONDS = 0.1  # how often a holder that may quit checks whether background jobs are left to be killed


class Holder:
    """The loop between the shell and the service."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self._ring = Ring(int(config["ring_bytes"]))
        self._select = selectors.DefaultSelector()
        self._waits_for: dict[int, int] = {}  # events by descriptor, 0 if none
        self._wake, wake = os.pipe()
        for descriptor in (self._wake, wake):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._select.register(self._wake, selectors.EVENT_READ)
        self._shell = Shell(config)
        self._link: socket.socket | None = None
        self._frames, self._outgoing = Frames(), bytearray()
        self._follows, self._sent, self._limit = False, 0, NO_LIMIT
        self._hold_until = 0.0  # when held output is released without a reader
        self._retry_at, self._retry = 0.0, CONNECT_FIRST
        self._unlinked_since = time.monotonic()
        self._is_read_out = False
        self._exit: bytes | None = None
        self._ended_at = self._kill_at = self._state_at = float("inf")
        self._drains_until = float("inf")
        self._told: dict[str, Any] = {}
        self._is_ending = self._may_quit = self._quits = False

    def run(self) -> None:
        while not self._quits:
            self._register()
            for key, events in self._select.select(self._pause()):
                if key.fd == self._wake:
                    with suppress(BlockingIOError):
                        os.read(self._wake, 512)
                    self._shell.reap()
                elif key.fd == self._shell.master:
                    self._serve_shell(events)
                elif self._link is not None and key.fd == self._link.fileno():
                    self._serve_link(events)
            self._tick(time.monotonic())

    @property
    def _may_read(self) -> bool:
        return self._is_ending or self._ring.head < self._limit + READ_AHEAD_BYTES

    def _register(self) -> None:
        """Wait for what can be served now; most rounds change nothing."""
        master = 0
        if not self._is_read_out:
            master = (selectors.EVENT_READ if self._may_read else 0) | (
                selectors.EVENT_WRITE if self._shell.pending else 0
            )
        self._wait_for(self._shell.master, master)
        if self._link is not None:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._outgoing else 0)
            self._wait_for(self._link.fileno(), events)

    def _wait_for(self, descriptor: int, events: int) -> None:
        before = self._waits_for.get(descriptor, 0)
        if events == before:
            return
        if not before:
            self._select.register(descriptor, events)
        elif events:
            self._select.modify(descriptor, events)
        else:
            self._select.unregister(descriptor)
        self._waits_for[descriptor] = events

    def _pause(self) -> float:
        now = time.monotonic()
        moments = [now + 30.0, self._kill_at, self._state_at]
        if self._link is None:
            moments.append(self._retry_at)
        if self._limit != NO_LIMIT and self._hold_until:
            moments.append(self._hold_until)
        if self._shell.status is not None and self._exit is None and self._may_read:
            moments.append(self._ended_at)
        if self._may_quit and self._exit is not None:
            moments.append(now + QUIT_SECONDS)
        return max(0.0, min(moments) - now)

    def _tick(self, now: float) -> None:
        if self._link is None and now >= self._retry_at:
            self._connect(now)
        if self._hold_until and now >= self._hold_until:
            self._hold_until, self._limit = 0.0, NO_LIMIT
        if self._shell.status is not None:
            self._tick_ended(now)
        elif self._link is None and now - self._unlinked_since > self._config["orphan_seconds"]:
            self._end(now, 5.0)
        if now >= self._kill_at:
            self._kill_at = float("inf")
            self._shell.kill()
        if self._link is not None and now >= self._state_at:
            self._tell_state(now)
        self._push()

    def _tick_ended(self, now: float) -> None:
        if self._exit is not None:
            waits_to_kill = self._kill_at != float("inf") and self._shell.has_jobs()
            is_forgotten = now - self._ended_at > self._config["linger_seconds"]
            self._quits = is_forgotten or (self._may_quit and not waits_to_kill)
            return
        if self._ended_at == float("inf"):
            self._ended_at, self._drains_until = now + DRAIN_SECONDS, now + DRAIN_SECONDS_MAX
        if self._is_read_out or (now >= self._ended_at and self._may_read):
            self._note_exit(now)

    # The shell.

    def _serve_shell(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            with suppress(OSError):
                self._shell.flush()
        if events & selectors.EVENT_READ:
            data = self._shell.read()
            if data is None:
                self._is_read_out = True
            else:
                self._ring.append(data)
                if self._shell.status is not None:
                    self._ended_at = min(time.monotonic() + DRAIN_SECONDS, self._drains_until)

    def _note_exit(self, now: float) -> None:
        self._is_read_out = True
        status = self._shell.status or 0
        exit_ = {
            "code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
            "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
            "seconds": round(now - self._shell.started, 1),
            "head": self._ring.head,
        }
        self._ended_at = now
        self._exit = frame(b"X", json.dumps(exit_).encode())
        self._send(self._exit)

    def _end(self, now: float, grace: float) -> None:
        """Hang up the shell, and kill what is left after the grace period; a second call may shorten it."""
        if not self._is_ending:
            self._shell.hang_up()
        self._is_ending = True
        self._kill_at = min(self._kill_at, now + grace)

    # The service.

    def _connect(self, now: float) -> None:
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            link.connect(self._config["socket"])
        except OSError:
            link.close()
            self._retry_at, self._retry = now + self._retry, min(self._retry * 2, CONNECT_MAX)
            return
        link.setblocking(False)
        self._link, self._retry = link, CONNECT_FIRST
        self._frames, self._outgoing, self._follows = Frames(), bytearray(), False
        self._state_at, self._told = now + STATE_SECONDS, {}
        hello = {
            "protocol": PROTOCOL,
            "terminal": self._config["terminal"],
            "epoch": self._config["epoch"],
            "pid": self._shell.pid,
            "base": self._ring.base,
            "head": self._ring.head,
            "rows": self._shell.rows,
            "columns": self._shell.columns,
        }
        self._send(frame(b"H", json.dumps(hello).encode()) + (self._exit or b""))

    def _unlink(self) -> None:
        assert self._link is not None
        self._wait_for(self._link.fileno(), 0)
        self._link.close()
        self._link, self._state_at = None, float("inf")
        now = self._unlinked_since = self._retry_at = time.monotonic()
        if self._limit != NO_LIMIT:  # a viewer was reading and will reconnect with the service
            self._hold_until = now + self._config["hold_seconds"]

    def _send(self, data: bytes) -> None:
        if self._link is None:
            return
        self._outgoing += data
        try:
            while self._outgoing:
                del self._outgoing[: self._link.send(self._outgoing)]
        except BlockingIOError:
            pass
        except OSError:
            self._unlink()

    def _push(self) -> None:
        while self._link is not None and self._follows and len(self._outgoing) < OUTGOING_BYTES_MAX:
            self._sent = max(
                self._sent, self._ring.base
            )  # without a limit, bytes dropped from the ring are skipped
            length = min(self._ring.head, self._limit) - self._sent
            if length <= 0:
                return
            data = self._ring.read(self._sent, length)
            self._send(frame(b"D", OFFSET.pack(self._sent) + data))
            self._sent += len(data)

    def _serve_link(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._send(b"")
        if self._link is None or not events & selectors.EVENT_READ:
            return
        try:
            data = self._link.recv(PIECE_BYTES)
            if not data:
                raise FrameError("the service closed the connection")  # noqa: TRY301 - handled below like other failures
            for kind, payload in self._frames.feed(data):
                self._obey(kind, payload)
        except BlockingIOError:
            return
        except (OSError, FrameError, struct.error, ValueError, KeyError):
            if self._link is not None:
                self._unlink()

    def _obey(self, kind: bytes, payload: bytes) -> None:
        obeying: dict[bytes, Callable[[bytes], None]] = {
            b"S": self._follow,
            b"L": self._set_limit,
            b"F": self._free,
            b"G": self._get,
            b"I": self._input,
            b"R": lambda payload: self._shell.resize(*SIZE.unpack(payload)),
            b"K": lambda payload: self._shell.signal(*NUMBER.unpack(payload)),
            b"E": lambda payload: self._end(time.monotonic(), NUMBER.unpack(payload)[0] / 1000),
            b"Q": self._quit,
        }
        obeying[kind](payload)

    def _follow(self, _payload: bytes) -> None:
        """Start pushing new output; an empty data frame reports the current offset."""
        self._follows, self._sent = True, self._ring.head
        self._send(frame(b"D", OFFSET.pack(self._sent)))

    def _set_limit(self, payload: bytes) -> None:
        (self._limit,) = OFFSET.unpack(payload)
        self._hold_until = 0.0

    def _free(self, _payload: bytes) -> None:
        self._follows, self._limit, self._hold_until = False, NO_LIMIT, 0.0

    def _get(self, payload: bytes) -> None:
        request, offset, length = GET.unpack(payload)
        ring = self._ring
        data = ring.read(offset, length)
        flag = b"\1" if ring.is_alternate_at_base else b"\0"
        self._send(frame(b"C", CHUNK_HEAD.pack(request, ring.base, offset) + flag + data))

    def _input(self, payload: bytes) -> None:
        try:
            has_room = self._shell.write(payload)
        except OSError:  # the shell has ended
            return
        if not has_room:
            self._send(frame(b"O"))

    def _quit(self, _payload: bytes) -> None:
        """Quit once the shell has ended: the service needs nothing more from it."""
        self._may_quit = True

    def _tell_state(self, now: float) -> None:
        self._state_at = now + STATE_SECONDS
        state = {"head": self._ring.head, "base": self._ring.base, **self._shell.state()}
        if state != self._told:
            self._told = state
            self._send(frame(b"P", json.dumps(state).encode()))


def detach(config: dict[str, Any]) -> None:
    """Become a process that outlives the one that started it, and has none of its descriptors."""
    if os.fork():  # must not be a child of the service
        os._exit(0)
    os.setsid()
    os.chdir(
        config["run"]
    )  # socket paths are limited to 107 bytes, so the socket is opened by a relative path
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    # An inherited listening socket would keep the parent from binding its port again.
    kept = int(config.get("keep", 2))  # a lock to hold as long as this process lives
    os.closerange(3, max(3, kept))
    os.closerange(max(3, kept + 1), 4096)


def main(text: str) -> None:
    """Detach from the service, then hold a shell as configured by this JSON text."""
    config = json.loads(text)
    detach(config)
    Holder(config).run()
