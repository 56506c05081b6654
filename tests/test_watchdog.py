"""Whatever a test run starts ends with it, even if the run is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import eventually

ROOT = Path(__file__).parent.parent
SECONDS = 30
# A test run: it starts a process that ends, and one in a session of its own that has a child.
RUN = """
import subprocess, sys
from tests import watchdog
watchdog.guard()
subprocess.run(["true"], check=True)
child = "import subprocess; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); p.wait()"
options = {"stdout": subprocess.PIPE, "text": True, "start_new_session": True}
started = subprocess.Popen([sys.executable, "-c", child], **options)
print(started.pid, started.stdout.readline(), flush=True)
sys.stdin.readline()
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only on Linux does a run have a watchdog")


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_processes_end_with_a_killed_test_run(how: signal.Signals) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", RUN], cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as run:
        assert run.stdout is not None
        pids = [int(word) for word in run.stdout.readline().split()]
        assert all(map(is_running, pids))
        os.kill(pids[0], signal.SIGSTOP)
        run.send_signal(how)

    assert eventually(lambda: not any(map(is_running, pids)), seconds=SECONDS)
