"""Ports of a box: who may open them, what is forwarded, and when connections end."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
import websockets
from sqlalchemy import update
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import Server, ServerConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from services.terminal.models import PORTS
from shared.clock import now
from shared.data.database import Database
from tests.support import eventually, free_port
from tests.terminal.port_visits import COOKIE, Browser, Program
from tests.terminal.support import Owner, Service

DATABASES = ("sqlite", "postgresql")
BIG = 3 << 20
ECHO = [Subprotocol("echo.v1")]
DOCUMENT = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.fixture(scope="module")
def program() -> Iterator[int]:
    """The port of a program. The process backend's boxes are on this machine, and so is the program."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Program)
    serving = threading.Thread(target=server.serve_forever, args=(0.05,))
    serving.start()
    yield server.server_port
    server.shutdown()
    serving.join()
    server.server_close()


@pytest.fixture
async def messages() -> AsyncIterator[int]:
    """The port of a program that returns every message, and closes with 4001 when asked to."""

    async def serve(socket: ServerConnection) -> None:
        async for message in socket:
            if message == "close":
                await socket.close(4001, "asked")
            await socket.send(message)

    server: Server
    async with websockets.serve(serve, "127.0.0.1", 0, subprotocols=ECHO) as server:
        yield next(iter(server.sockets)).getsockname()[1]


async def leased(owner: Owner, port: int | None, **more: Any) -> dict[str, Any]:
    response = await owner.client.post("/terminal/ports", json={"port": port, **more})
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


async def invited(owner: Owner, lease: dict[str, Any]) -> str:
    response = await owner.client.post(f"/terminal/ports/{lease['id']}/visits")
    assert response.status_code == 201, response.text
    url: str = response.json()["url"]
    return url


@pytest.fixture
async def started(owner: Owner) -> Owner:
    assert (await owner.client.post("/terminal/start")).status_code == 200
    return owner


async def entered(owner: Owner, service: Service, port: int, **more: Any) -> tuple[dict[str, Any], Browser]:
    lease = await leased(owner, port, **more)
    browser = Browser(service, lease["url"])
    assert (await browser.enter(await invited(owner, lease))).status_code == 303
    return lease, browser


async def closed_with(socket: ClientConnection) -> int:
    with pytest.raises(ConnectionClosed):
        await socket.recv()
    assert socket.close_code is not None
    return socket.close_code


async def test_request_reaches_the_program_and_its_response_the_browser(
    started: Owner, service: Service, program: int
) -> None:
    _, browser = await entered(started, service, program)
    async with browser:
        headers = {"Origin": f"http://{browser.host}", "Sec-Fetch-Site": "same-origin", "Cookie": ""}
        headers["Cookie"] = f"{COOKIE}={browser.cookie}; theirs=2"
        path = "/a%2Fb/%E6%97%A5?x=1&y=%20"
        response = await browser.ask("POST", path, content=bytes(BIG), headers=headers)

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(3):
                yield bytes(1000)

        streamed = await browser.ask("POST", "/", content=pieces(), headers=headers)
    seen = response.json()
    assert response.status_code == 201
    assert (seen["method"], seen["path"], seen["size"]) == ("POST", path, BIG)
    assert seen["headers"]["cookie"] == "theirs=2"
    assert seen["headers"]["host"] == f"localhost:{program}"
    assert seen["headers"]["origin"] == f"http://localhost:{program}"
    assert response.headers["set-cookie"] == "mine=1; Path=/"
    assert streamed.json()["size"] == 3000


async def test_unmodified_response_of_a_program_reaches_the_browser(
    started: Owner, service: Service, program: int
) -> None:
    _, browser = await entered(started, service, program)
    async with browser:
        response = await browser.ask("GET", "/unmodified")
    assert response.status_code == 304
    assert "content-length" not in response.headers


async def test_client_that_leaves_early_is_not_logged_as_an_error(
    started: Owner, service: Service, program: int
) -> None:
    _, browser = await entered(started, service, program)
    path = f"/endless-{browser.host}"
    async with browser, browser.client.stream("GET", path, headers=browser.headers) as response:
        assert await anext(response.aiter_raw()) == b"data: 1\n\n"

    assert await asyncio.to_thread(eventually, lambda: bool(lines_about(service, path)), seconds=30)
    assert [line["event"] for line in lines_about(service, path)] == ["request"]


