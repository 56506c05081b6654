"""`gatehouse/environment.py` creates .venv with uv or pip, from any previous state.

The lock contains one package, built by the test and installed from a folder, so nothing is downloaded.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from tests import support

ROOT = Path(__file__).resolve().parents[2]
NO_HASH = "0" * 64
PYTHON = str(Path(sys.base_prefix) / "bin" / "python3")

HIDING = """
import sys
from importlib.abc import MetaPathFinder

class Hiding(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in {modules} and (name != "pip" or sys.prefix == sys.base_prefix):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Hiding())
"""


class Checkout:
    """A folder with the script and locks, on a machine with programs and modules that the test chooses."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._wheels, self.programs = folder, folder / "wheels", folder / "programs"
        self._hidden = folder / "hidden"
        for made in ("gatehouse", "wheels", "programs", "hidden"):
            (folder / made).mkdir()
        shutil.copy(ROOT / "gatehouse/environment.py", folder / "gatehouse")
        self.lock(wheel(self._wheels))
        (folder / "requirements-uv.lock").write_text(f"uv==0.0.1 --hash=sha256:{NO_HASH}\n")

    def lock(self, digest: str) -> None:
        (self.folder / "requirements.lock").write_text(f"small==1.0 \\\n    --hash=sha256:{digest}\n")

    def hide(self, *modules: str) -> None:
        """Hide these modules, as on Debian without python3-venv; a pip in .venv can still be created."""
        (self._hidden / "sitecustomize.py").write_text(HIDING.format(modules=modules))

    def show_all(self) -> None:
        (self._hidden / "sitecustomize.py").unlink()

    def link_uv(self) -> None:
        found = shutil.which("uv") or ROOT / ".venv/uv/bin/uv"
        (uv,) = support.need(str(found))
        (self.programs / "uv").symlink_to(uv)

    def environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.folder),
            "PATH": f"{self.programs}:/usr/bin:/bin",
            "PYTHONPATH": str(self._hidden),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self._wheels),
            "PIP_CONFIG_FILE": os.devnull,
            "UV_NO_INDEX": "1",
            "UV_FIND_LINKS": str(self._wheels),
            "UV_CACHE_DIR": str(self.folder / "cache"),
        }

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [PYTHON, "gatehouse/environment.py", "requirements.lock"],
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def make(self) -> tuple[int, str]:
        with self.start() as process:
            output, _ = process.communicate(timeout=120)
        return process.returncode, output

    def works(self) -> bool:
        command = [str(self.folder / ".venv/bin/python"), "-c", "import small"]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    def is_finished(self) -> bool:
        return not (self.folder / ".venv/unfinished").exists()


def wheel(folder: Path) -> str:
    """Write a wheel with one empty module; return its SHA-256."""
    file = folder / "small-1.0-py3-none-any.whl"
    info = "small-1.0.dist-info"
    contents = {
        "small.py": "",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: small\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in [*contents, f"{info}/RECORD"])
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in {**contents, f"{info}/RECORD": record}.items():
            archive.writestr(name, text)
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_uv_on_path_installs_the_lock(checkout: Checkout) -> None:
    checkout.link_uv()
    checkout.hide("pip", "ensurepip")
    code, output = checkout.make()

    assert (code, checkout.works(), checkout.is_finished()) == (0, True, True), output
    assert "installing 1 packages from requirements.lock" in output


@pytest.mark.prove
def test_pip_installs_the_lock_when_uv_is_not_available(checkout: Checkout) -> None:
    code, output = checkout.make()

    assert (code, checkout.works()) == (0, True), output


@pytest.mark.prove
def test_ensurepip_creates_a_pip_if_the_python_has_none(checkout: Checkout) -> None:
    checkout.hide("pip")
    code, output = checkout.make()

    assert (code, checkout.works()) == (0, True), output
    assert (checkout.folder / ".venv/bin/pip").exists()


@pytest.mark.prove
def test_a_failing_uv_is_replaced_by_pip(checkout: Checkout) -> None:
    (checkout.programs / "uv").write_text("#!/bin/sh\necho 'no route to the index' >&2\nexit 2\n")
    (checkout.programs / "uv").chmod(0o755)
    code, output = checkout.make()

    assert (code, checkout.works()) == (0, True), output
    assert "no route to the index" in output
    assert "trying again with pip" in output


@pytest.mark.prove
@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_package_with_the_wrong_hash_is_refused(checkout: Checkout, installer: str) -> None:
    checkout.lock(NO_HASH)
    if installer == "uv":
        checkout.link_uv()
        checkout.hide("pip", "ensurepip")
    code, output = checkout.make()

    assert code == 1
    assert "hash" in output.lower()
    assert not (checkout.folder / ".venv").exists()


