"""A receiver of webhooks that accepts, refuses, hangs or is late, as each test wants."""

import hashlib
import hmac
import json
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

SECONDS_MAX = 60


@dataclass(frozen=True)
class Reply:
    """A status with headers, given after `late` seconds, or never."""

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    late: float = 0.0
    hangs: bool = False
    body: bytes = b""


@dataclass(frozen=True)
class Call:
    path: str
    headers: Mapping[str, str]
    body: bytes
    reply: Reply

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def content(self) -> Any:
        return json.loads(self.body)

    def is_signed_with(self, secret: str) -> bool:
        """Check the signature as Standard Webhooks describes it, without the code under test."""
        signed = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.body
        digest = hmac.new(b64decode(secret.removeprefix("whsec_")), signed, hashlib.sha256).digest()
        return f"v1,{b64encode(digest).decode()}" in self.headers["webhook-signature"].split(" ")


class Receiver(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 100

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply: Callable[[str, int], Reply] = lambda _path, _number: Reply()
        self.closing = threading.Event()
        self._lock, self._calls = threading.Lock(), list[Call]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def receive(self, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        with self._lock:
            number = sum(call.path == path for call in self._calls)
            reply = self.reply(path, number)
            self._calls.append(Call(path, headers, body, reply))
        return reply

    @property
    def calls(self) -> list[Call]:
        with self._lock:
            return [*self._calls]

    def at(self, path: str) -> list[Call]:
        with self._lock:
            return [call for call in self._calls if call.path == path]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.server.receive(self.path, headers, body)
        self.server.closing.wait(SECONDS_MAX if reply.hangs else reply.late)
        try:
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)
        except OSError:  # the client has given up
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        pass


@contextmanager
def receiving() -> Iterator[Receiver]:
    with Receiver() as server:
        serving = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            serving.join()
