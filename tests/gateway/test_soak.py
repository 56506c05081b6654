"""A short soak test, which detects whatever grows with the number of requests."""

from pathlib import Path

import pytest

from tests.bench.gateway import mix, soak
from tests.support import length, need

pytestmark = pytest.mark.prove

SECONDS = round(length(20))


def test_nothing_grows_under_full_load(tmp_path: Path) -> None:
    need("nginx")

    report = soak.run(tmp_path, SECONDS)

    assert report.faults == []
    assert len(report.samples) >= soak.SAMPLES_MIN
    assert all(report.answered[kind.name] for kind in mix.KINDS)
    assert all(report.answered[way.__name__] for way in mix.WAYS)
