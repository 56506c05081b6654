"""The wheel: one name, all files, and a suite that runs where there is no checkout."""

import os
import shutil
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared import __version__
from tests import support
from tests.suite.conftest import ROOT, running_suite
from tests.suite.test_quickstart import answers, block_of, run

pytestmark = pytest.mark.prove

INSTALL_SECONDS = 240
START_SECONDS = 120
PARTS = ("contracts", "gateway", "services", "shared")


@dataclass(frozen=True)
class Wheel:
    """The built wheel, how to run its command without installing it, and an empty folder to do so."""

    file: Path
    command: tuple[str, ...]
    folder: Path
    environment: dict[str, str]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Wheel:
    fetched = ROOT / ".venv/uv/bin/uv"  # by gatehouse/environment.py, if there is none on PATH
    uv = shutil.which("uv") or (str(fetched) if fetched.exists() else None)
    if uv is None:
        support.do_without("not installed: uv")
    built, folder = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("empty")
    settings = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment = {**settings, "UV_SYSTEM_CERTS": "true", "UV_NATIVE_TLS": "true"}
    environment["XDG_DATA_HOME"] = str(tmp_path_factory.mktemp("home"))
    build = [uv, "build", "--quiet", "--wheel", "--out-dir", str(built), str(ROOT)]
    done = subprocess.run(
        build, env=environment, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    (file,) = built.glob("*.whl")
    versions = ("--with-requirements", str(ROOT / "requirements.lock"))
    command = (uv, "tool", "run", "--quiet", *versions, "--from", str(file), "gatehouse")
    return Wheel(file, command, folder, environment)


def test_wheel_has_one_name_and_every_tracked_file(wheel: Wheel) -> None:
    names = zipfile.ZipFile(wheel.file).namelist()
    listed = subprocess.run(
        ["git", "ls-files", "gatehouse", *PARTS], cwd=ROOT, capture_output=True, text=True, check=True
    )
    tracked = {name for name in listed.stdout.split() if (ROOT / name).exists()}
    packed = {name if name.startswith("gatehouse/") else f"gatehouse/_suite/{name}" for name in tracked}
    others = {name for name in names if name.startswith("gatehouse/")} - packed

    assert {name.partition("/")[0] for name in names} == {
        "gatehouse",
        f"gatehouse-{__version__}.dist-info",
    }
    assert packed - {*names} == set()
    assert {name.removeprefix("gatehouse/_suite/").partition("/")[0] for name in others} == {
        "docker-compose.yml",
        "routes.yaml",
        "deploy",
    }


def test_command_shows_its_version_and_refuses_to_change_code(wheel: Wheel) -> None:
    version = wheel.run("--version")
    refused = wheel.run("service", "billing")
    manifests = wheel.run("kubernetes", "--to", "cluster")
    secrets = wheel.run("env", "--file", "cluster/.env")
    stack = wheel.run("stack", "--to", "swarm", "--env", "cluster/.env")

    assert version.stdout == f"gatehouse {__version__}\n", version.stderr
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "needs a checkout" in refused.stderr
    assert manifests.returncode == 0, manifests.stderr
    assert (wheel.folder / "cluster/production/kustomization.yaml").exists()
    assert (secrets.returncode, stack.returncode) == (0, 0), secrets.stderr + stack.stderr
    assert (wheel.folder / "swarm/secrets/orders_database_url").exists()


def test_suite_of_the_wheel_answers_the_commands_of_the_readme_and_keeps_its_data(wheel: Wheel) -> None:
    data = Path(wheel.environment["XDG_DATA_HOME"]) / "gatehouse"
    assert wheel.run("--version").returncode == 0  # installs it first, so that the start is only a start
    settings = {**wheel.environment, "DATA_DIR": "", "ROUTES_FILE": ""}
    command = (*wheel.command, "up")
    before = {*wheel.folder.iterdir()}
    with running_suite(
        data, settings, command=command, cwd=wheel.folder, start_seconds=START_SECONDS
    ) as suite:
        output = run(block_of("README.md"), suite)
        assert f"data: {data}" in suite.lines

    registered, profile, order, listed, file = answers(output)
    assert registered["user"]["id"] == profile["id"] == order["user_id"]
    assert [one["id"] for one in listed] == [order["id"]]
    assert file["size"] == (ROOT / "README.md").stat().st_size
    assert (data / "orders.db").exists()
    assert {*wheel.folder.iterdir()} == before
