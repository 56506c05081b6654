"""Uploads and downloads of one gibibyte: speed, CPU time and memory."""

import re
import socket
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.gateway.programs import Program
from tests.bench.gateway.proxies import DOWNLOAD, GIB, OURS, UPLOAD, Stage
from tests.bench.gateway.speed import REFERENCE, Goal, request_head

READ_BYTES = 1 << 20
STALL_SECONDS = 60
Transfer = Callable[[int, Path], None]


class TransferError(Exception):
    """The response was not the expected one."""


@dataclass
class Passed:
    """Results of one proxy in one direction; `growth` is its peak memory above the initial one, in MiB."""

    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    growth: float = 0.0

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)


def measure(stage: Stage, rounds: int) -> dict[tuple[str, str], Passed]:
    """Measure all transfers; return results by direction and proxy."""
    zeros = stage.folder / "zeros"
    with zeros.open("wb") as file:
        file.truncate(GIB)
    directions: dict[str, Transfer] = {"download": download, "upload": upload}
    names = [proxy.name for proxy in stage.proxies if proxy.name in (OURS, REFERENCE)]
    passed = {(direction, name): Passed() for direction in directions for name in names}
    for _ in range(rounds):
        for (direction, name), each in passed.items():
            _time(directions[direction], stage.proxy(name), zeros, each)
    return passed


def _time(transfer: Transfer, proxy: Program, zeros: Path, passed: Passed) -> None:
    proxy.forget_peak()
    before, spent = proxy.resident_mib(), proxy.cpu_seconds()
    begun = time.perf_counter()
    transfer(proxy.port, zeros)
    passed.rates.append(GIB / 1e6 / (time.perf_counter() - begun))
    passed.costs.append(proxy.cpu_seconds() - spent)
    passed.growth = max(passed.growth, proxy.peak_mib() - before)


def download(port: int, _zeros: Path) -> None:
    buffer = bytearray(READ_BYTES)
    with socket.create_connection(("127.0.0.1", port), STALL_SECONDS) as connection:
        connection.sendall(request_head(port, DOWNLOAD))
        status, length, rest = _answer_head(connection)
        left = length - len(rest)
        while left and (count := connection.recv_into(buffer)):
            left -= count
    if status != 200 or length != GIB or left:
        raise TransferError(f"download: {status}, {left} of {length} bytes are missing")


def upload(port: int, zeros: Path) -> None:
    with socket.create_connection(("127.0.0.1", port), STALL_SECONDS) as connection, zeros.open("rb") as file:
        connection.sendall(request_head(port, UPLOAD, f"Content-Length: {GIB}", method="POST"))
        connection.sendfile(file)
        status, _, _ = _answer_head(connection)
    if status != 204:
        raise TransferError(f"upload: {status}")


def _answer_head(connection: socket.socket) -> tuple[int, int, bytes]:
    """Read a response head; return status, body length, and the part of the body already received."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(READ_BYTES)
        if not more:
            raise TransferError(f"closed after {data!r}")
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return int(head.split(b" ")[1]), int(length.group(1)) if length else 0, rest


def show(passed: dict[tuple[str, str], Passed]) -> None:
    print(f"\n{'1 GiB':<20}{'MB/s':>9}{'÷ nginx':>9}{'CPU s':>8}{'growth MiB':>12}")
    for (direction, name), each in passed.items():
        reference = passed.get((direction, REFERENCE))
        ratio = f"{each.rate / reference.rate:>9.2f}" if reference else f"{'-':>9}"
        cost = statistics.median(each.costs)
        print(f"{name + ' ' + direction:<20}{each.rate:>9,.0f}{ratio}{cost:>8.2f}{each.growth:>12.1f}")


def goals(passed: dict[tuple[str, str], Passed]) -> list[Goal]:
    found = []
    for direction in ("download", "upload"):
        ours, reference = passed[direction, OURS], passed.get((direction, REFERENCE))
        if reference is not None:
            ratio = ours.rate / reference.rate
            found.append(Goal(f"{direction} of 1 GiB ÷ nginx", ratio, "≥ 0.5", ratio >= 0.5))
        found.append(Goal(f"{direction} of 1 GiB: growth MiB", ours.growth, "< 32", ours.growth < 32))
    return found
