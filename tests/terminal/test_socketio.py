"""Socket.IO as the pages of 3Compute speak it: polling, upgrade, events, refusals, the client from npm."""

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from services.terminal.models import EVENTS
from services.terminal.socketio import packets
from services.terminal.socketio.packets import BadPacket, Event, Kind
from tests import support, told
from tests.terminal.support import Owner, Service

PATH = "/socket.io/"
CLIENT = "socket.io-client@4.8.1"
CLIENT_SECONDS, INSTALL_SECONDS = 60, 60
SCRIPT = Path(__file__).with_name("socketio_client.cjs")


@given(st.text(max_size=50))
def test_any_text_is_read_as_packets_or_refused(text: str) -> None:
    try:
        for kind, rest in packets.split(text):
            if kind == Kind.MESSAGE:
                packets.read_event(rest[1:])
    except BadPacket:
        pass


def test_event_is_read_with_and_without_the_number_of_an_acknowledgement() -> None:
    wanted = Event("resize", {"cols": 80, "rows": 24})
    assert packets.read_event('["resize",{"cols":80,"rows":24}]') == wanted
    assert packets.read_event('17["resize",{"cols":80,"rows":24}]') == wanted
    assert packets.read_event('["files"]') == Event("files", {})
    for text in ("", "[]", "[1]", "{}", '/admin,["x"]', "[" * 100_000, '["x"'):
        with pytest.raises(BadPacket):
            packets.read_event(text)


async def poll(client: httpx.AsyncClient, **query: str) -> list[str]:
    response = await client.get(PATH, params={"EIO": "4", "transport": "polling", **query})
    assert response.status_code == 200, response.text
    return response.text.split(packets.SEPARATOR)


async def post(client: httpx.AsyncClient, sid: str, *sent: str) -> httpx.Response:
    query = {"EIO": "4", "transport": "polling", "sid": sid}
    return await client.post(PATH, params=query, content=packets.SEPARATOR.join(sent))


async def connect(client: httpx.AsyncClient, **query: str) -> str:
    (packet,) = await poll(client, **query)
    assert packet[0] == Kind.OPEN
    sid: str = json.loads(packet[1:])["sid"]
    return sid


def event(name: str, **data: object) -> str:
    return packets.event(name, data)


def output_of(packet: str) -> str:
    if packet[:2] != "42":
        return ""
    name, data = json.loads(packet[2:])
    return str(data["output"]) if name == "pty-output" else ""


async def test_client_that_only_polls_types_and_reads(owner: Owner) -> None:
    sid = await connect(owner.client, tabId="web")
    await post(owner.client, sid, "40", event("resize", cols=90, rows=30))
    await post(owner.client, sid, event("pty-input", input="stty size; echo 日''本\n"))
    seen = ""
    while "日本" not in seen:
        seen += "".join(map(output_of, (one for one in await poll(owner.client, sid=sid) if one[:2] == "42")))
    assert "30 90\r\n" in seen
    (terminal,) = (await owner.client.get("/terminal/sessions")).json()
    assert (terminal["tab"], terminal["state"]) == ("web", "open")
    assert (await post(owner.client, sid, "41")).text == "ok"
    assert (await owner.client.get(PATH, params={"EIO": "4", "sid": sid})).json()[
        "code"
    ] == "unknown_connection"


async def packet_from(socket: ClientConnection) -> str:
    message = await socket.recv()
    assert isinstance(message, str)
    return message


def address_of(owner: Owner, **query: str) -> str:
    words = "&".join(
        f"{name}={value}" for name, value in {"EIO": "4", "transport": "websocket", **query}.items()
    )
    return owner.url.replace("http", "ws", 1) + f"{PATH}?{words}"


async def test_poll_is_answered_by_the_upgrade_and_the_websocket_goes_on(owner: Owner) -> None:
    sid = await connect(owner.client)
    await post(owner.client, sid, "40", event("resize", cols=80, rows=24))
    assert (await poll(owner.client, sid=sid))[0].startswith("40")
    await post(owner.client, sid, event("pty-input", input="stty -echo; PS1=; cat\n"))
    async with websockets.connect(address_of(owner, sid=sid), additional_headers=owner.headers) as socket:
        await socket.send("2probe")
        assert await packet_from(socket) == "3probe"
        while await poll(owner.client, sid=sid) != [Kind.NOOP]:  # no poll waits once the upgrade has begun
            pass
        await socket.send("5")
        await socket.send(event("pty-input", input="over the ''socket\n"))
        while "over the ''socket" not in output_of(packet := await packet_from(socket)):
            assert packet[0] in (Kind.MESSAGE, Kind.NOOP)
        polled = await owner.client.get(PATH, params={"EIO": "4", "sid": sid})
        assert polled.status_code == 400


