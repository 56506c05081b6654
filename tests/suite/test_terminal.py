"""A shell through the gateway, opened the way the page opens one."""

import asyncio
import statistics
from typing import Any

import pytest
import websockets
from websockets.typing import Subprotocol

from tests import support
from tests.suite.accounts import register
from tests.suite.conftest import Suite
from tests.terminal.support import Screen
from tests.terminal.test_figures import ECHO_MORE_MS_MAX, echo_of_a_plain_terminal, echo_over, words


async def test_shell_opens_through_the_gateway_and_closes_when_the_session_ends(suite: Suite) -> None:
    async with suite.client() as client:
        assert (await client.get("/terminal/")).headers["content-type"].startswith("text/html")
        assert (await client.get("/terminal")).status_code == 401
        person = await register(client)
        opened = await client.post("/terminal/sessions", json={}, headers=person.headers)
        assert opened.status_code == 201, opened.text
        session = opened.json()["id"]
        asked = await client.post("/terminal/tickets", json={"session": session}, headers=person.headers)
        ticket = asked.json()["ticket"]
        address = suite.url.replace("http", "ws", 1) + f"/terminal/ws?session={session}&ticket={ticket}"
        options: dict[str, Any] = {
            "subprotocols": [Subprotocol("term.v1")],
            "origin": suite.url,
            "proxy": None,
        }
        async with websockets.connect(address, **options) as socket:
            screen = Screen()
            await screen.begin(socket)
            await screen.type("echo through-the-''gateway\n")
            await screen.until(b"through-the-gateway")
            await client.post("/auth/logout", headers=person.headers)
            assert await screen.until_closed() == 4401
        ended = '"path":"/terminal/ws","status":101'
        assert support.eventually(lambda: any(ended in line for line in suite.lines), seconds=5)
        lines = "\n".join(suite.lines)
        assert ticket not in lines
        assert "through-the-gateway" not in lines


@pytest.mark.prove
async def test_echo_through_gateway_and_service_takes_at_most_a_millisecond_more_than_on_a_plain_terminal(
    suite: Suite,
) -> None:
    plain = await asyncio.to_thread(echo_of_a_plain_terminal)
    async with suite.client() as client:
        person = await register(client)
        opened = await client.post("/terminal/sessions", json={}, headers=person.headers)
        token = person.headers["Authorization"].removeprefix("Bearer ")
        through = await asyncio.to_thread(echo_over, suite.url, opened.json()["id"], token)
    print(f"plain: {words(plain)}; gateway and service: {words(through)}")

    assert statistics.median(through) - statistics.median(plain) <= ECHO_MORE_MS_MAX / 1000


async def test_file_of_a_workspace_is_written_and_downloaded_through_the_gateway(suite: Suite) -> None:
    path = {"path": "ordner/50 % ü?#;.txt"}
    async with suite.client() as client:
        person = await register(client)
        written = await client.put(
            "/terminal/files/content",
            params=path,
            content=bytes(11 << 20),  # more than other routes accept
            headers={**person.headers, "If-None-Match": "*"},
        )
        assert written.status_code == 201, written.text
        part = await client.get(
            "/terminal/files/content", params=path, headers={**person.headers, "Range": "bytes=5-9"}
        )
        assert (part.status_code, part.content) == (206, bytes(5))
        archive = await client.get("/terminal/files/archive", headers=person.headers)
        assert archive.content.startswith(b"PK")
        assert (await client.get("/terminal/files/content", params=path)).status_code == 401
