"""First steps of a new user: start, run the documented curl commands, stop."""

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gatehouse.starting import can_fork
from tests import support
from tests.suite.conftest import ROOT, Suite, running_suite

SEED = Path(__file__).with_name("seed_004.sh")
PRINTED_PORT = "localhost:8000"


def run(script: str, suite: Suite) -> str:
    """Run curl commands with the suite's port in place of the documented one; return the output."""
    support.need("curl", "bash")
    script = script.replace(PRINTED_PORT, suite.url.removeprefix("http://"))
    script = re.sub(r"\bcurl ", "curl -sS --fail-with-body ", script)
    done = subprocess.run(
        ["bash", "-e", "-c", script], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def answers(output: str) -> list[Any]:
    """Parse consecutive JSON documents."""
    decoder, found, rest = json.JSONDecoder(), [], output.strip()
    while rest:
        document, end = decoder.raw_decode(rest)
        found.append(document)
        rest = rest[end:].strip()
    return found


def block_of(readme: str) -> str:
    text = (ROOT / readme).read_text()
    (block,) = re.findall(r"test_quickstart\.py -->\n```bash\n(.*?)```", text, re.DOTALL)
    return str(block)


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, Path]:
    """The output of the README's commands and of those in docs/files.md, and where the latter download to."""
    folder = tmp_path_factory.mktemp("documented")
    lines = block_of("docs/files.md").replace("--output-dir /tmp", f"--output-dir {folder}")
    with running_suite(folder / "data") as suite:
        readme, _, files = run(f"{block_of('README.md')}\nprintf '\\f'\n{lines}", suite).partition("\f")
    return readme, files, folder


def test_curl_commands_of_the_readme(documented: tuple[str, str, Path]) -> None:
    output, _, _ = documented
    registered, profile, order, listed, file = answers(output)

    assert output.count("\n") == 5, "each response must end with a newline, or the shell's prompt follows it"
    assert registered["user"]["username"] == "testuser"
    assert profile["email"] == "user@example.com"
    assert order["total_price"] == 999.99
    assert order.pop("lines") == []
    assert listed == [order], "lists contain the number of lines only"
    assert file["size"] == (ROOT / "README.md").stat().st_size


def test_curl_commands_of_the_files_documentation(documented: tuple[str, str, Path]) -> None:
    _, output, folder = documented

    assert (folder / "README.md").read_bytes() == (ROOT / "README.md").read_bytes()
    assert '"downloads_max":1' in output
    assert output.count("HTTP/1.1 204 ") == 2
    assert re.search(r"^upload-offset: 11\r?\n(.+\n)*content-location: /files/", output, re.MULTILINE)


def test_published_curl_commands_work_unchanged_and_ctrl_c_leaves_no_process_behind(tmp_path: Path) -> None:
    register, login, me, order = SEED.read_text().split("\n\n")
    with running_suite(tmp_path) as suite:
        (registered,) = answers(run(register, suite))
        (logged_in,) = answers(run(login, suite))
        with_token = [line.replace("<your-jwt-token>", logged_in["token"]) for line in (me, order)]
        (profile,), (placed,) = (answers(run(line, suite)) for line in with_token)
        ours = 2 if can_fork() else 1  # the launcher, and the fork server
        assert len(suite.processes()) == len(suite.ports) + ours
        assert suite.stop(signal.SIGINT) == 0
        assert suite.processes() == {}

    assert logged_in["user"]["id"] == registered["user"]["id"] == profile["id"] == placed["user_id"]
    assert placed["product_name"] == "Laptop"


async def test_unknown_path_below_auth_is_a_404_rather_than_a_401(
    suite: Suite,
) -> None:
    async with suite.client() as client:
        statuses = {
            path: (await client.get(path)).status_code
            for path in ("/auth/sign-in", "/auth/login/x", "/auth/me", "/auth/me/password", "/orders")
        }
        slash = await client.get("/auth/signin/")

    assert statuses == {
        "/auth/sign-in": 404,
        "/auth/login/x": 404,
        "/auth/me": 401,
        "/auth/me/password": 401,
        "/orders": 401,
    }
    assert slash.json()["detail"].endswith("Remove the trailing slash.")


def test_killed_launcher_leaves_no_process_behind(tmp_path: Path) -> None:
    with running_suite(tmp_path) as suite:
        suite.kill()

        assert support.eventually(lambda: not suite.processes(), seconds=30), suite.processes()


def test_error_names_a_port_that_is_in_use(tmp_path: Path, suite: Suite) -> None:
    environment = {**os.environ, "DATA_DIR": str(tmp_path), "GATEWAY_PORT": str(suite.ports["gateway"])}
    free = {f"{name.upper()}_PORT": str(support.free_port()) for name in suite.ports if name != "gateway"}
    done = subprocess.run(
        [ROOT / ".venv/bin/python", "-m", "gatehouse", "up"],
        cwd=ROOT,
        env=environment | free,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 4
    assert f"gateway: port {suite.ports['gateway']} is taken" in done.stderr
    assert "GATEWAY_PORT=" in done.stderr


def interpreter(version: str) -> str:
    """Find a Python of this version, or skip the test, as no machine has all versions."""
    places = [shutil.which(f"python{version}"), *Path.home().glob(f".pyenv/versions/{version}.*/bin/python3")]
    for place in filter(None, places):
        command = [str(place), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.stdout.strip() == version:
            return str(place)
    pytest.skip(f"Python {version} is not installed")


@pytest.mark.prove
@pytest.mark.long(2)
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_make_up_in_a_clean_clone(tmp_path: Path, version: str) -> None:
    clone, home = tmp_path / "clone", tmp_path / "home"
    home.mkdir()
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    # They share downloads with the environment that these tests run in; uv checks the hashes again.
    downloads = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "uv"
    cache = os.environ.get("UV_CACHE_DIR", str(downloads))
    settings = {"HOME": str(home), "PYTHON": interpreter(version), "UV_CACHE_DIR": cache}
    with running_suite(
        tmp_path / "data", settings, command=["make", "up"], cwd=clone, start_seconds=300
    ) as suite:
        (health,) = answers(run("curl http://localhost:8000/health", suite))
    tested = subprocess.run(
        ["make", "test", "JOBS=1", "TESTS=tests/orders/test_orders.py"],
        cwd=clone,
        env={**settings, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )

    assert health["status"] == "healthy"
    assert tested.returncode == 0, tested.stdout[-3000:]
    assert f"Python {version}." in "\n".join(suite.lines)
