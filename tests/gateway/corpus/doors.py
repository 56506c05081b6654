"""A gateway and the backend behind it, each in its own process, with everything that both of them log."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.support import free_port, need

PROJECT = Path(__file__).parents[3]
HERE = Path(__file__).parent
SECONDS_MAX = 10.0
START_SECONDS_MAX = 60.0  # of a gateway or a backend
PIECE_BYTES = 1 << 16
ROUTES = """
routes:
  - path: /
    backend: {url}
    auth: none
    methods: [GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS]
    rate_limit: {{rate: 1000000/s}}
    retry: {{attempts: 0}}
    ejection: {{failures: 0}}
"""
NGINX = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/errors crit;
events {{ worker_connections 64; }}
http {{
  log_format seen escape=json '{{"id":"$http_x_request_id","method":"$request_method",'
    '"target":"$request_uri","status":$status}}';
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000;
  keepalive_timeout 1h;
  ignore_invalid_headers off;
  underscores_in_headers on;
  merge_slashes off;
  client_max_body_size 0;
  large_client_header_buffers 4 128k;
  client_header_buffer_size 128k;
  server {{
    # Responds once it has the whole request, as an application would.
    listen 127.0.0.1:{port};
    access_log {folder}/stdout seen;
    location / {{
      add_header x-seen "$request_method $request_uri" always;
      proxy_pass http://unix:{folder}/inner;
    }}
  }}
  server {{
    listen unix:{folder}/inner;
    access_log off;
    location / {{ return 200 "seen\\n"; }}
  }}
}}
"""


@dataclass
class Answer:
    """One response as received; `seen` is the request as the backend saw it."""

    status: int
    headers: dict[str, str]
    body: bytes = b""

    @property
    def seen(self) -> str | None:
        return self.headers.get("x-seen")


class Wire:
    """A client's connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=SECONDS_MAX)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = self._socket.makefile("rb")
        self._ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()
        self._socket.close()

    def send(self, data: bytes) -> None:
        # A client that is refused while it is still sending may find the connection closed.
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(data)

    def answer(self, *, is_head: bool = False) -> Answer | None:
        """Return the next complete response, or None if the gateway has closed."""
        first = self._reader.readline()
        if not first:
            return None
        lines = iter(self._reader.readline, b"\r\n")
        fields = (line.decode("latin-1").rstrip("\r\n").partition(": ") for line in lines)
        answer = Answer(int(first.split(b" ")[1]), {name.lower(): value for name, _, value in fields})
        if answer.status < 200 and answer.status != 101:
            return self.answer(is_head=is_head)
        if is_head or answer.status in (101, 204, 304):
            return answer
        if answer.headers.get("transfer-encoding") == "chunked":
            while size := int(self._reader.readline(), 16):
                answer.body += self._reader.read(size + 2)[:-2]
            self._reader.readline()
        else:
            answer.body = self._reader.read(int(answer.headers["content-length"]))
        return answer

    def raw(self, count: int) -> bytes:
        return self._reader.read(count)

    def rest(self) -> bytes:
        """Return everything until the gateway closes."""
        try:
            return self._reader.read()
        except ConnectionResetError:  # the gateway closed with unread data
            return b""

    def what_has_come(self) -> bytes:
        """Return everything that has already arrived."""
        come, self._ended = b"", False
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            while piece := self._socket.recv(PIECE_BYTES):
                come += piece
            self._ended = True
        self._socket.settimeout(SECONDS_MAX)
        return come

    @property
    def is_silent(self) -> bool:
        """Whether nothing has arrived, not even the end of the connection."""
        return self.what_has_come() == b"" and not self._ended


class Notes:
    """The JSON lines that a process writes to a file."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("rb")
        self._rest = b""

    def read(self) -> list[dict[str, Any]]:
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        self._file.close()


@dataclass
class Account:
    """The log lines of the gateway and of the backend about the same requests."""

    logged: list[dict[str, Any]] = field(default_factory=list)
    seen: list[dict[str, Any]] = field(default_factory=list)

    @property
    def statuses(self) -> list[int]:
        return [line["status"] for line in self.logged]

    @property
    def forwarded(self) -> list[dict[str, Any]]:
        """The gateway's log lines of requests that a backend responded to."""
        return [line for line in self.logged if line.get("target") and "code" not in line]

    @property
    def faults(self) -> list[str]:
        """The disagreements between the two logs; must be empty."""
        sent = {line["request_id"]: line for line in self.logged if line.get("target")}
        whole = [one["id"] for one in self.seen if one.get("whole", one.get("status") == 200)]
        return [
            *(
                f"seen wrongly: {one}, logged {sent.get(one.get('id'))}"
                for one in self.seen
                if not _fits(one, sent)
            ),
            *(
                f"logged, but not seen exactly once: {line}"
                for line in self.forwarded
                if whole.count(line["request_id"]) != 1
            ),
            *(
                f"refused part-way, but received in full: {line}"
                for line in self.logged
                if line.get("phase", "").startswith("request") and line["request_id"] in whole
            ),
            *(f"gateway error: {line}" for line in self.logged if line["status"] >= 500),
        ]


