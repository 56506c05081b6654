"""slowhttptest itself against a gateway process, in each of its modes with 200 connections."""

import asyncio
import re
import time
from contextlib import suppress
from pathlib import Path
from statistics import median

import pytest

from tests.gateway.backends import Conversation
from tests.gateway.conftest import StartBackend
from tests.gateway.test_drain import connect, gateway_process
from tests.support import need

pytestmark = pytest.mark.prove

CONNECTIONS = 200
SERVED_SECONDS_MAX = 5.0  # on a core that also sends half a gigabyte to slow readers
SECONDS_MAX = 20
LIMITS = {
    "HEAD_SECONDS": "2",
    "BODY_GRACE_SECONDS": "2",
    "WRITE_IDLE_SECONDS": "2",
    "BYTES_PER_SECOND_MIN": "500",
}
MODES = {
    "slow headers": (["-H", "-i", "1", "-x", "24"], "request_timeout"),
    "slow body": (["-B", "-i", "1", "-s", "8192", "-x", "10"], "body_too_slow"),
    "slow read": (["-X", "-w", "512", "-y", "1024", "-n", "1", "-z", "32", "-k", "1"], "client_stalled"),
}


@pytest.mark.parametrize("mode", MODES)
async def test_every_slow_connection_is_closed_and_others_are_served(
    start_backend: StartBackend, tmp_path: Path, mode: str
) -> None:
    (program,) = need("slowhttptest")
    options, code = MODES[mode]
    large = b"x" * (4 << 20)

    async def answers(conversation: Conversation) -> None:
        with suppress(ConnectionError):
            while received := await conversation.request():
                await conversation.answer(large if received.target == "/open/large" else b"usual")

    times = list[float]()
    async with gateway_process(await start_backend(answers), tmp_path, **LIMITS) as (_, port):
        url = f"http://127.0.0.1:{port}/open/large"
        load = ["-c", str(CONNECTIONS), "-r", "50", "-l", str(SECONDS_MAX), "-p", "3", "-u", url]
        attack = await asyncio.create_subprocess_exec(
            program, *options, *load, stdout=asyncio.subprocess.DEVNULL, cwd=tmp_path
        )
        try:
            async with asyncio.timeout(SECONDS_MAX):
                while await _refused(port, code) < CONNECTIONS:
                    started = time.monotonic()
                    usual = await connect(port)
                    assert (await usual.request("POST", "/open", body=b"usual")).body == b"usual"
                    await usual.close()
                    times.append(time.monotonic() - started)
        finally:
            if attack.returncode is None:
                attack.kill()
            await attack.wait()
    assert max(times) < SERVED_SECONDS_MAX
    assert median(times) < SERVED_SECONDS_MAX / 10


async def _refused(port: int, code: str) -> int:
    wire = await connect(port)
    metrics = (await wire.request("GET", "/metrics")).body.decode()
    await wire.close()
    counts = re.findall(rf'^gateway_refusals_total{{code="{code}".*}} (\d+)', metrics, re.MULTILINE)
    return sum(map(int, counts))