async def test_page_is_asked_to_restart_a_shell_that_has_ended(owner: Owner) -> None:
    async with websockets.connect(address_of(owner), additional_headers=owner.headers) as socket:
        assert (await packet_from(socket))[0] == Kind.OPEN
        await socket.send("40")
        await socket.send(event("resize", cols=80, rows=24))
        await socket.send(event("pty-input", input="exit\n"))  # before the shell is there
        seen = [packet async for packet in socket]  # until it is closed
        assert seen[-2:] == [event("terminal-restart-required"), "41"]


async def test_client_without_credentials_gets_an_error_and_is_disconnected(service: Service) -> None:
    async with httpx.AsyncClient(base_url=service.url) as stranger:
        sid = await connect(stranger)
        await post(stranger, sid, "40", event("resize", cols=80, rows=24))
        answer = await poll(stranger, sid=sid)
        assert answer[1:] == [event("error", message="Unauthorized"), "41"]
        assert (await stranger.get(PATH, params={"EIO": "4", "sid": sid})).status_code == 400


async def test_connection_of_another_account_and_foreign_pages_are_refused(
    owner: Owner, service: Service
) -> None:
    sid = await connect(owner.client)
    async with Owner(service.url) as other:
        assert (await post(other.client, sid, "40")).json()["code"] == "unknown_connection"
        assert (await other.client.get(PATH, params={"EIO": "4", "sid": sid})).status_code == 400
        with pytest.raises(InvalidStatus) as caught:
            async with websockets.connect(address_of(other, sid=sid), additional_headers=other.headers):
                pass
        assert caught.value.response.status_code == 400
    with pytest.raises(InvalidStatus) as caught:
        async with websockets.connect(
            address_of(owner), additional_headers=owner.headers, origin=Origin("https://evil.example")
        ):
            pass
    assert caught.value.response.status_code == 403


@pytest.mark.parametrize("sent", ["", "9", "4", "42", "42[", "40/admin,", "x" * 300_000, "\x1e" * 100])
async def test_body_that_is_not_a_packet_closes_the_connection(owner: Owner, sent: str) -> None:
    sid = await connect(owner.client)
    assert (await post(owner.client, sid, sent)).json()["code"] == "bad_request"
    assert (await post(owner.client, sid, "40")).json()["code"] == "unknown_connection"


@pytest.mark.parametrize("query", [{}, {"EIO": "3"}, {"EIO": "4", "tabId": "a b"}, {"EIO": "4", "tabId": ""}])
async def test_handshake_of_another_version_or_with_a_bad_tab_is_refused(
    owner: Owner, query: dict[str, str]
) -> None:
    assert (await owner.client.get(PATH, params=query)).status_code == 422


async def test_connecting_is_recorded_and_what_is_typed_is_not(owner: Owner, service: Service) -> None:
    sid = await connect(owner.client, tabId="recorded")
    await post(owner.client, sid, "40", event("resize", cols=80, rows=24))
    await post(owner.client, sid, event("pty-input", input="echo very-''secret\n"))
    while "very-secret" not in "".join(await poll(owner.client, sid=sid)):
        pass
    records = await asyncio.to_thread(told.records, service.database_url, EVENTS)
    mine = [(one["action"], one["resource"]) for one in records if one["user_id"] == owner.user_id]
    assert mine == [("POLL_PACKETS", "recorded")]
    assert "very-" not in str(records)
    assert b"very-" not in await asyncio.to_thread(service.log.read_bytes)


@pytest.mark.prove
@pytest.mark.timeout(CLIENT_SECONDS + INSTALL_SECONDS + 30)
@pytest.mark.parametrize("transports", ["polling,websocket", "websocket", "polling"])
async def test_client_from_npm_works_as_the_pages_use_it(
    owner: Owner, tmp_path: Path, transports: str
) -> None:
    node = support.install_from_npm(tmp_path, CLIENT)
    script = tmp_path / SCRIPT.name
    script.write_text(SCRIPT.read_text())  # next to the package that it loads
    command = [node, str(script), owner.url, owner.token, transports, str(CLIENT_SECONDS - 10)]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=CLIENT_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)

    assert seen["transport"] == transports.rsplit(",", maxsplit=1)[-1]
    assert "33 101\r\n" in seen["output"]
    assert "日本語\r\n" in seen["output"]
    assert "still here\r\n" in seen["again"]
    assert seen["ended"] is True
    assert seen["unauthorized"] == "Unauthorized"
