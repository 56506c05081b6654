"""What a process reports to the launcher, and what it does not log while the suite is starting."""

import socket
import subprocess

from shared.process.supervision import HAND_OVER, HANDED_OVER, PHASE_MARK, STARTING, SUITE_IS_UP, SUPERVISED
from shared.testing import TEST_INTERNAL_SECRET
from tests.shared.processes import SECONDS_MAX, started
from tests.support import free_port

# It polls an auth and a peer that do not exist, again and again.
LONELY = """
import asyncio
from shared.identity import revocations
from shared.peers.client import HttpClient
from shared.errors import Unavailable
from shared.process.observe import configure_logging
from shared.process.settings import ServiceSettings
from shared.process.supervision import follow_parent, report_phase, suite_is_starting

class Settings(ServiceSettings):
    service = "lonely"

revocations.FIRST_LOAD_SECONDS = 0.0

async def main():
    settings, client = Settings.load(), HttpClient()
    configure_logging(settings)
    follow_parent()
    report_phase("asking")
    async with revocations.Follower(revocations.Revocations(), client, settings):
        while True:
            try:
                await client.get_json(settings.auth_url)
            except Unavailable:
                print("asked", suite_is_starting(), flush=True)
            await asyncio.sleep(0.1)

asyncio.run(main())
"""

# Ends where it would migrate.
PREPARING = """
import threading
from shared.process.server import serve
from shared.process.settings import ServiceSettings

class Settings(ServiceSettings):
    service = "preparing"

def prepare():
    print("threads:", threading.active_count(), flush=True)
    raise SystemExit

serve(None, Settings.load(), prepare=prepare)
"""


def environment(supervised: str) -> dict[str, str]:
    own = {"INTERNAL_SECRET": TEST_INTERNAL_SECRET, "LOG_FORMAT": "json"}
    return {**own, "AUTH_URL": f"http://127.0.0.1:{free_port()}", SUPERVISED: supervised}


def test_unreachable_peers_are_logged_only_once_the_suite_has_started() -> None:
    with started("-c", LONELY, environment=environment(STARTING), stdin=subprocess.PIPE) as lonely:
        for _ in range(3):
            lonely.line_with("asked True", after=len(lonely.lines))
        assert lonely.lines[0] == f"{PHASE_MARK}asking"
        assert "peer_unreachable" not in lonely.output
        assert "revocations_stale" not in lonely.output

        assert lonely.process.stdin is not None
        lonely.process.stdin.write(SUITE_IS_UP.decode())
        lonely.process.stdin.flush()
        lonely.line_with("peer_unreachable")
        lonely.line_with("revocations_stale")


def test_process_restarted_alone_logs_unreachable_peers_and_reports_no_phase() -> None:
    with started("-c", LONELY, environment=environment("1"), stdin=subprocess.PIPE) as lonely:
        lonely.line_with("peer_unreachable")
        lonely.line_with("revocations_stale")
        assert PHASE_MARK not in lonely.output


def test_supervised_process_has_one_thread_while_it_migrates_so_that_it_can_fork() -> None:
    own = environment(STARTING) | {"PORT": str(free_port())}
    with started("-c", PREPARING, environment=own, stdin=subprocess.PIPE) as preparing:
        preparing.line_with("threads: 1")


def test_process_without_a_socket_says_so_at_once() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, started("-c", LONELY, environment=environment("1"), stdin=theirs.fileno()):
        ours.settimeout(SECONDS_MAX)
        ours.sendall(HAND_OVER)
        answer, files, _, _ = socket.recv_fds(ours, 100, 1)
    assert (answer, files) == (HANDED_OVER, [])
