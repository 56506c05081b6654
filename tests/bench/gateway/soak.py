"""`python -m tests.bench.gateway.soak --minutes 10`: checks for growth of resources under full load."""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from shared.identity.tokens import VERIFIED_TOKENS_MAX
from tests.bench.gateway import mix
from tests.bench.gateway.programs import Program
from tests.bench.gateway.proxies import OURS, stage
from tests.bench.processes import LOAD_CORE

SAMPLES_MIN = 12  # four per third
SAMPLE_SECONDS_MAX = 10.0
SETTLE_SECONDS = 3.0
QUIET_SECONDS = 15.0
# Allowed difference between the medians of the first and the last third: allocators fluctuate, and so does
# the number of clients that are connecting.
GROWTH_MIB, GROWTH_DESCRIPTORS, GROWTH_SERIES = 4.0, 40, 20


@dataclass(frozen=True)
class Sample:
    """The gateway at one point in time."""

    seconds: float
    answered: int
    resident_mib: float
    descriptors: int
    series: int


@dataclass
class Report:
    """The results of a soak test."""

    samples: list[Sample] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    left_open: int = 0

    def growth(self, of: Callable[[Sample], float]) -> float:
        """Return how much the median of the last third exceeds that of the first."""
        third = len(self.samples) // 3
        values = [of(sample) for sample in self.samples]
        return statistics.median(values[-third:]) - statistics.median(values[:third])

    def per_hour(self, of: Callable[[Sample], float]) -> float:
        """Return the slope of the linear regression over all samples."""
        times = [sample.seconds / 3600 for sample in self.samples]
        return statistics.linear_regression(times, [of(sample) for sample in self.samples]).slope

    @property
    def faults(self) -> list[str]:
        """All failures found; empty if the test passed."""
        found = [f"{count} times: {words}" for words, count in self.wrong.most_common()]
        for name, of, allowed in MEASURED:
            growth = self.growth(of)
            if growth > allowed:
                found.append(f"{name} grew by {growth:.1f}, more than {allowed}")
        if self.left_open > 0:
            found.append(f"{self.left_open} descriptors were still open at the end")
        return found


MEASURED: list[tuple[str, Callable[[Sample], float], float]] = [
    ("memory (MiB)", lambda sample: sample.resident_mib, GROWTH_MIB),
    ("descriptors", lambda sample: sample.descriptors, GROWTH_DESCRIPTORS),
    ("series", lambda sample: sample.series, GROWTH_SERIES),
]


def run(folder: Path, seconds: float, tell: Callable[[Sample], None] = lambda _: None) -> Report:
    """Start the gateway and its backends, put them under load, and sample the gateway periodically."""
    with stage(folder, peers={}, log=Path(os.devnull)) as running:
        gateway = running.proxy(OURS)
        return uvloop.run(_soak(gateway, seconds, tell))


async def _soak(gateway: Program, seconds: float, tell: Callable[[Sample], None]) -> Report:
    before = gateway.descriptors()
    load = mix.Load(gateway.port)
    await load.fill(VERIFIED_TOKENS_MAX + mix.STEADY)
    await load.run(SETTLE_SECONDS)
    report = Report(answered=load.answered, wrong=load.faults)
    interval = min(SAMPLE_SECONDS_MAX, seconds / SAMPLES_MIN / 2)  # a sample takes time on a busy machine
    running = asyncio.create_task(load.run(seconds))
    begun = time.monotonic()
    while not running.done():
        await asyncio.wait([running], timeout=interval)
        if not running.done():
            sample = await asyncio.to_thread(_look, gateway, time.monotonic() - begun, load.answered)
            report.samples.append(sample)
            tell(sample)
    await running
    # Only backend connections may outlive the clients for a while.
    allowed = before + mix.STEADY + mix.RUDE
    report.left_open = await _left_open(gateway, allowed)
    return report


async def _left_open(gateway: Program, allowed: int) -> int:
    deadline = time.monotonic() + QUIET_SECONDS
    while (more := gateway.descriptors() - allowed) > 0 and time.monotonic() < deadline:  # noqa: ASYNC110 - another process changes it
        await asyncio.sleep(0.1)
    return max(0, more)


def _look(gateway: Program, seconds: float, answered: Counter[str]) -> Sample:
    with urllib.request.urlopen(f"{gateway.url}/metrics", timeout=30) as response:
        lines = response.read().decode().splitlines()
    series = sum(1 for line in lines if line and not line.startswith("#"))
    return Sample(seconds, answered.total(), gateway.resident_mib(), gateway.descriptors(), series)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    seconds = parser.parse_args().minutes * 60
    if len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {int(LOAD_CORE)})
    print(f"{'s':>8}{'answered':>12}{'MiB':>8}{'descriptors':>13}{'series':>8}")
    with tempfile.TemporaryDirectory() as folder:
        report = run(Path(folder), seconds, _tell)
    total = report.samples[-1].answered - report.samples[0].answered
    elapsed = report.samples[-1].seconds - report.samples[0].seconds
    print(f"\n{total / elapsed:,.0f} responses per second:")
    print("  " + ", ".join(f"{kind} {count:,}" for kind, count in report.answered.most_common()))
    for name, of, _ in MEASURED:
        print(
            f"{name:<14}{report.growth(of):>+9.1f} first to last third{report.per_hour(of):>+10.1f} per hour"
        )
    faults = report.faults
    print("\n".join(faults) if faults else "no growth, and all responses were as expected")
    sys.exit(1 if faults else 0)


def _tell(sample: Sample) -> None:
    print(
        f"{sample.seconds:>8.0f}{sample.answered:>12,}{sample.resident_mib:>8.1f}"
        f"{sample.descriptors:>13}{sample.series:>8}",
        flush=True,
    )


if __name__ == "__main__":
    main()
