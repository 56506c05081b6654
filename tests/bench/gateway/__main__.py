"""`make bench-gateway`: the gateway compared with common proxies, in one run.

The proxy under test has one core; the load and the backend have the other. Our gateway verifies a token,
applies rate limits, updates metrics and writes its access log; the peers only forward. Compare the ratios,
not the absolute numbers.
"""

import os
import platform
import resource
import shutil
import sys
import tempfile
from pathlib import Path

from tests.bench.gateway import bodies, sockets, speed
from tests.bench.gateway.proxies import stage
from tests.bench.processes import LOAD_CORE

ROUNDS = 5
SECONDS = 2
BODY_ROUNDS = 3


def main() -> None:
    wrk, nginx = shutil.which("wrk"), shutil.which("nginx")
    if wrk is None or nginx is None:
        sys.exit(
            "make bench-gateway needs wrk for load and nginx as backend: apt-get install wrk nginx-light"
        )
    _allow_descriptors()
    with tempfile.TemporaryDirectory() as name, stage(Path(name)) as running:
        _become_load()
        print(f"\nGateway: {speed.CONNECTIONS} connections, median of {ROUNDS} rounds of {SECONDS} s")
        print(f"Python {platform.python_version()} of {sys.base_prefix}")
        figures = speed.measure(running, wrk, ROUNDS, SECONDS)
        speed.show(figures, running.missing)
        passed = bodies.measure(running, BODY_ROUNDS)
        bodies.show(passed)
        relayed = sockets.measure(running)
        sockets.show(relayed)
    print()
    for goal in (*speed.goals(figures), *bodies.goals(passed), *sockets.goals(relayed)):
        verdict = "yes" if goal.reached else "NOT REACHED"
        print(f"{goal.name:<32}{goal.figure:>10,.2f}   wanted {goal.wanted:<20}{verdict}")


def _allow_descriptors() -> None:
    """Raise the limit of open files, which child processes inherit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _become_load() -> None:
    """Leave the proxies' core, because from here on this process generates the load."""
    if len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {int(LOAD_CORE)})


if __name__ == "__main__":
    main()
