"""The access log: one line per request, written to standard output in blocks.

Using structlog and a system call for each line would cost the gateway more than all its policies together.
A killed process loses the request lines of its last 50 ms.
"""

import asyncio
import atexit
import os
import select
import sys
import threading
import time
from contextlib import suppress
from typing import Any

import structlog
from pydantic_core import to_json

WAIT_SECONDS_MAX = 0.05
# Writes to a pipe up to this size are atomic, even if other processes write to it.
WRITE_BYTES_MAX = select.PIPE_BUF

log = structlog.get_logger("access")


class Output:
    """Standard output with lines in order of arrival; request lines are buffered."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._writing = threading.Lock()
        atexit.register(self.write_collected)
        os.register_at_fork(before=self.write_collected)  # otherwise parent and child would both write them

    def collect(self, line: bytes) -> None:
        """Write the line soon. Call this from the event loop's thread only."""
        if self._bytes + len(line) > WRITE_BYTES_MAX:
            self.write_collected()
        self._lines.append(line)
        self._bytes += len(line)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WAIT_SECONDS_MAX, self._waited)

    def _waited(self) -> None:
        self._timer = None
        self.write_collected()

    def write_collected(self) -> None:
        with self._writing:
            # The loop may go on collecting while another thread writes its own line here.
            count = len(self._lines)
            block = b"".join(self._lines[:count])
            del self._lines[:count]
            self._bytes = 0
            # A full disk must not break requests that already have their response.
            with suppress(OSError):
                sys.stdout.buffer.write(block)
                sys.stdout.buffer.flush()

    # The file interface that structlog uses for all other lines.

    def write(self, text: str) -> None:
        if self._lines:
            self.write_collected()
        sys.stdout.write(text)

    def flush(self) -> None:
        sys.stdout.flush()


class AccessLog:
    """Writes the `request` lines: through structlog, or directly as JSON of the same form."""

    def __init__(self) -> None:
        self._output: Output | None = None
        self._start = self._end = b""
        self._second = 0

    def write_json(self, service: str, output: Output) -> None:
        """Switch to JSON lines, written to `output`. Their common fields are encoded once."""
        self._output = output
        self._start = b'{"service":%b,' % to_json(service)

    def add(self, **fields: Any) -> None:
        if self._output is None:
            log.info("request", **fields)
        else:
            second, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
            if second != self._second:
                self._begin(second)
            self._output.collect(
                b'%b%b%b%06dZ"}\n' % (self._start, to_json(fields)[1:-1], self._end, nanoseconds // 1000)
            )

    def _begin(self, second: int) -> None:
        self._second = second
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        self._end = b',"event":"request","level":"info","timestamp":"%b.' % text.encode()


access_log = AccessLog()
