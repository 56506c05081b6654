"""Request lines are written in blocks, and yet none is lost, duplicated, torn or out of order."""

import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.process.access_log import WRITE_BYTES_MAX
from tests.shared.processes import ROOT, forked, service_environment
from tests.shared.test_server import wait_until_ready
from tests.support import free_port

PREPARED = """
import asyncio, os, structlog, sys
from shared.process.access_log import access_log
from shared.process.observe import configure_logging
from tests.shared.notes.app import Settings

configure_logging(Settings.load())
log = structlog.get_logger("tests")
"""
LINE = 'access_log.add(method="GET", path="/no\\u00ebl \\"x\\"\\n", status=200, ms=1.5, user_id=None)\n'


def run(folder: Path, script: str, stdout: int, **more: str) -> "subprocess.CompletedProcess[str]":
    """Run the script in the event loop of a process that logs like a service."""
    indented = "".join(f"    {line}\n" for line in script.splitlines())
    return subprocess.run(
        [sys.executable, "-c", f"{PREPARED}\nasync def main():\n{indented}\nasyncio.run(main())"],
        cwd=ROOT,
        env=service_environment(folder, 1, LOG_FORMAT="json", **more),
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=30,
    )


def lines_of(folder: Path, script: str, **more: str) -> list[dict[str, Any]]:
    done = run(folder, script, subprocess.PIPE, **more)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_request_line_equals_the_one_that_structlog_would_write(tmp_path: Path) -> None:
    through = LINE.replace("access_log.add(", 'structlog.get_logger("access").info("request", ')
    ours, theirs = lines_of(tmp_path, LINE + through)

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", ours["timestamp"])
    assert ours.pop("timestamp")[:16] <= theirs.pop("timestamp")[:16]
    assert list(ours.items()) == list(theirs.items())


def test_other_lines_follow_the_requests_logged_before_them(tmp_path: Path) -> None:
    script = "".join(f'access_log.add(number={number})\nlog.error("after_{number}")\n' for number in (1, 2))
    found = [line.get("number", line["event"]) for line in lines_of(tmp_path, script)]

    assert found == [1, "after_1", 2, "after_2"]


def test_buffered_lines_are_written_at_exit(tmp_path: Path) -> None:
    assert len(lines_of(tmp_path, LINE)) == 1


def test_buffered_lines_are_written_soon_even_if_nothing_follows(tmp_path: Path) -> None:
    # Killed, so that only the timer can have written the line.
    script = f"{LINE}await asyncio.sleep(1)\nos.kill(os.getpid(), 9)"
    done = run(tmp_path, script, subprocess.PIPE)

    assert done.returncode == -signal.SIGKILL
    assert done.stdout.count('"event":"request"') == 1


def test_forked_child_does_not_write_buffered_lines_again(tmp_path: Path) -> None:
    script = f"{LINE}child = os.fork()\nos.waitpid(child, 0) if child else None"

    assert len(lines_of(tmp_path, script)) == 1


@pytest.mark.parametrize("level", ["warning", "error"])
def test_no_request_lines_are_written_at_higher_log_levels(tmp_path: Path, level: str) -> None:
    assert lines_of(tmp_path, f'{LINE}log.error("still_told")', LOG_LEVEL=level)[0]["event"] == "still_told"


def test_each_write_has_whole_lines_and_fits_into_an_atomic_pipe_write(
    tmp_path: Path,
) -> None:
    # Unlike a pipe, such a socket preserves the boundaries of writes.
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        done = run(
            tmp_path, 'for number in range(500): access_log.add(number=number, path="/")', theirs.fileno()
        )
        theirs.close()
        written = list(iter(lambda: ours.recv(1 << 20), b""))

    assert done.returncode == 0
    assert all(block.endswith(b"\n") and len(block) <= WRITE_BYTES_MAX for block in written)
    assert [json.loads(line)["number"] for block in written for line in block.splitlines()] == list(
        range(500)
    )
    assert len(written) < 50


def test_full_disk_does_not_stop_the_process(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        script = 'for _ in range(1000): access_log.add(path="/")\nprint("done", file=sys.stderr)'
        done = run(tmp_path, script, full.fileno())

    assert done.stderr.startswith("done\n")


def test_service_writes_all_lines_before_it_stops(tmp_path: Path) -> None:
    port = free_port()
    environment = service_environment(tmp_path, port, LOG_FORMAT="json")
    with forked("tests.shared.notes", environment=environment) as service:
        wait_until_ready(service, f"http://127.0.0.1:{port}")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            for number in range(30):
                client.get("/notes", headers={"X-Request-ID": f"number-{number}"})
        service.send(signal.SIGTERM)
        service.code()

    assert sum("number-" in line for line in service.lines) == 30