def lines_about(service: Service, path: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in service.log.read_text().splitlines() if path in line]
    return [line for line in lines if line.get("path") == path]


async def test_private_port_is_closed_without_a_visit_of_its_owner(
    started: Owner, service: Service, program: int
) -> None:
    lease = await leased(started, program, name="shop")
    assert urlsplit(lease["url"]).hostname.startswith("shop-")
    async with Browser(service, lease["url"]) as browser, Owner(service.url) as stranger:
        page = await browser.ask("GET", "/", headers={"Accept": "text/html"})
        assert (page.status_code, page.headers["content-type"]) == (401, "text/html; charset=utf-8")
        assert (await browser.ask("GET", "/")).json()["code"] == "unauthenticated"
        assert (await browser.ask("GET", "/", headers=started.headers)).status_code == 401
        refused = await stranger.client.post(f"/terminal/ports/{lease['id']}/visits")
        assert refused.status_code == 404
        assert (await stranger.client.delete(f"/terminal/ports/{lease['id']}")).status_code == 404
        with pytest.raises(InvalidStatus) as caught:
            await browser.connect()
        assert caught.value.response.status_code == 401


async def test_ticket_of_a_port_works_once_and_at_its_own_host_name_only(
    started: Owner, service: Service, program: int
) -> None:
    lease, other = await leased(started, program), await leased(started, None)
    assert other["port"] == 3000
    url = await invited(started, lease)
    ticket = urlsplit(url).query
    async with Browser(service, lease["url"]) as browser, Browser(service, other["url"]) as foreign:
        assert (await foreign.client.get(f"/.gatehouse/enter?{ticket}")).status_code == 403
        assert (await browser.enter(url)).status_code == 403
        assert (await browser.enter(await invited(started, lease))).status_code == 303
        assert (await browser.ask("GET", "/")).status_code == 201
        foreign.cookie = browser.cookie
        assert (await foreign.ask("GET", "/")).status_code == 401
        assert (await browser.client.post(f"/.gatehouse/enter?{ticket}")).status_code == 405
    assert ticket.partition("=")[2] not in service.log.read_text()
    assert browser.cookie not in service.log.read_text()


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}, 401),
        ("GET", {"Sec-Fetch-Site": "cross-site", **DOCUMENT}, 201),
        ("GET", {"Sec-Fetch-Site": "same-site", **DOCUMENT, "Sec-Fetch-Dest": "iframe"}, 401),
        ("GET", {"Sec-Fetch-Site": "none", **DOCUMENT}, 201),
        ("POST", {"Sec-Fetch-Site": "same-site", **DOCUMENT}, 401),
        ("POST", {"Origin": "http://other.ports.localhost"}, 401),
        ("POST", {}, 401),
    ],
)
async def test_cookie_counts_only_for_the_pages_of_the_port_and_for_navigation(
    started: Owner, service: Service, program: int, method: str, headers: dict[str, str], status: int
) -> None:
    _, browser = await entered(started, service, program)
    async with browser:
        assert (await browser.ask(method, "/", headers=headers)).status_code == status
        with pytest.raises(InvalidStatus) as caught:
            await browser.connect(origin="http://other.ports.localhost")
        assert caught.value.response.status_code == 401


async def test_other_accounts_open_members_ports_and_everybody_public_ones(
    started: Owner, service: Service, program: int
) -> None:
    members = await leased(started, program, visibility="members")
    async with Owner(service.url) as guest, Browser(service, members["url"]) as browser:
        assert (await browser.ask("GET", "/")).status_code == 401
        assert (await browser.enter(await invited(guest, members))).status_code == 303
        assert (await browser.ask("GET", "/")).status_code == 201
        listed = (await started.client.get("/terminal/ports")).json()
        assert [(one["port"], one["listening"]) for one in listed] == [(program, True)]
        assert (await guest.client.get("/terminal/ports")).json() == []
        await started.client.delete(f"/terminal/ports/{members['id']}")
        assert (await browser.ask("GET", "/")).status_code == 404
    public = await leased(started, program, visibility="public")
    assert await invited(started, public) == public["url"]
    async with Browser(service, public["url"]) as browser:
        assert (await browser.ask("POST", "/")).status_code == 201


