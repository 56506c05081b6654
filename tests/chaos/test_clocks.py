"""The clocks of `make chaos` jump while a program runs: else its faults would be none."""

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from tests import support
from tests.chaos.clocks import Clock, installed, settings

PROGRAM = """
import sys, time
for _ in sys.stdin:
    print(time.time(), time.monotonic(), flush=True)
"""


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    library = installed()
    if library is None:
        support.do_without("not installed: libfaketime")
    return Clock(tmp_path / "clock", library)


def test_clock_of_running_process_jumps_and_its_timeouts_stay_true(clock: Clock) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | clock.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def shifted_by() -> tuple[float, float]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            read = [float(word) for word in process.stdout.readline().split()]
            return read[0] - time.time(), read[1] - time.monotonic()

        def is_shifted(seconds: int) -> bool:
            return abs(shifted_by()[0] - seconds) < 30

        for shift in (0, 300, -300, 0):
            clock.shift(shift)
            assert support.eventually(partial(is_shifted, shift), seconds=30)
            assert abs(shifted_by()[1]) < 30
        assert process.stdin is not None
        process.stdin.close()


def test_settings_give_a_clock_to_its_program_only(tmp_path: Path) -> None:
    given = settings({"orders": Clock(tmp_path / "clock", Path("/lib.so"))})

    assert given["ORDERS_LD_PRELOAD"] == "/lib.so"
    assert all(name.startswith("ORDERS_") for name in given)
