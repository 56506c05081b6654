"""`gatehouse load` as documented, on a running suite: what it reports is what the suite did."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from shared.testing import bearer
from tests.suite.conftest import ROOT, Suite

pytestmark = pytest.mark.prove

PASSWORD = "correct horse battery staple"


async def test_documented_load_runs_and_every_acknowledged_order_is_there(
    suite: Suite, tmp_path: Path
) -> None:
    (line,) = re.findall(r"^    gatehouse (load .*)$", (ROOT / "docs" / "load.md").read_text(), re.MULTILINE)
    words = line.replace("http://localhost:8000", suite.url).replace("30s", "3s").replace("20 ", "3 ").split()
    journal = tmp_path / "journal"
    # This machine runs other tests as well, so only errors count.
    words = [word for word in words if not word.startswith("p99=")]
    words.remove("--budget")
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "gatehouse", *words, "--json", "--journal", str(journal)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    told = json.loads(done.stdout)
    people = [json.loads(person) for person in journal.read_text().splitlines()]
    assert told["total"]["requests"] > 30
    assert sum(len(person["orders"]) for person in people) == told["steps"]["order"]["requests"] > 0
    async with suite.client() as client:
        for person in people:
            credentials = {"email": person["email"], "password": PASSWORD}
            signed_in = await client.post("/auth/login", json=credentials)
            headers = bearer(signed_in.json()["token"])
            for order in person["orders"]:
                assert (await client.get(f"/orders/{order}", headers=headers)).status_code == 200
