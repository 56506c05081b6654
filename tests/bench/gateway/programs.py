"""Programs under measurement, pinned to a core; the resource use of all their processes is counted."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.bench.processes import ROOT, cpu_seconds, on_core, resident_mib
from tests.support import free_port

START_SECONDS = 60
STOP_SECONDS = 30


class Program:
    """One server on a free port."""

    def __init__(
        self, name: str, core: str, command: list[str], log: Path, port: int, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.port = port
        self.log = log
        # Append mode, so that truncating the file between runs leaves no hole in it.
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                on_core(core, command),
                cwd=ROOT,
                env={**os.environ, "PORT": str(port), **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        if not self._listens_in_time():
            self.stop()
            sys.exit(f"{name} did not start:\n{log.read_text(errors='replace')[-3000:]}")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def pids(self) -> list[int]:
        """The process and all its descendants."""
        found = [self.pid]
        for pid in found:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            found += [int(child) for child in children]
        return found

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.pids)

    def resident_mib(self) -> float:
        return sum(resident_mib(pid) for pid in self.pids)

    def forget_peak(self) -> None:
        """Reset the kernel's peak of resident memory."""
        for pid in self.pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peak_mib(self) -> float:
        peaks = (re.findall(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()) for pid in self.pids)
        return sum(int(peak) for (peak,) in peaks) / 1024

    def descriptors(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _listens_in_time(self) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return True
        return False


def python(
    module: str, core: str, folder: Path, environment: Mapping[str, str], log: Path | None = None
) -> Program:
    """Start `python -m module`, with its port in PORT."""
    log = log or folder / f"{module}.log"
    return Program(module, core, [sys.executable, "-m", module], log, free_port(), environment)
