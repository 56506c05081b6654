"""`gatehouse up` on a small suite of its own: started, watched, stopped, and nothing left behind."""

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from gatehouse import launcher
from gatehouse.programs import Program
from shared.settings import ProcessSettings
from shared.testing import TEST_INTERNAL_SECRET
from tests.shared.processes import SECONDS_MAX, Running, started
from tests.support import eventually, free_port

SETTINGS = """
from pathlib import Path
from typing import ClassVar
from shared.settings import ProcessSettings

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
from shared.server import serve
from shared.service import health_routes
from shared.settings import SettingsError, exit_on_bad_settings

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
sys.exit(cli.main(["up"]))
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
    return {"DATA_DIR": str(tmp_path / "data"), "INTERNAL_SECRET": TEST_INTERNAL_SECRET, **ports}


@contextmanager
def up(suite: Path, environment: dict[str, str]) -> Iterator[Running]:
    with started("-c", UP, environment=environment, cwd=suite) as running:
        try:
            yield running
        finally:
            running.process.kill()
            assert eventually(lambda: not alive(running), seconds=SECONDS_MAX)


def pids(running: Running) -> dict[str, int]:
    """The process last started under each name."""
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


class TestUp:
    def test_from_start_to_stop(self, suite: Path, environment: dict[str, str]) -> None:
        with up(suite, environment | {"GATEWAY_WORDS": "welcome"}) as running:
            running.line_with("stop with Ctrl-C")
            table = [line.split() for line in running.lines if line.endswith("healthy")]
            assert table == [
                [name, f"http://127.0.0.1:{environment[f'{name.upper()}_PORT']}", "healthy"]
                for name in ("cat", "dog", "gateway")
            ]
            assert re.search(r"^ready in \d+\.\d s\nwelcome\nstop with Ctrl-C$", running.output, re.MULTILINE)
            assert len(alive(running)) == 3
            running.send(signal.SIGINT)
            assert running.code() == 0
            assert alive(running) == []
            assert running.lines[-1] == "stopped"
            assert "Traceback" not in running.output

    def test_what_was_set_in_vain(self, suite: Path, environment: dict[str, str]) -> None:
        with up(suite, environment | {"PORT": "9000", "DOG_WORD": "x"}) as running:
            running.line_with("stop with Ctrl-C")

            use = "CAT_PORT, DOG_PORT, GATEWAY_PORT"
            assert f"PORT had no effect, for it is for one process: use {use}" in running.lines
            assert "DOG_WORD had no effect: dog has no setting WORD" in running.lines

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
    def test_nothing_is_left(self, suite: Path, environment: dict[str, str], number: signal.Signals) -> None:
        with up(suite, environment) as running:
            running.line_with("stop with Ctrl-C")
            running.send(number)

            assert running.code() == (0 if number == signal.SIGTERM else -number)
            assert eventually(lambda: not alive(running), seconds=SECONDS_MAX)

    @pytest.mark.parametrize("stubborn", ["cat", "gateway"])
    def test_asked_twice_it_does_not_wait(
        self, suite: Path, environment: dict[str, str], stubborn: str
    ) -> None:
        with up(suite, environment | {"DRAIN_SECONDS": "60"}) as running:
            running.line_with("stop with Ctrl-C")
            os.kill(pids(running)[stubborn], signal.SIGSTOP)  # will not react to a friendly word
            running.send(signal.SIGINT)
            running.line_with("once more to stop at once")
            running.send(signal.SIGINT)

            assert running.code() == 0
            assert alive(running) == []
            assert "starting again" not in running.output

    def test_one_that_dies_is_started_again(self, suite: Path, environment: dict[str, str]) -> None:
        with up(suite, environment) as running:
            running.line_with("stop with Ctrl-C")
            before, seen = pids(running), len(running.lines)
            os.kill(before["dog"], signal.SIGKILL)

            said = running.line_with("ended (killed by SIGKILL); starting again in 1 s", after=seen)
            assert said.startswith("dog")
            running.line_with("I am", after=seen)
            after = pids(running)
            assert after["dog"] != before["dog"]
            assert {name: after[name] for name in ("cat", "gateway")} == {
                name: before[name] for name in ("cat", "gateway")
            }
            seen = len(running.lines)
            os.kill(after["dog"], signal.SIGKILL)
            running.line_with("starting again in 2 s", after=seen)
            running.send(signal.SIGINT)
            assert running.code() == 0
            assert alive(running) == []

    def test_a_line_without_end_does_not_stop_anybody(self, suite: Path, environment: dict[str, str]) -> None:
        import httpx

        with up(suite, environment) as running:
            running.line_with("stop with Ctrl-C")
            address = f"http://127.0.0.1:{environment['CAT_PORT']}/shout"
            for _ in range(2):
                assert httpx.get(address, trust_env=False, timeout=SECONDS_MAX).text == "done"
            running.line_with("(a line that is too long)")
            running.send(signal.SIGINT)
            assert running.code() == 0


class TestCannotStart:
    def test_a_port_is_taken(self, suite: Path, environment: dict[str, str]) -> None:
        port = int(environment["DOG_PORT"])
        with socket.create_server(("127.0.0.1", port)), up(suite, environment) as running:
            assert running.code() == 4
            assert running.lines[0] == f"dog: port {port} is taken"
            told = re.fullmatch(
                r"Stop what uses them, or choose other ports: DOG_PORT=(\d+) make up", running.lines[1]
            )
            assert told is not None
            assert len(running.lines) == 2
            assert 1024 <= int(told[1]) <= 65535

    def test_two_have_the_same_port(self, suite: Path, environment: dict[str, str]) -> None:
        with up(suite, environment | {"CAT_PORT": environment["DOG_PORT"]}) as running:
            assert running.code() == 4
            both = f"port {environment['DOG_PORT']} is set for cat and dog"
            assert running.lines[:2] == [f"cat: {both}", f"dog: {both}"]

    def test_an_address_that_is_not_of_this_machine(self, suite: Path, environment: dict[str, str]) -> None:
        with up(suite, environment | {"CAT_HOST": "192.0.2.1"}) as running:
            assert running.code() == 4
            assert running.output.startswith("cat: cannot listen on 192.0.2.1:")
            assert "check CAT_HOST and CAT_PORT" in running.output
            assert len(running.lines) == 1

    def test_bad_settings_of_several(self, suite: Path, environment: dict[str, str]) -> None:
        bad = {"CAT_LOG_LEVEL": "loud", "GATEWAY_DRAIN_SECONDS": "-1", "GATEWAY_JWT_SECRET": "x"}
        with up(suite, environment | bad) as running:
            assert running.code() == 2
            assert [line.split(":")[0].strip() for line in running.lines] == [
                "The settings are not usable",
                "CAT_LOG_LEVEL",
                "GATEWAY_DRAIN_SECONDS",
                "GATEWAY_JWT_SECRET",
            ]

    def test_one_ends_before_it_is_ready(self, suite: Path, environment: dict[str, str]) -> None:
        with up(suite, environment | {"DOG_WORDS": "die", "CAT_WORDS": "welcome"}) as running:
            assert running.code() == 1
            assert alive(running) == []
            assert "I cannot start" in running.output
            states = {line.split()[0]: line.rstrip() for line in running.lines if "http://127" in line}
            assert states["dog"].endswith("NOT READY")
            assert states["cat"].endswith("healthy")
            assert "not everything started; the lines above say why" in running.lines
            assert "welcome" not in running.lines


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
    except OSError:  # how a terminal says that the other side is closed
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


class TestOneProgram:
    """In this process, where its patience can be shortened."""

    @pytest.fixture
    def stubborn(self, tmp_path: Path) -> Program:
        class Settings(ProcessSettings):
            service = "stubborn"

        (tmp_path / "stubborn.py").write_text(STUBBORN)
        settings = Settings(port=free_port(), internal_secret=SecretStr(TEST_INTERNAL_SECRET))
        return Program("stubborn", "stubborn", {"PYTHONPATH": str(tmp_path)}, settings)

    async def test_one_that_does_not_stop_is_killed(
        self, stubborn: Program, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(launcher, "STOP_SECONDS", 0.2)
        said = ""
        watched = launcher.Watched(stubborn, 8)
        running = asyncio.create_task(watched.run())
        while "I stay" not in said:
            await asyncio.sleep(0)
            said += capsys.readouterr().out
        await watched.stop()
        await running

        assert "stubborn | did not stop within 0.2 s and was killed" in capsys.readouterr().out

    async def test_one_that_never_answers(
        self, stubborn: Program, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(launcher, "STOP_SECONDS", 0.2)
        monkeypatch.setattr(launcher, "READY_SECONDS", 0.5)

        assert await launcher.Launcher([stubborn]).run() == 1
        said = capsys.readouterr().out
        assert "NOT READY" in said
        assert said.endswith("stopped\n")
