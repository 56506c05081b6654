"""`gatehouse up` replaces its programs by new code, and no connection is refused meanwhile."""

import asyncio
import json
import re
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from gatehouse import control
from gatehouse.plan import Logging, Plan, Planned
from gatehouse.starting import can_fork
from tests.gatehouse.test_launcher import alive, environment, pids, suite, up
from tests.support import eventually, free_port

__all__ = ["environment", "suite"]  # fixtures

pytestmark = pytest.mark.skipif(not can_fork(), reason="the launcher forks no processes here")

SECONDS = 60.0
# Gives no socket and reports no phase, as the parent of several workers of an older gateway.
SILENT = """
import http.server, os, sys
from gateway.settings import Settings
from shared.process.supervision import follow_parent

class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass

follow_parent()
print("I am", os.getpid(), flush=True)
http.server.HTTPServer(("127.0.0.1", Settings.load().port), Ready).serve_forever()
"""


class Asking:
    """Sends one request after another, each on its own connection, until it is stopped."""

    def __init__(self, port: str) -> None:
        self.answers = 0
        self.failures: list[str] = []
        self._port, self._ended = port, threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        while not self._ended.is_set():
            try:
                response = httpx.get(f"http://127.0.0.1:{self._port}/health/live", timeout=SECONDS)
                self.failures += [] if response.status_code == 200 else [response.text]
            except httpx.HTTPError as error:
                self.failures.append(repr(error))
            self.answers += 1

    def has_more_than(self, answers: int) -> bool:
        return self.answers > answers

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()


@contextmanager
def asking(environment: dict[str, str], *names: str) -> Iterator[list[Asking]]:
    threads = [Asking(environment[f"{name.upper()}_PORT"]) for name in names]
    try:
        yield threads
        for thread in threads:
            assert eventually(partial(thread.has_more_than, thread.answers + 1), seconds=SECONDS)
    finally:
        for thread in threads:
            thread.stop()


def change(suite: Path, name: str, line: str) -> None:
    main = suite / "services" / name / "__main__.py"
    main.write_text(main.read_text().replace('print("I am"', f'{line}\nprint("I am"'))


def test_programs_are_replaced_by_new_code_and_new_ones_are_started(
    suite: Path, environment: dict[str, str]
) -> None:
    environment["BIRD_PORT"] = str(free_port())
    settings = suite / "services" / "dog" / "settings.py"
    settings.write_text(f"{settings.read_text()}\n    alone: ClassVar[bool] = True\n")
    with up(suite, environment) as running:
        running.line_with("stop with Ctrl-C")
        before = pids(running)
        shutil.copytree(suite / "services" / "cat", suite / "services" / "bird")
        for file in (suite / "services" / "bird").glob("*.py"):
            file.write_text(re.sub(r"\bcat\b", "bird", file.read_text()))
        change(suite, "cat", 'print("cat of the new code")')
        with asking(environment, "cat", "dog", "gateway") as threads:
            path = control.path_in(Path(environment["DATA_DIR"]))
            names = ["bird", "cat", "dog", "gateway"]
            assert [*control.ask(path, names)] == names
        assert [thread.failures for thread in threads] == [[], [], []]

        after = pids(running)
        assert all(after[name] != before[name] for name in before)
        running.line_with("cat of the new code")
        assert httpx.get(f"http://127.0.0.1:{environment['BIRD_PORT']}/health").status_code == 200
        running.send(signal.SIGINT)
        assert running.code() == 0
        assert not path.exists()


def test_program_whose_new_code_does_not_start_is_served_by_the_old_one(
    suite: Path, environment: dict[str, str]
) -> None:
    with up(suite, environment) as running:
        running.line_with("stop with Ctrl-C")
        path = control.path_in(Path(environment["DATA_DIR"]))
        assert path.stat().st_mode & 0o777 == 0o600
        change(suite, "cat", 'sys.exit("no such setting")')
        with asking(environment, "cat") as threads:
            with pytest.raises(control.NotReplaced, match="cat does not start: no such setting"):
                list(control.ask(path, ["cat", "dog"]))
            with pytest.raises(control.NotReplaced, match="no program 'fish'"):
                list(control.ask(path, ["fish"]))
            main = suite / "services" / "cat" / "__main__.py"
            main.write_text(main.read_text().replace('sys.exit("no such setting")', ""))
            assert [*control.ask(path, ["cat"])] == ["cat"]
        assert threads[0].failures == []
        running.send(signal.SIGINT)
        assert running.code() == 0


def test_gateway_that_serves_without_reporting_it_is_replaced(
    suite: Path, environment: dict[str, str]
) -> None:
    (suite / "gateway" / "__main__.py").write_text(SILENT)
    with up(suite, environment) as running:
        running.line_with("stop with Ctrl-C")
        before = pids(running)["gateway"]
        path = control.path_in(Path(environment["DATA_DIR"]))
        assert [*control.ask(path, ["gateway"])] == ["gateway"]

        after = pids(running)["gateway"]
        assert after != before
        assert alive(running).count(after) == 1
        running.send(signal.SIGINT)
        assert running.code() == 0


def test_plan_of_another_release_is_read() -> None:
    logging = Logging("json", file=None, file_bytes_max=1, files_kept=1)
    plan = Plan([Planned("cat", "services.cat", {}, "127.0.0.1", 8001)], [], logging)
    newer = json.loads(plan.as_json())
    for part in (newer, newer["programs"][0], newer["logging"]):
        part["weight"] = 3
    del newer["backups"], newer["control"], newer["programs"][0]["alone"]
    assert Plan.from_json(json.dumps(newer)) == plan


async def test_error_of_the_launcher_is_reported(tmp_path: Path) -> None:
    async def replace(names: Sequence[str], told: control.Told) -> None:
        told(names[0])
        raise TypeError("dog has no weight")

    path = control.path_in(tmp_path)
    launcher = control.Control(path, replace)
    await launcher.open()
    try:
        with pytest.raises(control.NotReplaced, match=r"^TypeError: dog has no weight$"):
            await asyncio.to_thread(lambda: list(control.ask(path, ["cat", "dog"])))
    finally:
        launcher.close()
