"""A shell through the gateway, opened like the page does."""

from typing import Any

import websockets
from websockets.typing import Subprotocol

from tests import support
from tests.suite.accounts import register
from tests.suite.conftest import Suite
from tests.terminal.support import Screen


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
