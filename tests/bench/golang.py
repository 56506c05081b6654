"""Peers written in Go, built when Go is there."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.bench.gateway.programs import Program
from tests.bench.processes import JWT_SECRET, SERVER_CORE
from tests.support import free_port

SOURCE = Path(__file__).parent / "go"
BUILD_SECONDS = 600  # SQLite is compiled, too


class NotBuilt(Exception):
    """The peer cannot be built here; the message says why."""


def build(source: Path, program: Path, *, with_c: bool = False) -> None:
    go = shutil.which("go")
    if go is None:
        raise NotBuilt("go is not installed")
    environment = {"GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local", "CGO_ENABLED": str(int(with_c))}
    try:
        subprocess.run(
            [go, "build", "-o", str(program), "."],
            cwd=source,
            env={**os.environ, **environment},
            check=True,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
        )
    except subprocess.CalledProcessError as error:
        raise NotBuilt(f"go build failed in {source}: {error.stderr.strip()[-500:]}") from error
    except subprocess.TimeoutExpired as error:
        raise NotBuilt(f"go build in {source} took more than {BUILD_SECONDS} s") from error


def service(folder: Path) -> Program:
    """Start users and orders in Go, on one core like ours."""
    program = folder / "go-service"
    build(SOURCE / "service", program, with_c=True)
    settings = {"DATABASE": str(folder / "go.db"), "JWT_SECRET": JWT_SECRET, "GOMAXPROCS": "1"}
    return Program("Go", SERVER_CORE, [str(program)], folder / "go.log", free_port(), settings)
