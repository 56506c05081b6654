"""`gatehouse up` on a toy suite: started, supervised and stopped, with no process left behind."""

import asyncio
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from gatehouse import launcher, watched
from gatehouse.control import NotReplaced
from gatehouse.plan import Logging, Plan, Planned
from gatehouse.screen import Screen
from gatehouse.starting import ByExecution, can_fork
from shared.process.supervision import PHASE_MARK
from shared.testing import TEST_INTERNAL_SECRET
from tests.shared.processes import ROOT, SECONDS_MAX, Running, started
from tests.support import eventually, free_port

SETTINGS = """
from pathlib import Path
from typing import ClassVar
from shared.process.settings import ProcessSettings

class Settings(ProcessSettings):
    service: ClassVar[str] = "{name}"
    words: str = ""

    def notice(self) -> str | None:
        return self.words or None
"""
MAIN = """
import os, sys
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from {module}.settings import Settings
from shared.process.server import serve
from shared.service import health_routes
from shared.process.settings import SettingsError, exit_on_bad_settings

async def shout(request):
    print("x" * 3_000_000, flush=True)
    return PlainTextResponse("done")

try:
    settings = Settings.load()
except SettingsError as error:
    exit_on_bad_settings(error)
print("I am", os.getpid(), flush=True)
if settings.words == "die":
    sys.exit("I cannot start")
serve(Starlette(routes=[*health_routes(lambda: None), Route("/shout", shout)]), settings)
"""
UP = """
import sys
from pathlib import Path
from gatehouse import cli
cli.ROOT = Path.cwd()
sys.exit(cli.main(["up", *sys.argv[1:]]))
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """Two toy services and a toy gateway in a folder of their own."""
    for module in ("services.cat", "services.dog", "gateway"):
        folder = tmp_path / module.replace(".", "/")
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
        (folder / "settings.py").write_text(SETTINGS.format(name=module.rpartition(".")[2]))
        (folder / "__main__.py").write_text(MAIN.format(module=module))
    (tmp_path / "services" / "__init__.py").touch()
    return tmp_path


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    ports = {f"{name}_PORT": str(free_port()) for name in ("CAT", "DOG", "GATEWAY")}
    return {
        "DATA_DIR": str(tmp_path / "data"),
        "INTERNAL_SECRET": TEST_INTERNAL_SECRET,
        "LOG_FORMAT": "console",
        **ports,
    }


@contextmanager
def up(suite: Path, environment: dict[str, str], *options: str) -> Iterator[Running]:
    with started("-c", UP, *options, environment=environment, cwd=suite) as running:
        try:
            yield running
        finally:
            running.process.kill()
            assert eventually(lambda: not alive(running), seconds=SECONDS_MAX)


def pids(running: Running) -> dict[str, int]:
    """Return the pid last started under each name."""
    found = (re.match(r"(\w+) +\| I am (\d+)", line) for line in running.lines)
    return {match[1]: int(match[2]) for match in found if match}


def alive(running: Running) -> list[int]:
    everyone = [int(number) for number in re.findall(r"I am (\d+)", running.output)]
    return [number for number in everyone if _runs(number)]


def _runs(number: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{number}/status").read_text()
    except OSError:
        return False


class TestReload:
    RESTARTED_SECONDS = 1.0

    def test_only_the_service_that_was_changed_is_restarted_within_a_second(
        self, suite: Path, environment: dict[str, str]
    ) -> None:
        with up(suite, environment, "--reload") as running:
            running.line_with("stop with Ctrl-C")
            before, seen = pids(running), len(running.lines)
            main = suite / "services" / "cat" / "__main__.py"
            began = time.monotonic()
            main.write_text(main.read_text().replace("I am", "I am new"))
            running.line_with("cat     | I am new", after=seen)
            address = f"http://127.0.0.1:{environment['CAT_PORT']}/health"
            assert eventually(lambda: _answers(address), seconds=SECONDS_MAX)
            took = time.monotonic() - began

            assert pids(running)["dog"] == before["dog"]
            assert took < self.RESTARTED_SECONDS
            running.send(signal.SIGINT)
            assert running.code() == 0

    def test_broken_code_is_restarted_after_the_next_change(
        self, suite: Path, environment: dict[str, str]
    ) -> None:
        with up(suite, environment, "--reload") as running:
            running.line_with("stop with Ctrl-C")
            main = suite / "services" / "dog" / "__main__.py"
            good, seen = main.read_text(), len(running.lines)
            main.write_text(good + "this is no Python\n")
            running.line_with("SyntaxError", after=seen)
            running.line_with("restarting in 1 s", after=seen)
            seen = len(running.lines)
            main.write_text(good)
            running.line_with("dog     | I am", after=seen)
            running.send(signal.SIGINT)
            assert running.code() == 0


def _answers(address: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(address).status_code == 200
    return False


class TestUp:
    def test_suite_starts_reports_its_programs_and_stops(
        self, suite: Path, environment: dict[str, str]
    ) -> None:
        with up(suite, environment | {"GATEWAY_WORDS": "welcome"}) as running:
            running.line_with("stop with Ctrl-C")
            table = [line.split() for line in running.lines if line.endswith("healthy")]
            assert table == [
                [name, f"http://127.0.0.1:{environment[f'{name.upper()}_PORT']}", "healthy"]
                for name in ("cat", "dog", "gateway")
            ]
            assert re.search(r"^ready in \d+\.\d s\nwelcome\nstop with Ctrl-C$", running.output, re.MULTILINE)
            assert len(alive(running)) == 3
            # The launcher runs as long as the suite, so it leaves the settings classes to another process.
            assert "pydantic" not in Path(f"/proc/{running.process.pid}/maps").read_text()
            running.send(signal.SIGINT)
            assert running.code() == 0
            assert alive(running) == []
            assert running.lines[-1] == "stopped"
            assert "Traceback" not in running.output

    @pytest.mark.skipif(not can_fork(), reason="forking is not safe here")
    def test_no_program_shows_the_passphrase_of_the_backups(
        self, suite: Path, environment: dict[str, str], tmp_path: Path
    ) -> None:
        """What a process inherits by fork stays in /proc, whatever it does to `os.environ`."""
        (tmp_path / "passphrase").write_text("a long passphrase")
        given = {"BACKUP_PASSPHRASE_FILE": str(tmp_path / "passphrase"), "BACKUP_PASSPHRASE_OLD": "secret"}
        with up(suite, environment | given) as running:
            running.line_with("stop with Ctrl-C")
            shown = {name: Path(f"/proc/{pid}/environ").read_bytes() for name, pid in pids(running).items()}
        assert sorted(shown) == ["cat", "dog", "gateway"]
        for variables in shown.values():
            assert b"DATA_DIR=" in variables
            assert b"BACKUP_PASSPHRASE" not in variables

    def test_variables_without_effect_are_reported(self, suite: Path, environment: dict[str, str]) -> None:
        with up(suite, environment | {"PORT": "9000", "DOG_WORD": "x"}) as running:
            running.line_with("stop with Ctrl-C")

            use = "CAT_PORT, DOG_PORT, GATEWAY_PORT"
            assert f"PORT has no effect, because it applies to one process: use {use}" in running.lines
            assert "DOG_WORD has no effect: dog has no setting WORD" in running.lines

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
    def test_no_process_outlives_the_launcher(
        self, suite: Path, environment: dict[str, str], number: signal.Signals
    ) -> None:
        with up(suite, environment) as running:
            running.line_with("stop with Ctrl-C")
            running.send(number)

            assert running.code() == (0 if number == signal.SIGTERM else -number)
            assert eventually(lambda: not alive(running), seconds=SECONDS_MAX)

    @pytest.mark.parametrize("stubborn", ["cat", "gateway"])
    def test_second_ctrl_c_kills_at_once(
        self, suite: Path, environment: dict[str, str], stubborn: str
    ) -> None:
        with up(suite, environment | {"DRAIN_SECONDS": "60"}) as running:
            running.line_with("stop with Ctrl-C")
            os.kill(pids(running)[stubborn], signal.SIGSTOP)  # does not react to SIGTERM
            running.send(signal.SIGINT)
            running.line_with("press Ctrl-C again to stop at once")
            running.send(signal.SIGINT)

            assert running.code() == 0
            assert alive(running) == []
            assert "restarting" not in running.output

    def test_program_that_dies_is_restarted(self, suite: Path, environment: dict[str, str]) -> None:
        with up(suite, environment) as running:
            running.line_with("stop with Ctrl-C")
            before, seen = pids(running), len(running.lines)
            os.kill(before["dog"], signal.SIGKILL)

            said = running.line_with("ended (killed by SIGKILL); restarting in 0.1 s", after=seen)
            assert said.startswith("dog")
            running.line_with("I am", after=seen)
            after = pids(running)
            assert after["dog"] != before["dog"]
            assert {name: after[name] for name in ("cat", "gateway")} == {
                name: before[name] for name in ("cat", "gateway")
            }
            for delay in ("0.1", "0.5"):  # fast at first; a crash loop has to wait
                seen = len(running.lines)
                os.kill(pids(running)["dog"], signal.SIGKILL)
                running.line_with(f"restarting in {delay} s", after=seen)
                running.line_with("I am", after=seen)
            running.send(signal.SIGINT)
            assert running.code() == 0
            assert alive(running) == []

    def test_overlong_line_stops_no_program(self, suite: Path, environment: dict[str, str]) -> None:
        with up(suite, environment) as running:
            running.line_with("stop with Ctrl-C")
            address = f"http://127.0.0.1:{environment['CAT_PORT']}/shout"
            for _ in range(2):
                assert httpx.get(address, trust_env=False, timeout=SECONDS_MAX).text == "done"
            running.line_with("(line too long)")
            running.send(signal.SIGINT)
            assert running.code() == 0

    def test_suite_with_a_closed_stdout_keeps_running_and_stops_on_sigterm(
        self, suite: Path, environment: dict[str, str]
    ) -> None:
        reading, writing = os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-c", UP],
            env={**environment, "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
            cwd=suite,
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=subprocess.DEVNULL,
        )
        os.close(writing)
        try:
            with open(reading) as lines:  # noqa: PTH123 - a pipe has no path
                assert any(line.startswith("ready in") for line in lines)
            answers = [
                httpx.get(f"http://127.0.0.1:{environment['CAT_PORT']}{path}", trust_env=False).text
                for path in ("/shout", "/shout")  # each writes more than a pipe holds
            ]
            process.send_signal(signal.SIGTERM)
            code = process.wait(SECONDS_MAX)
        finally:
            process.kill()
            process.wait(SECONDS_MAX)

        assert answers == ["done", "done"]
        assert code == 0


class TestCannotStart:
    def test_taken_port_is_reported_with_an_alternative(
        self, suite: Path, environment: dict[str, str]
    ) -> None:
        port = int(environment["DOG_PORT"])
        with socket.create_server(("127.0.0.1", port)), up(suite, environment) as running:
            assert running.code() == 4
            assert running.lines[0] == f"dog: port {port} is taken"
            told = re.fullmatch(
                r"Stop the programs that use them, or choose other ports: DOG_PORT=(\d+) make up",
                running.lines[1],
            )
            assert told is not None
            assert len(running.lines) == 2
            assert 1024 <= int(told[1]) <= 65535

    def test_port_set_for_two_programs_is_reported(self, suite: Path, environment: dict[str, str]) -> None:
        with up(suite, environment | {"CAT_PORT": environment["DOG_PORT"]}) as running:
            assert running.code() == 4
            both = f"port {environment['DOG_PORT']} is set for cat and dog"
            assert running.lines[:2] == [f"cat: {both}", f"dog: {both}"]

    def test_host_address_of_another_machine_is_reported(
        self, suite: Path, environment: dict[str, str]
    ) -> None:
        with up(suite, environment | {"CAT_HOST": "192.0.2.1"}) as running:
            assert running.code() == 4
            assert running.output.startswith("cat: cannot listen on 192.0.2.1:")
            assert "check CAT_HOST and CAT_PORT" in running.output
            assert len(running.lines) == 1

    def test_invalid_settings_of_several_programs_are_listed_together(
        self, suite: Path, environment: dict[str, str]
    ) -> None:
        bad = {"CAT_LOG_LEVEL": "loud", "GATEWAY_DRAIN_SECONDS": "-1", "GATEWAY_JWT_SECRET": "x"}
        with up(suite, environment | bad) as running:
            assert running.code() == 2
            assert [line.split(":")[0].strip() for line in running.lines] == [
                "The settings are invalid",
                "CAT_LOG_LEVEL",
                "GATEWAY_DRAIN_SECONDS",
                "GATEWAY_JWT_SECRET",
            ]

    def test_program_that_ends_before_it_is_ready_stops_the_suite(
        self, suite: Path, environment: dict[str, str]
    ) -> None:
        with up(suite, environment | {"DOG_WORDS": "die", "CAT_WORDS": "welcome"}) as running:
            assert running.code() == 1
            assert alive(running) == []
            assert "I cannot start" in running.output
            states = {line.split()[0]: line.rstrip() for line in running.lines if "http://127" in line}
            assert states["dog"].endswith("NOT READY")
            assert states["cat"].endswith("healthy")
            assert "not everything started: dog ended (exit code 1): I cannot start" in running.lines
            assert "welcome" not in running.lines


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("I cannot start", "I cannot start"),
        ("", ""),
        ("\x1b[31merror\x1b[0m gone", "error gone"),
        (
            '{"event":"database_unreachable","reason":"refused","remedy":"Start it."}',
            "database_unreachable, refused, Start it.",
        ),
    ],
)
def test_last_line_of_a_program_that_ended_is_reported_without_its_format(line: str, said: str) -> None:
    assert launcher._said(line) == said


class TestOutput:
    def test_every_line_is_json_when_there_is_no_terminal(
        self, suite: Path, environment: dict[str, str]
    ) -> None:
        """Output of the programs, the table, the notices, and the launcher's own messages."""
        more = {"LOG_FORMAT": "auto", "GATEWAY_WORDS": "welcome", "PORT": "9000"}
        with up(suite, environment | more) as running:
            running.line_with("stop with Ctrl-C")
            os.kill(int(running.line_with("I am").partition("I am ")[2].strip('"}')), signal.SIGKILL)
            running.line_with("killed by SIGKILL")
            running.send(signal.SIGINT)
            assert running.code() == 0

        entries = [json.loads(line) for line in running.lines]
        ours = {entry["event"]: entry for entry in entries if entry["service"] == "gatehouse"}
        assert {"ready", "ended", "stopping", "stopped"} <= ours.keys()
        assert [one["name"] for one in ours["ready"]["programs"]] == ["cat", "dog", "gateway"]
        assert ours["ready"]["notices"][-2:] == ["welcome", "stop with Ctrl-C"]
        assert any(entry["event"] == "output" and "I am" in entry["text"] for entry in entries)

    def test_log_file_receives_the_output_of_all_programs(
        self, suite: Path, environment: dict[str, str], tmp_path: Path
    ) -> None:
        file = tmp_path / "log" / "suite.log"
        with up(suite, environment | {"LOG_FILE": str(file)}) as running:
            running.line_with("stop with Ctrl-C")
            running.send(signal.SIGINT)
            assert running.code() == 0

        entries = [json.loads(line) for line in file.read_text().splitlines()]
        assert {"cat", "dog", "gateway", "gatehouse"} == {entry["service"] for entry in entries}
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert "draining" not in running.output
        assert f"the log is in {file}" in running.lines

    def test_log_file_that_cannot_be_written_is_named(
        self, suite: Path, environment: dict[str, str], tmp_path: Path
    ) -> None:
        with up(suite, environment | {"LOG_FILE": str(tmp_path)}) as running:
            assert running.code() == 2
            assert running.lines[1] == f"  LOG_FILE: {tmp_path} cannot be written (Is a directory)"


