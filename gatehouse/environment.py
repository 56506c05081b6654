"""Creates .venv from a lock file. `make` runs this first, so it needs only the standard library.

    python3 gatehouse/environment.py requirements-dev.lock

uv installs the lock in seconds: the uv on PATH, or the one pinned in requirements-uv.lock, which pip fetches.
Without uv, pip installs the lock itself. Both check the hashes.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venv"
PYTHON = FOLDER / "bin" / "python"
FETCHED_UV = FOLDER / "uv"
# Written first and removed last, so that an interrupted installation starts over.
UNFINISHED = FOLDER / "unfinished"
HEARTBEAT_SECONDS = 5.0
OUTPUT_LINES_SHOWN = 12
# Use the system's CA certificates, as pip is often configured to. Older versions of uv know only the second
# name.
UV_SETTINGS = {"UV_SYSTEM_CERTS": "true", "UV_NATIVE_TLS": "true"}
NO_INSTALLER = """\
This machine has neither uv nor pip to install packages with. Install one, then run the same command again:
  Debian, Ubuntu   sudo apt install python3-venv
  Fedora           sudo dnf install python3-pip
  anywhere         put uv on PATH
"""


class InstallFailed(Exception):
    """No installer could install the lock; the message says what to do."""


def main(lock: str) -> int:
    """Create or complete the environment; return the exit code."""
    started = time.monotonic()
    try:
        was_there = make_folder()
        install(ROOT / lock)
    except InstallFailed as error:
        if was_there:  # an installer that fails has changed nothing
            UNFINISHED.unlink()
        else:
            shutil.rmtree(FOLDER)
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    write_command()
    UNFINISHED.unlink()
    say(f".venv is ready after {time.monotonic() - started:.0f} s")
    return 0


def make_folder() -> bool:
    """Ensure an environment to install into; return whether a working one existed (and is kept)."""
    was_there = not UNFINISHED.exists() and succeeds([str(PYTHON), "-c", ""])
    if not was_there:
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir()
    UNFINISHED.touch()
    for marker in FOLDER.glob("ready*"):
        marker.unlink()
    if not was_there:
        say(f"creating .venv with Python {sys.version.split()[0]} (once) …")
        venv.create(FOLDER, symlinks=True)
    return was_there


def install(lock: Path) -> None:
    """Install the lock with the first installer that succeeds."""
    packages = lock.read_text().count("==")
    say(f"installing {packages} packages from {lock.name} …")
    tried = 0
    for name, command in installers():
        if tried:
            say(f"trying again with {name} …")
        if run([*command, "--require-hashes", "-r", str(lock)]):
            return
        tried += 1
    raise InstallFailed(
        "The packages could not be installed; the lines above say why. Run the same command again."
        if tried
        else NO_INSTALLER
    )


def installers() -> Iterator[tuple[str, Sequence[str]]]:
    """Yield the installers of packages into .venv, fastest first; each is looked up only when needed."""
    into = ["pip", "install", "--quiet", "--compile-bytecode", "--python", str(PYTHON)]
    on_path = shutil.which("uv")
    if on_path is not None:
        yield "uv", [on_path, *into]
    pip = find_pip()
    if pip is None:
        return
    fetched = FETCHED_UV / "bin" / "uv"
    if fetched.exists() or fetch_uv(pip):
        yield "the pinned uv", [str(fetched), *into]
    yield "pip", [*pip, "install", "--quiet", "--disable-pip-version-check"]


def find_pip() -> Sequence[str] | None:
    """Return a pip that installs into .venv: the running Python's own, or one inside .venv."""
    outside = [sys.executable, "-m", "pip", "--python", str(PYTHON)]
    inside = [str(PYTHON), "-m", "pip"]
    if succeeds([*outside, "--version"]):
        return outside
    if succeeds([*inside, "--version"]) or succeeds([str(PYTHON), "-m", "ensurepip", "--default-pip"]):
        return inside
    return None


def fetch_uv(pip: Sequence[str]) -> bool:
    wheels_only = ["--only-binary", ":all:", "--no-deps", "--target", str(FETCHED_UV)]
    lock = ["--require-hashes", "-r", str(ROOT / "requirements-uv.lock")]
    return succeeds([*pip, "install", "--quiet", "--disable-pip-version-check", *wheels_only, *lock])


def succeeds(command: Sequence[str]) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - a command of our own
    except OSError:  # for example, a link whose target was removed
        return False
    return done.returncode == 0


def run(command: Sequence[str]) -> bool:
    """Run an installer and report progress every few seconds; print the end of its output if it fails."""
    with tempfile.TemporaryFile() as output:
        started = time.monotonic()
        process = subprocess.Popen(  # noqa: S603 - as above
            command, stdout=output, stderr=subprocess.STDOUT, env=UV_SETTINGS | os.environ
        )
        while process.poll() is None:
            try:
                process.wait(HEARTBEAT_SECONDS)
            except subprocess.TimeoutExpired:
                say(f"  … {time.monotonic() - started:.0f} s")
        if process.returncode != 0:
            sys.stderr.write(end_of(output))
        return process.returncode == 0


def end_of(output: IO[bytes]) -> str:
    output.seek(0)
    lines = output.read().decode(errors="replace").splitlines()
    return "".join(f"  {line}\n" for line in lines[-OUTPUT_LINES_SHOWN:])


def write_command() -> None:
    """Create the `gatehouse` command that the documentation uses, without installing the project."""
    file = FOLDER / "bin" / "gatehouse"
    file.write_text(f'#!/bin/sh\nexec "{PYTHON}" -m gatehouse "$@"\n')
    file.chmod(0o755)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
