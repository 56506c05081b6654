"""Boxes beside docker-compose.yml, with the broker in a container: a shell through nginx and the gateway."""

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from websockets.typing import Subprotocol

from tests import support
from tests.suite.accounts import Person, register
from tests.suite.test_containers import BUILD_SECONDS, Composed
from tests.terminal.support import Screen

pytestmark = [pytest.mark.prove, pytest.mark.long(1, group="images")]

SOCKET, USER = Path("/var/run/docker.sock"), 10001
IMAGE = "python:3.11-slim-bookworm"
PARTS = ("postgres", "redis", "auth", "terminal", "terminal-broker", "gateway", "nginx")  # what a shell needs
START_SECONDS, SECONDS = 180, 60


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    support.need("docker")
    if os.getuid() != 0 or not SOCKET.exists():
        support.do_without(
            "needs root and an engine, to make the directory that the boxes share with the service"
        )
    data = Path(tempfile.mkdtemp(prefix="gatehouse-boxes-", dir="/var/lib"))
    os.chown(data, USER, USER)
    composed = Composed(
        tmp_path_factory.mktemp("boxes"),
        *("docker-compose.yml", "deploy/compose.boxes.yml"),
        BOXES_DATA=str(data),
        BOX_IMAGE=IMAGE,
        DOCKER_GID=str(SOCKET.stat().st_gid),
    )
    try:
        composed.run("build", *(one for one in PARTS if one in BUILT), seconds=BUILD_SECONDS)
        composed.run("up", "--detach", "--no-deps", "--scale", "gateway=1", *PARTS, seconds=START_SECONDS)
        ready = support.eventually(lambda: answers(composed.url), seconds=START_SECONDS)
        assert ready, composed.run("logs", "--tail=50")
        yield composed
    finally:
        composed.run("down", "--volumes", "--timeout", "10")
        instance = data / "terminal" / "instance"
        if instance.exists():
            for container in boxes_of(composed.docker, instance.read_text()):
                subprocess.run([composed.docker, "rm", "--force", container], check=True, capture_output=True)
        shutil.rmtree(data)


BUILT = ("auth", "terminal", "gateway")


def answers(url: str) -> bool:
    """Whether requests reach auth and terminal."""
    with suppress(httpx.TransportError):
        paths = ("/.well-known/jwks.json", "/terminal/")
        return all(httpx.get(url + path).status_code == 200 for path in paths)
    return False


def boxes_of(docker: str, instance: str) -> list[str]:
    command = [docker, "ps", "-aq", "--filter", f"label=gatehouse.instance={instance}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


async def typed(client: httpx.AsyncClient, person: Person, tab: str, command: str) -> str:
    """Open a shell, type a command and return its output."""
    async with asyncio.timeout(SECONDS):
        opened = await client.post("/terminal/sessions", json={"tab": tab}, headers=person.headers)
        assert opened.status_code == 201, opened.text
        session = opened.json()["id"]
        asked = await client.post("/terminal/tickets", json={"session": session}, headers=person.headers)
        address = str(client.base_url).replace("http", "ws", 1) + "/terminal/ws"
        query = f"session={session}&ticket={asked.json()['ticket']}"
        options: dict[str, Any] = {"subprotocols": [Subprotocol("term.v1")], "proxy": None}
        async with websockets.connect(f"{address}?{query}", **options) as socket:
            screen = Screen()
            await screen.begin(socket)
            await screen.type(f"{command}; echo do''ne\n")
            await screen.until(b"done")
            return screen.output.decode()


async def test_shell_runs_in_a_box_that_only_the_broker_can_start(boxes: Composed) -> None:
    async with boxes.client() as client:
        person = await register(client)
        seen = await typed(client, person, "1", "id -u; grep CapBnd /proc/self/status; echo shell > made")
        assert f"\r{USER}\r\n" in seen
        assert "CapBnd:\t0000000000000000" in seen
        shown = (await client.get("/terminal", headers=person.headers)).json()
        assert (shown["state"], shown["isolation"]) == ("running", "container")

        path, headers = {"path": "made"}, {**person.headers, "If-Match": "*"}
        read = await client.get("/terminal/files/content", params=path, headers=person.headers)
        assert read.content == b"shell\n"
        put = await client.put("/terminal/files/content", params=path, content=b"API\n", headers=headers)
        assert put.status_code == 201, put.text

        boxes.run("restart", "--timeout", "5", "terminal-broker")
        assert "\rAPI\r\n" in await typed(client, person, "2", "cat made")
        sockets = {
            part: str(SOCKET) in mounts(boxes, part) for part in ("terminal", "terminal-broker", "gateway")
        }
        assert sockets == {"terminal": False, "terminal-broker": True, "gateway": False}


def mounts(boxes: Composed, part: str) -> list[str]:
    container = boxes.run("ps", "--quiet", part).strip()
    shown = subprocess.run([boxes.docker, "inspect", container], capture_output=True, text=True, check=True)
    return [one["Source"] for one in json.loads(shown.stdout)[0]["Mounts"]]