async def test_messages_pass_both_ways_with_subprotocol_and_close_code(
    started: Owner, service: Service, messages: int
) -> None:
    _, browser = await entered(started, service, messages)
    async with browser, browser.connect("/live?x=1", subprotocols=ECHO) as socket:
        assert socket.subprotocol == "echo.v1"
        for message in ("日本語", bytes(100_000)):
            await socket.send(message)
            assert await socket.recv() == message
        await socket.send("close")
        assert await closed_with(socket) == 4001
    with pytest.raises(InvalidStatus) as caught:  # without a subprotocol the program refuses
        await browser.connect()
    assert caught.value.response.status_code == 400


async def test_connections_end_when_the_lease_is_released_or_the_box_stops(
    started: Owner, service: Service, messages: int, program: int
) -> None:
    lease, browser = await entered(started, service, messages)
    async with browser, browser.connect(subprotocols=ECHO) as socket:
        await socket.send("x")
        assert await socket.recv() == "x"
        assert (await started.client.delete(f"/terminal/ports/{lease['id']}")).status_code == 204
        assert await closed_with(socket) == 1012
    _, browser = await entered(started, service, messages)
    http = await leased(started, program, visibility="public")
    async with (
        browser,
        browser.connect(subprotocols=ECHO) as socket,
        Browser(service, http["url"]) as visitor,
    ):
        await socket.send("x")
        assert await socket.recv() == "x"
        await started.client.post("/terminal/stop")
        assert await closed_with(socket) == 1012
        assert (await visitor.ask("GET", "/")).json()["code"] == "box_stopped"


async def test_port_without_a_program_or_without_http_is_named(
    started: Owner, service: Service, program: int
) -> None:
    nothing = await leased(started, free_port(), visibility="public")
    broken = await leased(started, program, visibility="public")
    async with Browser(service, nothing["url"]) as one, Browser(service, broken["url"]) as other:
        refused, wrong = await one.ask("GET", "/"), await other.ask("GET", "/broken")
        with pytest.raises(InvalidStatus) as caught:
            await other.connect("/")
    assert (refused.status_code, refused.json()["code"]) == (502, "nothing_listens")
    assert (wrong.status_code, wrong.json()["code"]) == (502, "bad_response")
    assert caught.value.response.status_code == 502


async def test_leases_are_limited_named_and_end_on_time(owner: Owner, service: Service) -> None:
    first = await leased(owner, None)
    again = await owner.client.post("/terminal/ports", json={"port": first["port"]})
    assert (again.status_code, again.json()["lease"]) == (409, first["id"])
    for bad in (
        {"port": 0},
        {"port": 65536},
        {"name": "A.b"},
        {"name": "-a"},
        {"hours": 169},
        {"visibility": "x"},
    ):
        assert (await owner.client.post("/terminal/ports", json=bad)).status_code == 422
    for _ in range(9):
        await leased(owner, None)
    full = await owner.client.post("/terminal/ports", json={})
    assert (full.status_code, full.json()["code"]) == (409, "no_ports")
    database = Database(service.database_url)
    try:
        with database.transaction() as session:
            past = update(PORTS).where(PORTS.c.id == first["id"]).values(expires=now() - timedelta(seconds=1))
            session.connection().execute(past)
    finally:
        database.close()
    async with Browser(service, first["url"]) as browser:
        assert (await browser.ask("GET", "/")).status_code == 404
    assert (await owner.client.post(f"/terminal/ports/{first['id']}/visits")).status_code == 404
    assert len((await owner.client.get("/terminal/ports")).json()) == 9
    assert (await leased(owner, None))["port"] == first["port"]


async def test_unknown_host_names_lead_nowhere_not_even_to_the_service(
    service: Service, owner: Owner
) -> None:
    for host in ("x.ports.localhost", "a.b.ports.localhost", "X.PORTS.LOCALHOST.:80"):
        async with Browser(service, f"http://{host}/") as browser:
            assert (await browser.ask("GET", "/terminal", headers=owner.headers)).status_code == 404
