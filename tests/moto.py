"""moto's server: AWS as somebody else understands it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests import support

START_SECONDS = 60


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Run the server; it writes its log into the folder."""
    port = support.free_port()
    address = f"http://127.0.0.1:{port}"
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=log,
            stderr=log,
        )
    try:
        assert support.eventually(lambda: _answers(address), seconds=START_SECONDS)
        yield address
    finally:
        server.kill()
        server.wait()


def _answers(address: str) -> bool:
    try:
        return httpx.get(address).status_code < 500
    except httpx.TransportError:
        return False
