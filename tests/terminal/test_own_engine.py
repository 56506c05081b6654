"""Shells on an engine of the tests: it is killed and started again, and runs boxes in gVisor."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests import support
from tests.terminal.support import Owner, Service
from tests.terminal.test_docker import IMAGE
from tests.terminal.test_terminals import is_running

pytestmark = pytest.mark.prove
SECONDS = 60
RUNSC = shutil.which("runsc")


class Engine:
    """A Docker engine without networks, in a directory of its own."""

    def __init__(self, folder: Path, docker: str, dockerd: str, *options: str) -> None:
        self._folder, self._dockerd, self._options = folder, dockerd, options
        self.socket = folder / "docker.sock"
        self._docker = [docker, "--host", f"unix://{self.socket}"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        places = {"--data-root": "data", "--exec-root": "exec", "--pidfile": "pid"}
        self._folder.joinpath("pid").unlink(missing_ok=True)  # of one that was killed
        # In a network namespace of its own: without a bridge, it would delete that of the machine's engine.
        command = [
            "unshare",
            "--net",
            self._dockerd,
            "--host",
            f"unix://{self.socket}",
            "--bridge",
            "none",
            "--iptables=false",
        ]
        command += self._options
        command += [word for name, place in places.items() for word in (name, str(self._folder / place))]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        assert support.eventually(self._answers, seconds=SECONDS), (self._folder / "log").read_text()[-2000:]

    def _answers(self) -> bool:
        return subprocess.run([*self._docker, "info"], capture_output=True, check=False).returncode == 0

    def load(self, archive: Path) -> None:
        subprocess.run([*self._docker, "load", "--input", str(archive)], check=True, capture_output=True)

    def kill(self) -> None:
        """Kill both processes of the engine; the containers keep running."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        noted = self._folder / "exec/containerd/containerd.pid"
        number = int(noted.read_text())
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
        assert support.eventually(lambda: not is_running(number), seconds=SECONDS)
        noted.unlink()  # its number may belong to another process by now

    def close(self) -> None:
        """End the engine with its containers and mounts."""
        if self._process is None:
            return
        if self._process.poll() is not None:
            with suppress(AssertionError):
                self.start()
        listed = subprocess.run([*self._docker, "ps", "-aq"], capture_output=True, text=True, check=False)
        for container in listed.stdout.split():
            subprocess.run([*self._docker, "rm", "--force", container], capture_output=True, check=False)
        self._process.terminate()
        self._process.wait(SECONDS)
        # An engine that was killed leaves its data mounted, and pytest could not delete it.
        subprocess.run(
            ["umount", "--recursive", str(self._folder / "data")], capture_output=True, check=False
        )


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    if os.getuid() != 0:
        pytest.skip("only root can start an engine")  # also with CI=true: runners of GitHub are not root
    docker, dockerd = support.need("docker", "dockerd", "unshare")[:2]
    support.need_answer([docker, "image", "inspect", IMAGE], f"the engine has no image {IMAGE}")
    folder = tmp_path_factory.mktemp("e")  # the engine has sockets below it, whose paths are limited
    archive = folder / "image.tar"
    subprocess.run([docker, "save", "--output", str(archive), IMAGE], check=True)
    own = Engine(folder, docker, dockerd, *_with_gvisor(folder))
    try:
        own.start()
        own.load(archive)
        archive.unlink()
        yield own
    finally:
        own.close()
        shutil.rmtree(folder / "data", ignore_errors=True)


def _with_gvisor(folder: Path) -> list[str]:
    """Return the options that add gVisor's runtime, if it is installed."""
    if RUNSC is None:
        return []
    runtime = folder / "runsc"
    # Holders connect to a socket of the host; ptrace works on every machine; boxes have no network.
    flags = "--platform=ptrace --network=none --fsgofer-host-uds"
    runtime.write_text(f'#!/bin/sh\nexec {RUNSC} {flags} "$@"\n')
    runtime.chmod(0o755)
    return ["--add-runtime", f"runsc={runtime}"]


@contextmanager
def serving(folder: Path, engine: Engine, **settings: str) -> Iterator[Service]:
    folder.mkdir()
    service = Service(
        folder, BOX_BACKEND="docker", BOX_IMAGE=IMAGE, DOCKER_SOCKET=str(engine.socket), **settings
    )
    try:
        service.start()
        yield service
    finally:
        service.close()


async def test_shells_outlive_a_killed_engine_and_end_with_a_reason_when_it_starts_again(
    engine: Engine, tmp_path: Path
) -> None:
    with serving(tmp_path / "service", engine) as service:
        async with Owner(service.url) as owner, Owner(service.url) as other:
            async with owner.watching(await owner.open()) as screen:
                await screen.type("stty -echo; PS1=; echo kept > file; echo wri''tten\n")
                await screen.until(b"written\r\n")
                engine.kill()
                refused = await other.client.post("/terminal/sessions", json={"tab": "1"})
                await screen.type("echo still''here; cat file\n")
                await screen.until(b"stillhere\r\nkept\r\n")
                engine.start()  # it ends the containers of the one that was killed
                code = await screen.until_closed()
            told = screen.controls[-1]
            shown = (await owner.client.get("/terminal")).json()
            kept = await owner.client.get("/terminal/files/content", params={"path": "file"})
            async with owner.watching(await owner.open()) as screen:
                await screen.type("cat file\n")
                await screen.until(b"kept\r\n")
            await owner.client.post("/terminal/stop")

    assert (refused.status_code, refused.json()["code"]) == (503, "engine_unavailable")
    assert (code, told["type"], told["lost"], told["reason"]) == (1000, "exit", True, "killed")
    assert (shown["state"], shown["reason"]) == ("stopped", "killed")
    assert (kept.status_code, kept.text) == (200, "kept\n")


@pytest.mark.skipif(RUNSC is None, reason="not every distribution has a package of gVisor")
async def test_shell_runs_in_gvisor_if_the_engine_has_its_runtime(engine: Engine, tmp_path: Path) -> None:
    with serving(tmp_path / "service", engine, BOX_RUNTIME="runsc") as service:
        async with Owner(service.url) as owner:
            async with owner.watching(await owner.open()) as screen:
                await screen.type("dmesg 2>&1 | head -3; echo en''d\n")
                await screen.until(b"end\r\n")
            await owner.client.post("/terminal/stop")
    assert b"gVisor" in screen.output
