"""A shell through the gateway, opened the way the page opens one."""

import asyncio
from typing import Any
from urllib.parse import urlsplit

import pytest
import websockets
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request as WebSocketRequest
from websockets.http11 import Response as WebSocketResponse
from websockets.typing import Subprotocol

from tests import support
from tests.suite.accounts import register
from tests.suite.conftest import Suite
from tests.terminal.support import Screen
from tests.terminal.test_figures import ECHO_MORE_MS_MAX, more_than_plain


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
    async with suite.client() as client:
        person = await register(client)
        opened = await client.post("/terminal/sessions", json={}, headers=person.headers)
        token = person.headers["Authorization"].removeprefix("Bearer ")
        path = (suite.ports["gateway"], opened.json()["id"], token)
        more = await asyncio.to_thread(more_than_plain, *path)

    assert more <= ECHO_MORE_MS_MAX / 1000


async def test_port_of_a_box_opens_at_its_own_host_name_through_the_gateway(suite: Suite) -> None:
    async def echo(socket: ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)

    def show(connection: ServerConnection, request: WebSocketRequest) -> WebSocketResponse | None:
        if "Upgrade" in request.headers:
            return None
        headers = "\n".join(f"{name}: {value}" for name, value in request.headers.raw_items())
        return connection.respond(200, headers)

    async with (
        suite.client() as client,
        websockets.serve(echo, "127.0.0.1", 0, process_request=show) as program,
    ):
        person = await register(client)
        assert (await client.post("/terminal/start", headers=person.headers)).status_code == 200
        body = {"port": next(iter(program.sockets)).getsockname()[1]}
        made = await client.post("/terminal/ports", json=body, headers=person.headers)
        assert made.status_code == 201, made.text
        host = urlsplit(made.json()["url"]).netloc
        assert host.endswith(f".ports.localhost:{suite.ports['gateway']}")
        assert (await client.get("/", headers={"Host": host, **person.headers})).status_code == 401
        visits = f"/terminal/ports/{made.json()['id']}/visits"
        url = (await client.post(visits, headers=person.headers)).json()["url"]
        entered = await client.get(url.partition(host)[2], headers={"Host": host})
        assert entered.status_code == 303, entered.text
        cookie = entered.headers["set-cookie"].partition(";")[0]
        shown = await client.get(
            "/", headers={"Host": host, "Cookie": cookie, "Authorization": "token theirs"}
        )
        assert shown.status_code == 200, shown.text
        assert "Authorization: token theirs" in shown.text or "authorization: token theirs" in shown.text
        assert cookie not in shown.text
        assert "forwarded-for" not in shown.text.lower()
        options: dict[str, Any] = {"origin": f"http://{host}", "additional_headers": {"Cookie": cookie}}
        address: dict[str, Any] = {"host": "127.0.0.1", "port": suite.ports["gateway"], "proxy": None}
        async with websockets.connect(f"ws://{host}/", **options, **address) as socket:
            await socket.send("日本")
            assert await socket.recv() == "日本"
            await client.post("/auth/logout", headers=person.headers)
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(socket.recv(), 30)
        assert (await client.get("/", headers={"Host": host, "Cookie": cookie})).status_code == 401
    assert url.partition("ticket=")[2] not in "\n".join(suite.lines)


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
