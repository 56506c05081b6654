"""Ids sort by the time they were made, also when many are made at once."""

import threading
import time
from uuid import UUID

import pytest
from pydantic import TypeAdapter

from shared import ids
from shared.ids import new_id
from shared.schemas import Id


def test_it_is_a_uuid_of_version_7_with_the_time_in_it() -> None:
    before = time.time_ns() // 1_000_000
    made = UUID(new_id())
    after = time.time_ns() // 1_000_000

    assert made.version == 7
    assert made.variant == "specified in RFC 4122"
    assert before <= made.int >> 80 <= after
    assert TypeAdapter(Id).validate_python(str(made)) == str(made)


def test_they_are_in_order_within_a_thread_and_unique_across_threads() -> None:
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


def test_they_stay_in_order_when_the_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1_700_000_000_000_000_000, 1_600_000_000_000_000_000, 1_700_000_000_000_000_000])
    monkeypatch.setattr(time, "time_ns", lambda: next(times))
    monkeypatch.setattr(ids, "_last", 0)
    made = [new_id() for _ in range(3)]

    assert made == sorted(set(made))
