"""`gatehouse doctor` beside a running suite."""

import json
import subprocess
import sys

import pytest

from gatehouse import programs
from tests.suite.conftest import ROOT, Suite

pytestmark = pytest.mark.prove


def test_doctor_finds_a_running_suite_healthy(each_suite: Suite) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gatehouse", "doctor", "--json"],
        cwd=ROOT,
        env=each_suite.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = {one["check"]: one for one in json.loads(done.stdout)}
    assert [one for one in found.values() if one["state"] == "fault"] == [], done.stderr
    assert done.returncode == 0
    for name in programs.find(ROOT):
        assert found[f"{name} port"]["says"].endswith("and is ready")
    assert "has signed tokens for 0 days" in found["signing key"]["says"]
