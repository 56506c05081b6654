"""The lines of docs/backup.md as they stand, and the backups that a suite takes by itself."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests import support
from tests.suite.conftest import ROOT, Suite, running_suite

pytestmark = [pytest.mark.prove, pytest.mark.long(1)]

PAGE = (ROOT / "docs" / "backup.md").read_text()
SHOWN = re.compile(r"gatehouse-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ\.tar")
SECONDS = 180


def lines() -> list[str]:
    """Return the lines at the head of the page: back up, verify, restore."""
    block = PAGE.partition("\n\n")[2].partition("\n\n")[0]
    return [line.strip() for line in block.splitlines()]


def run(line: str, suite: Suite, folder: Path, backup: str = "") -> str:
    """Run a line of the page in a folder, with the command and the environment of the suite."""
    command = folder / "bin" / "gatehouse"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gatehouse "$@"\n')
    command.chmod(0o755)
    path = f"{command.parent}:{os.environ['PATH']}"
    environment = {**suite.environment, "PATH": path, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["/bin/sh", "-c", SHOWN.sub(backup, line)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, (line, done.stdout, done.stderr)
    return done.stdout


def test_the_lines_of_the_page_back_up_verify_and_restore(tmp_path: Path) -> None:
    take, verify, restore = lines()
    data = tmp_path / "data"
    with running_suite(data) as suite:
        assert "wrote backups/gatehouse-" in run(take, suite, tmp_path)
        (backup,) = (tmp_path / "backups").glob("*.tar")
        assert "it can be restored" in run(verify, suite, tmp_path, backup.name)
    before = (data / "orders.db").stat().st_size
    shutil.rmtree(data)
    data.mkdir()
    shutil.copy(ROOT / "routes.yaml", data / "routes.yaml")
    assert "restored the backup of" in run(restore, suite, tmp_path, backup.name)
    assert (data / "orders.db").stat().st_size > before / 2


def test_a_suite_with_a_schedule_backs_itself_up(tmp_path: Path) -> None:
    assert "BACKUP_SCHEDULE='0 3 * * *' BACKUP_PASSPHRASE='a long passphrase' gatehouse up" in PAGE
    settings = {
        "BACKUP_SCHEDULE": "* * * * *",
        "BACKUP_PASSPHRASE": "a long passphrase",
        "BACKUP_DIR": str(tmp_path / "backups"),
    }
    with running_suite(tmp_path / "data", settings) as suite:

        def told() -> list[str]:
            return [line for line in suite.lines if '"event":"backup_' in line]

        assert support.eventually(lambda: bool(told()), seconds=SECONDS), suite.lines[-5:]
        assert '"event":"backup_taken"' in told()[0]
        assert "a long passphrase" not in "".join(suite.lines)

        def taken() -> float:
            text = httpx.get(f"{suite.url}/metrics").text
            found = re.search(r"^backup_last_success_timestamp_seconds\{.*\} (\S+)$", text, re.MULTILINE)
            return float(found[1]) if found else 0.0

        for _ in range(SECONDS):  # the gateway looks every few seconds
            if taken() > time.time() - SECONDS:
                break
            time.sleep(1)
        assert taken() > time.time() - SECONDS
    assert [*(tmp_path / "backups").glob("gatehouse-*.tar")]
