"""Ids sort by creation time, even if many are made at once."""

import subprocess
import sys
import threading
import time
from uuid import UUID

import pytest
from pydantic import TypeAdapter

from shared import ids
from shared.http.schemas import Id
from shared.ids import new_id


def test_id_is_a_uuid_of_version_7_that_contains_the_time() -> None:
    before = time.time_ns() // 1_000_000
    made = UUID(new_id())
    after = time.time_ns() // 1_000_000

    assert made.version == 7
    assert made.variant == "specified in RFC 4122"
    assert before <= made.int >> 80 <= after
    assert TypeAdapter(Id).validate_python(str(made)) == str(made)


def test_ids_are_in_order_within_a_thread_and_unique_across_threads() -> None:
    made: list[list[str]] = [[] for _ in range(8)]

    def make(into: list[str]) -> None:
        into.extend(new_id() for _ in range(5_000))

    threads = [threading.Thread(target=make, args=(into,)) for into in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all(one == sorted(one) for one in made)
    assert len({number for one in made for number in one}) == 40_000


def test_ids_stay_in_order_when_the_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1_700_000_000_000_000_000, 1_600_000_000_000_000_000, 1_700_000_000_000_000_000])
    monkeypatch.setattr(time, "time_ns", lambda: next(times))
    monkeypatch.setattr(ids, "_last", 0)
    made = [new_id() for _ in range(3)]

    assert made == sorted(set(made))


def test_random_part_differs_every_time() -> None:
    ends = {UUID(new_id()).int & (1 << 62) - 1 for _ in range(10_000)}

    assert len(ends) == 10_000
    assert {end >> 58 for end in ends} == set(range(16))
    assert {end & 15 for end in ends} == set(range(16))


def test_forked_child_makes_different_ids() -> None:
    script = (
        "import os\nfrom shared.ids import new_id\nnew_id()\nchild = os.fork()\n"
        "os.write(1, f'{new_id()} '.encode())\nos.waitpid(child, 0) if child else None"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    one, other = (UUID(line).int & (1 << 62) - 1 for line in done.stdout.split())

    assert one != other
