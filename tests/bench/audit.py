"""Throughput of the audit log: storing records, and verifying them in the service and with the verifier."""

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jwt

from shared.ids import new_id
from tests.bench.processes import (
    JWT_SECRET,
    SERVER_CORE,
    Server,
    cpu_seconds,
    on_core,
    resident_mib,
    settle,
    stopping,
)

BATCH = 200
BATCHES = 200
RECORDS = BATCH * BATCHES
WANTED_KEPT, WANTED_CHECKED = 5_000, 50_000


class Figure:
    """Records per second of elapsed time and of CPU time."""

    def __init__(self, name: str, wanted: int) -> None:
        self.name, self.wanted = name, wanted
        self.seconds = self.cpu = 0.0

    @contextmanager
    def measured(self, cpu: Callable[[], float]) -> Iterator[None]:
        started, spent = time.monotonic(), cpu()
        yield
        self.seconds, self.cpu = time.monotonic() - started, cpu() - spent

    def show(self) -> str:
        rates = f"{RECORDS / self.seconds:>12,.0f}{RECORDS / self.cpu:>12,.0f}"
        return f"{self.name:<36}{rates}{self.wanted:>12,}"


def main() -> None:
    figures = [
        Figure("stored in batches of 200", WANTED_KEPT),
        Figure("verified by GET /audit/verify", WANTED_CHECKED),
        Figure("verified by the standalone verifier", WANTED_CHECKED),
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = Server("services.audit", folder)
        with stopping(server):
            idle = resident_mib(server.pid)
            _measure(server, folder, figures)
            print(f"\naudit log, {RECORDS:,} records on SQLite, one core\n")
            print(f"{'records per second':<36}{'by clock':>12}{'by CPU':>12}{'wanted':>12}")
            for figure in figures:
                print(figure.show())
            print(f"\nresident MiB: {idle:.0f} idle, {resident_mib(server.pid):.0f} after")


def _measure(server: Server, folder: Path, figures: list[Figure]) -> None:
    keeping, verifying, alone = figures
    bodies = [_batch() for _ in range(BATCHES)]
    token = _token((folder / "secrets" / "internal_secret").read_text(), aud="internal:audit", iss="files")
    admin = _token(JWT_SECRET, sub="bench", user_id="bench", role="admin", aud="gatehouse", iss="gatehouse")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)

    def ours() -> float:
        return cpu_seconds([server.pid])

    with keeping.measured(ours):
        for body in bodies:
            _send(connection, "POST", "/internal/events", token, body)
    settle([server.pid])
    with verifying.measured(ours):
        found = json.loads(_send(connection, "GET", "/audit/verify?limit=1000000", admin))
    if not found["intact"] or found["records"] != RECORDS + 1:  # plus the record of the log's opening
        sys.exit(f"verification failed: {found}")
    export = folder / "export.ndjson"
    export.write_bytes(_send(connection, "GET", "/audit/export", admin))
    verifier = folder / "audit-verifier.py"
    verifier.write_bytes(_send(connection, "GET", "/audit/verifier", admin))
    key = json.loads(_send(connection, "GET", "/audit/key", admin))["key"]
    command = [sys.executable, "-I", str(verifier), str(export), "--key", key]
    with alone.measured(_cpu_of_children):
        subprocess.run(on_core(SERVER_CORE, command), check=True, capture_output=True)


def _cpu_of_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _batch() -> bytes:
    return json.dumps({"events": [_envelope() for _ in range(BATCH)]}).encode()


def _envelope() -> dict[str, Any]:
    user_id = new_id()
    return {
        "id": new_id(),
        "topic": "action.recorded",
        "version": 1,
        "key": f"action user:{user_id}",
        "source": "files",
        "time": "2025-10-15T10:35:00Z",
        "data": {
            "user_id": user_id,
            "actor": f"user:{user_id}",
            "action": "FILE_UPLOAD",
            "resource": new_id(),
            "ip": "192.0.2.1",
            "user_agent": "curl/7.68.0",
            "metadata": {"filename": "document.pdf", "size": 1024000},
            "timestamp": "2025-10-15T10:35:00Z",
            "outcome": "success",
            "status": 201,
            "service": "files",
            "request_id": new_id(),
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        },
    }


def _token(secret: str, **claims: Any) -> str:
    now = int(time.time())
    told = {"iss": "bench", "iat": now, "exp": now + 600, **claims}
    return jwt.encode(told, secret, algorithm="HS256", headers={"typ": "at+jwt"})


def _send(
    connection: http.client.HTTPConnection, method: str, path: str, token: str, body: bytes | None = None
) -> bytes:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    answer = response.read()
    if response.status >= 300:
        sys.exit(f"{method} {path}: {response.status} {answer.decode()[:500]}")
    return answer


if __name__ == "__main__":
    main()
