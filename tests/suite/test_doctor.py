"""`gatehouse doctor` and `gatehouse logs` beside a running suite, as docs/operations.md shows them."""

import json
import re
import shlex
import subprocess
import sys

import pytest

from gatehouse import programs
from tests import support
from tests.suite.accounts import register
from tests.suite.conftest import ROOT, Suite

pytestmark = pytest.mark.prove

PAGE = (ROOT / "docs" / "operations.md").read_text()
SECONDS = 120


def shown(command: str) -> list[str]:
    """Return the lines of the page that run this command, without their comments."""
    return re.findall(rf"^    (?:.*\| )?(gatehouse {command}\b[^#\n]*?) *(?:#.*)?$", PAGE, re.MULTILINE)


def run(suite: Suite, line: str, told: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *shlex.split(line)],
        cwd=ROOT,
        env=suite.environment,
        input=told,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_doctor_finds_a_running_suite_healthy(each_suite: Suite) -> None:
    plain, as_json = shown("doctor")
    done = run(each_suite, as_json)
    found = {one["check"]: one for one in json.loads(done.stdout)}
    assert [one for one in found.values() if one["state"] == "fault"] == [], done.stderr
    assert done.returncode == 0
    for name in programs.find(ROOT):
        assert found[f"{name} port"]["says"].endswith("and is ready")
    assert "has signed tokens for 0 days" in found["signing key"]["says"]
    assert "0 to be corrected" in run(each_suite, plain).stdout


async def test_logs_show_what_gateway_and_service_logged_about_a_request(suite: Suite) -> None:
    async with suite.client() as client:
        person = await register(client)
        answered = await client.get("/orders", headers=person.headers)
    request_id = answered.headers["x-request-id"]
    assert support.eventually(
        lambda: {"gateway", "orders"} <= {_service(line) for line in [*suite.lines] if request_id in line},
        seconds=SECONDS,
    )
    line = re.sub(r"\b[0-9a-f]{8}-[0-9a-f-]+", request_id, shown("logs")[1])
    done = run(suite, line, "\n".join(suite.lines))
    assert done.returncode == 0, done.stderr
    assert {"gateway", "orders"} <= {line.split()[1] for line in done.stdout.splitlines()}


def _service(line: str) -> str:
    return str(json.loads(line)["service"])
