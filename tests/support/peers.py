"""The services that support asks: accounts of auth, files of people, and what they have bought."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import jwt

from shared.ids import new_id

ADMIN, AGENT, OTHER_AGENT, SUSPENDED = (new_id() for _ in range(4))
ACCOUNTS = {
    ADMIN: {"id": ADMIN, "role": "admin", "status": "active"},
    AGENT: {"id": AGENT, "role": "user", "status": "active"},
    OTHER_AGENT: {"id": OTHER_AGENT, "role": "user", "status": "active"},
    SUSPENDED: {"id": SUSPENDED, "role": "user", "status": "suspended"},
}
FILES: dict[str, str] = {}  # owners by file
BOUGHT: set[tuple[str, str]] = set()  # people and products


class Suite(BaseHTTPRequestHandler):
    """Answers for auth, files and orders; for the latter two as the person whose token is sent."""

    def do_GET(self) -> None:
        key = self.path.removesuffix("/metadata").rpartition("/")[2]
        if self.path.startswith("/internal/"):
            self._send(ACCOUNTS.get(key))
            return
        sent = self.headers.get("Authorization", "").removeprefix("Bearer ")
        person = jwt.decode(sent, options={"verify_signature": False})["sub"]
        if self.path.startswith("/files/"):
            is_mine = FILES.get(key) == person
            self._send({"name": "crack.jpg", "size": 3, "mime_type": "image/jpeg"} if is_mine else None)
        else:
            self._send({"product_id": key} if (person, key) in BOUGHT else None)

    def _send(self, document: dict[str, Any] | None) -> None:
        body = json.dumps(document or {"code": "not_found"}).encode()
        self.send_response(200 if document else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(BrokenPipeError):  # the service stopped without waiting for its feed of revocations
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        pass


@contextmanager
def suite() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Suite) as server:
        serving = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


def new_file(owner: str) -> str:
    file_id = new_id()
    FILES[file_id] = owner
    return file_id