def test_without_an_installer_the_output_says_what_to_install_and_the_next_run_works(
    checkout: Checkout,
) -> None:
    checkout.hide("pip", "ensurepip")
    code, output = checkout.make()

    assert code == 1
    assert "apt install python3-venv" in output
    assert "Traceback" not in output
    assert not (checkout.folder / ".venv").exists()

    checkout.show_all()
    code, output = checkout.make()

    assert (code, checkout.works()) == (0, True), output


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_interrupted_installation_starts_over(checkout: Checkout, how: signal.Signals) -> None:
    (checkout.programs / "uv").write_text(f"#!/bin/sh\ntouch {checkout.folder}/started\nexec sleep 60\n")
    (checkout.programs / "uv").chmod(0o755)
    with checkout.start() as process:
        assert support.eventually((checkout.folder / "started").exists, seconds=30)
        os.killpg(process.pid, how)
        output, _ = process.communicate(timeout=30)
    (checkout.folder / ".venv/half-written").touch()

    assert process.returncode != 0
    assert "Traceback" not in output
    assert not checkout.is_finished()

    (checkout.programs / "uv").unlink()
    checkout.link_uv()
    code, output = checkout.make()

    assert (code, checkout.works(), checkout.is_finished()) == (0, True, True), output
    assert not (checkout.folder / ".venv/half-written").exists()


def test_environment_whose_python_is_gone_is_recreated(checkout: Checkout) -> None:
    checkout.link_uv()
    (checkout.folder / ".venv/bin").mkdir(parents=True)
    (checkout.folder / ".venv/bin/python").symlink_to("/removed/bin/python3")
    code, output = checkout.make()

    assert (code, checkout.works()) == (0, True), output


def test_failed_update_keeps_the_environment_but_not_its_marker(checkout: Checkout) -> None:
    checkout.link_uv()
    checkout.hide("pip", "ensurepip")
    checkout.make()
    (checkout.folder / ".venv/ready").touch()
    (checkout.folder / "requirements.lock").write_text(f"other==1.0 --hash=sha256:{NO_HASH}\n")
    code, output = checkout.make()

    assert code == 1, output
    assert checkout.works()
    assert not (checkout.folder / ".venv/ready").exists()


def test_the_command_starts_with_the_environment(checkout: Checkout) -> None:
    checkout.link_uv()
    checkout.make()
    (checkout.folder / "gatehouse/__main__.py").write_text("import sys; print(sys.prefix, *sys.argv[1:])")
    done = subprocess.run(
        [checkout.folder / ".venv/bin/gatehouse", "a", "b c"],
        cwd=checkout.folder,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == f"{checkout.folder}/.venv a b c\n"


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_the_locks_keep_the_extras_that_packages_ask_for(name: str) -> None:
    """Without them, old versions of pip look for a version other than the pinned one, which has no hash."""
    locked = dict(
        re.findall(r"^([a-z0-9._-]+)(\[[a-z0-9,_-]+\])?==", (ROOT / name).read_text(), re.MULTILINE)
    )
    asked = re.compile(r"^([A-Za-z0-9._-]+)\[([A-Za-z0-9,_-]+)\][^;]*$")
    installed = [one for one in locked if is_installed(one)]
    missing = [
        f"{package}[{extras}], for {by}"
        for by in installed
        for requirement in metadata.requires(by) or []
        for package, extras in asked.findall(requirement)
        if not set(extras.split(",")) <= set(locked[package.lower()].strip("[]").split(","))
    ]

    assert len(installed) > 30
    assert missing == []


def is_installed(package: str) -> bool:
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def old_pip(folder: Path) -> Path:
    """Return an empty environment with the pip that Python 3.11.7 bundles."""
    subprocess.run([PYTHON, "-m", "venv", str(folder)], check=True)
    python = folder / "bin/python"
    quiet = ["--quiet", "--disable-pip-version-check"]
    subprocess.run([python, "-m", "pip", "install", *quiet, "pip==23.2.1"], check=True)
    return python


def test_the_lock_for_users_is_closed_and_part_of_the_lock_for_tests() -> None:
    """So whatever installs the lock for tests installs the other one as well."""
    lines, every = locked_lines("requirements.lock"), locked_lines("requirements-dev.lock")
    locked = {normalised(line) for line in lines}
    asked = {
        normalised(requirement)
        for name in locked
        if is_installed(name)
        for requirement in metadata.requires(name) or []
        if ";" not in requirement  # not only for an extra or another version of Python
    }

    assert len(asked) > 30
    assert asked - locked == set()
    assert [line for line, hashes in lines.items() if every.get(line) != hashes] == []


def normalised(requirement: str) -> str:
    """Return the name of the package as an index spells it."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name is not None
    return re.sub(r"[._-]+", "-", name[0]).lower()


def locked_lines(name: str) -> dict[str, list[str]]:
    """Return the hashes of each pinned package, by its line without them."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / name).read_text().splitlines():
        if "==" in line:
            hashes = found.setdefault(line.removesuffix("\\").strip(), [])
        elif "--hash=" in line:
            hashes.append(line.removesuffix("\\").strip())
    return found


@pytest.mark.prove
@pytest.mark.long(2.5)
@pytest.mark.timeout(900)  # an old pip takes minutes on a busy machine
def test_an_old_pip_installs_the_locks(tmp_path: Path) -> None:
    python = old_pip(tmp_path / "venv")
    quiet = ["--quiet", "--disable-pip-version-check"]
    lock = [
        "--no-compile",
        "--require-hashes",
        "-r",
        str(ROOT / "requirements-dev.lock"),
    ]  # contains the other
    done = subprocess.run(
        [python, "-m", "pip", "install", *quiet, *lock], capture_output=True, text=True, check=False
    )
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format", "json"], capture_output=True, text=True, check=True
    )

    assert done.returncode == 0, done.stderr
    versions = {one["name"].lower(): one["version"] for one in json.loads(listed.stdout)}
    assert versions["pip"] == "23.2.1"
    assert versions["starlette"]