def _fits(one: dict[str, Any], sent: dict[str, dict[str, Any]]) -> bool:
    """Whether what a backend saw is a request that the gateway logged as sent to it."""
    line = sent.get(one.get("id", ""))
    if line is None or (line["method"], _path(line["path"])) != (one["method"], _path(one["target"])):
        return False
    return not one.get("whole") or "code" in line or one["body"] == line["bytes_in"]


def _path(target: str) -> str:
    """Return the path without the authority (the gateway's own) or the query (not logged)."""
    path = re.sub(r"^https?://[^/?]*", "", target).partition("?")[0]
    return path or "/"


class Door:
    """A gateway in front of one backend."""

    def __init__(self, name: str, port: int, logged: Notes, seen: Notes) -> None:
        self.name = name
        self.port = port
        self._logged, self._seen = logged, seen
        self._side: Wire | None = None

    def connect(self) -> Wire:
        return Wire(self.port)

    def settle(self) -> str:
        """Send a request on another connection; once it gets its response, all earlier input has been read.

        Returns its request id, which both sides log.
        """
        if self._side is None:
            self._side = self.connect()
        self._side.send(b"GET /settled HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = self._side.answer()
        assert answer is not None
        assert answer.seen == "GET /settled"
        return answer.headers["x-request-id"]

    def accounts(self, ends: Sequence[str]) -> list[Account]:
        """Return the lines logged since the last call, split after each of these ids.

        A backend may notice late that a request was cut off; its line goes where the gateway logged the id.
        """
        logged, seen = _parts(self._logged, ends, "request_id"), _parts(self._seen, ends, "id")
        accounts = [
            Account([line for line in log if line["event"] == "request" and line["path"] != "/settled"])
            for log in logged
        ]
        owners = {line["request_id"]: account for account in accounts for line in account.logged}
        for account, notes in zip(accounts, seen, strict=True):
            for one in notes:
                if one.get("target") != "/settled":
                    owners.get(one.get("id"), account).seen.append(one)
        return accounts

    def account(self) -> Account:
        return self.accounts([self.settle()])[0]

    def close(self) -> None:
        if self._side is not None:
            self._side.__exit__()
        self._logged.close()
        self._seen.close()


def _parts(notes: Notes, ends: Sequence[str], key: str) -> list[list[dict[str, Any]]]:
    parts: list[list[dict[str, Any]]] = [[]]
    deadline = time.monotonic() + SECONDS_MAX
    while len(parts) <= len(ends):
        for one in notes.read():
            parts[-1].append(one)
            if one.get(key) == ends[min(len(parts), len(ends)) - 1]:
                parts.append([])
        assert time.monotonic() < deadline, parts[-1]
        time.sleep(0.002)
    return parts[:-1]


@contextlib.contextmanager
def opened(name: str, folder: Path) -> Iterator[Door]:
    """Start a backend of this kind and a gateway in front of it."""
    with contextlib.ExitStack() as stack:
        backend = folder / "backend"
        gateway = folder / "gateway"
        backend.mkdir()
        gateway.mkdir()
        port = stack.enter_context(BACKENDS[name](backend))
        own_port = free_port()
        (gateway / "routes.yaml").write_text(ROUTES.format(url=f"http://127.0.0.1:{port}"))
        environment = {
            "ROUTES_FILE": str(gateway / "routes.yaml"),
            "DATA_DIR": str(gateway),
            "PORT": str(own_port),
            "ADMIN_PORT": "0",
            "LOG_FORMAT": "json",
        }
        stack.enter_context(_process([sys.executable, "-m", "gateway"], gateway, environment))
        _wait_for_port(own_port)
        door = Door(name, own_port, Notes(gateway / "stdout"), Notes(backend / "stdout"))
        stack.callback(door.close)
        door.account()
        yield door


@contextlib.contextmanager
def _recorder(folder: Path) -> Iterator[int]:
    command = [sys.executable, "-m", "tests.gateway.corpus.recorder"]
    with _process(command, folder):
        yield _told_port(folder)


@contextlib.contextmanager
def _node(folder: Path) -> Iterator[int]:
    [node] = need("node")
    with _process([node, str(HERE / "lenient.js")], folder):
        yield _told_port(folder)


@contextlib.contextmanager
def _nginx(folder: Path) -> Iterator[int]:
    [nginx] = need("nginx")
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port))
    with _process([nginx, "-p", str(folder), "-c", str(config), "-e", str(folder / "errors")], folder):
        _wait_for_port(port)
        yield port


BACKENDS = {"strict": _recorder, "nginx": _nginx, "node": _node}


@contextlib.contextmanager
def _process(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> Iterator[None]:
    with (folder / "stdout").open("wb") as stdout:
        process = subprocess.Popen(command, cwd=PROJECT, env=os.environ | (environment or {}), stdout=stdout)
    try:
        yield
        assert process.poll() is None, f"{command} has ended"
    finally:
        process.terminate()
        process.wait(timeout=SECONDS_MAX)


def _told_port(folder: Path) -> int:
    deadline = time.monotonic() + SECONDS_MAX
    while not (line := (folder / "stdout").read_text()).endswith("\n"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    port: int = json.loads(line)["port"]
    return port


def _wait_for_port(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        else:
            return