def test_a_terminal_gets_colours(suite: Path, environment: dict[str, str]) -> None:
    import pty
    import subprocess

    controller, terminal = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name.startswith(("COVERAGE_", "PATH"))}
    process = subprocess.Popen(
        [sys.executable, "-c", UP],
        cwd=suite,
        env={**kept, **environment, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    seen = b""
    while b"stop with Ctrl-C" not in seen:
        seen += os.read(controller, 10_000)
    process.send_signal(signal.SIGINT)
    try:
        while part := os.read(controller, 10_000):
            seen += part
    except OSError:  # how a terminal reports that the other side is closed
        pass
    os.close(controller)

    assert process.wait(SECONDS_MAX) == 0
    assert re.search(rb"\x1b\[\d\dmcat    \x1b\[0m", seen)


STUBBORN = """
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("I stay", flush=True)
sys.stdin.read()
"""


SLOW = """
import http.server, os, time
from shared.process.supervision import follow_parent, report_phase

follow_parent()
ends = time.monotonic() + {seconds}
while time.monotonic() < ends:
    report_phase("migrating")
    time.sleep(0.05)

class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass

server = http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Ready)
report_phase("listening")
server.serve_forever()
"""
SLOW_SECONDS = 6.0


def program(folder: Path, name: str, code: str) -> Planned:
    (folder / f"{name}.py").write_text(code)
    port = free_port()
    environment = {"PYTHONPATH": f"{folder}:{ROOT}", "PORT": str(port)}
    return Planned(name, name, environment, "127.0.0.1", port)


def launching(planned: Planned) -> launcher.Launcher:
    logging = Logging("console", file=None, file_bytes_max=0, files_kept=0)
    return launcher.Launcher(Plan([planned], [], logging), ByExecution())


class TestOneProgram:
    """Run in this process, where timeouts can be shortened."""

    @pytest.fixture
    def stubborn(self, tmp_path: Path) -> Planned:
        return program(tmp_path, "stubborn", STUBBORN)

    async def test_program_with_its_own_python_is_restarted_more_than_once(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        polite = program(tmp_path, "polite", "import time\nprint('I am here', flush=True)\ntime.sleep(600)")
        one = watched.Watched(polite, Screen(as_json=False, width=8), "console", ByExecution())
        one.was_ready = True
        running = asyncio.create_task(one.run())
        said = ""
        for times in (1, 2, 3):
            while said.count("I am here") < times:
                await asyncio.sleep(0.01)
                said += capsys.readouterr().out
            await (one.stop() if times == 3 else one.restart())
        await running
        assert "restarting in" not in said

    async def test_program_that_does_not_stop_is_killed(
        self, stubborn: Planned, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(watched, "STOP_SECONDS", 0.2)
        said = ""
        one = watched.Watched(stubborn, Screen(as_json=False, width=8), "console", ByExecution())
        running = asyncio.create_task(one.run())
        while "I stay" not in said:
            await asyncio.sleep(0)
            said += capsys.readouterr().out
        await one.stop()
        await running

        assert "stubborn | did not stop within 0.2 s and was killed" in capsys.readouterr().out

    async def test_program_without_progress_is_named_with_its_phase(
        self, stubborn: Planned, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(watched, "STOP_SECONDS", 0.2)
        monkeypatch.setattr(launcher, "LOOK_SECONDS", 0.05)
        monkeypatch.setattr(launcher, "SLOW_SECONDS", 0.1)
        monkeypatch.setattr(launcher, "STALLED_SECONDS", 0.5)

        assert await launching(stubborn).run() == 1
        said = capsys.readouterr().out
        assert re.search(r"^stubborn \| is slow to start: importing \(\d+ s\)$", said, re.MULTILINE)
        assert re.search(r"^stubborn  http://127.0.0.1:\d+ +NOT READY", said, re.MULTILINE)
        assert re.search(
            r"^not everything started: stubborn made no progress for \d+ s \(importing\)$", said, re.MULTILINE
        )
        assert said.endswith("stopped\n")

    async def test_new_program_that_never_gets_ready_is_given_up(
        self, stubborn: Planned, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(watched, "STOP_SECONDS", 0.2)
        monkeypatch.setattr(launcher, "REPLACE_SECONDS", 0.5)
        up = launching(stubborn)
        known = up._watched.copy()
        async with asyncio.timeout(SECONDS_MAX):
            with pytest.raises(NotReplaced, match=r"^stubborn is not ready after 0.5 s \(importing\)$"):
                await up._add(stubborn)
            await asyncio.gather(*up._running)  # the process has ended
        assert up._watched == known  # a later upgrade is not refused because of it

    async def test_slow_program_that_reports_progress_is_waited_for(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Each report counts as progress, however long the start takes in total."""
        monkeypatch.setattr(launcher, "LOOK_SECONDS", 0.05)
        monkeypatch.setattr(launcher, "SLOW_SECONDS", 0.1)
        monkeypatch.setattr(launcher, "STALLED_SECONDS", SLOW_SECONDS / 2)
        slow = program(tmp_path, "slow", SLOW.format(seconds=SLOW_SECONDS))
        up = launching(slow)
        running = asyncio.create_task(up.run())
        said = ""
        while "stop with Ctrl-C" not in said and not running.done():
            await asyncio.sleep(0.02)
            said += capsys.readouterr().out
        up._on_signal()

        assert await running == 0
        assert "slow | is slow to start: migrating (" in said
        assert PHASE_MARK not in said
