"""The whole suite in one container: started, backed up and stopped by the commands of the documentation."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.ids import new_id
from tests import support
from tests.suite.conftest import ROOT
from tests.suite.test_containers import BUILD_SECONDS
from tests.suite.test_quickstart import answers, block_of

pytestmark = [
    pytest.mark.prove,
    pytest.mark.long(2, group="images"),
    pytest.mark.timeout(1200),  # the first test builds the image
]

START_SECONDS = 240  # other tests run beside this one
README_PASSWORD, PASSWORD = "password123", "not-a-common-one-7"


class Container:
    """The documented container, under names of its own, so that it disturbs no other one."""

    def __init__(self) -> None:
        (self.docker,) = support.need("docker")
        support.need_answer([self.docker, "info"], "no Docker engine responds")
        self.name = f"gatehouse-test-{new_id()[-8:]}"
        self.port = support.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        text = (ROOT / "docs" / "containers.md").read_text()
        (block,) = re.findall(r"test_all_in_one\.py -->\n```bash\n(.*?)```", text, re.DOTALL)
        self.build, self.start, self.secret, self.backup, self.stop, self.again = map(
            self._ours, block.splitlines()
        )

    def _ours(self, command: str) -> str:
        """Replace the documented port, and the names of the image, the container and the volume."""
        command = command.partition("#")[0].strip().replace(" 8080:", f" 127.0.0.1:{self.port}:")
        command = command.replace("-v data:", f"-v {self.name}:")
        return re.sub(r"(?<!exec gatehouse )\bgatehouse\b(?! backup)", self.name, command)

    def run(self, command: str, seconds: float = 120, **more: str) -> str:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=ROOT,
            env={**os.environ, **more},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}\n{self.logs()}"
        return done.stdout.strip()

    def inside(self, command: str) -> str:
        return self.run(f"docker exec {self.name} {command}")

    def logs(self) -> str:
        command = [self.docker, "logs", "--tail", "40", self.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def wait_until_healthy(self, name: str = "") -> None:
        """Wait for all services: the gateway alone is ready earlier."""
        healthy = f"docker inspect --format '{{{{.State.Health.Status}}}}' {name or self.name}"
        assert support.eventually(lambda: self.run(healthy) == "healthy", seconds=START_SECONDS), self.logs()

    def journey(self) -> list[Any]:
        """Run the commands of the README, with a password that production accepts."""
        script = block_of("README.md").replace("localhost:8000", f"127.0.0.1:{self.port}")
        script = script.replace(README_PASSWORD, PASSWORD)
        return answers(self.run(re.sub(r"\bcurl ", "curl -sS --fail-with-body ", script)))

    def sign_in(self, name: str, password: str) -> httpx.Response:
        return httpx.post(f"{self.url}/auth/login", json={"username": name, "password": password}, timeout=30)

    def orders(self) -> list[dict[str, object]]:
        signed_in = self.sign_in("user@example.com", PASSWORD)
        assert signed_in.status_code == 200, signed_in.text
        headers = {"Authorization": f"Bearer {signed_in.json()['token']}"}
        listed = httpx.get(f"{self.url}/orders", headers=headers, timeout=30)
        assert listed.status_code == 200, listed.text
        found: list[dict[str, object]] = listed.json()
        return found


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    made = Container()
    try:
        made.run(made.build, BUILD_SECONDS)
        made.run(made.start)
        made.wait_until_healthy()
        yield made
    finally:
        for command in ("rm --force --volumes", "volume rm --force", "rmi --force"):
            words = [made.docker, *command.split(), made.name]
            subprocess.run(words, capture_output=True, check=False)


def test_container_serves_the_readme_without_root_keeps_its_data_and_stops_when_asked(
    container: Container,
) -> None:
    _, profile, order, listed, _ = container.journey()
    assert order["user_id"] == profile["id"]
    (password,) = container.run(container.secret).splitlines()
    refused = container.sign_in("admin", password.partition("=")[2])
    assert refused.json()["code"] == "password_change_required", refused.text
    assert container.sign_in("admin", "admin123").status_code == 401

    assert container.inside("id -u") == "10001"
    container.inside("sh -c 'sleep 0.1 & exit'")  # an orphan, which the first process has to wait for
    states = "sh -c 'cat /proc/[0-9]*/stat 2>/dev/null || true'"
    assert support.eventually(lambda: not re.search(r"\) Z ", container.inside(states)), seconds=30)

    container.run(container.stop)
    exited = container.run(f"docker inspect --format '{{{{.State.ExitCode}}}}' {container.name}")
    assert exited == "0", container.logs()  # and not killed when the time to stop was over
    container.run(container.again)
    container.wait_until_healthy()
    assert container.orders() == listed


def test_backup_of_a_container_is_restored_into_a_new_volume_with_its_secrets(container: Container) -> None:
    if container.sign_in("user@example.com", PASSWORD).status_code != 200:
        container.journey()
    before = container.orders()
    passphrase = container.inside("grep BACKUP_PASSPHRASE /data/secrets/suite.env").partition("=")[2]
    container.run(container.backup)
    other, volume = f"{container.name}-2", f"{container.name}-2"
    with tempfile.TemporaryDirectory() as folder:
        container.run(f"docker cp {container.name}:/data/backups {folder}/backups")
        container.run(f"chmod -R a+rX {folder}")
        (file,) = Path(folder, "backups").glob("*.tar")
        try:
            container.run(
                f"docker run --rm -v {volume}:/data -v {folder}/backups:/backups:ro -e BACKUP_PASSPHRASE "
                f"{container.name} restore /backups/{file.name}",
                BACKUP_PASSPHRASE=passphrase,
            )
            container.run(container.stop)
            container.run(
                f"docker run --detach --name {other} --read-only --tmpfs /tmp --cap-drop ALL --security-opt "
                f"no-new-privileges -p 127.0.0.1:{container.port}:8080 -v {volume}:/data {container.name}"
            )
            container.wait_until_healthy(other)
            assert container.orders() == before
        finally:
            for command in ("rm --force --volumes", "volume rm --force"):
                subprocess.run([container.docker, *command.split(), other], capture_output=True, check=False)
            container.run(container.again)
            container.wait_until_healthy()


def test_folder_that_the_user_cannot_write_to_is_named(container: Container) -> None:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [container.docker, "run", "--rm", "-v", f"{folder}:/data", container.name],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == (
        "gatehouse: user 10001 cannot write to /data; mount a volume, "
        "or give the mounted folder to user 10001\n"
    )
