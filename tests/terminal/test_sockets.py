"""The WebSocket of a terminal: access, replay, messages and limits."""

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from shared.testing import token
from tests import support
from tests.terminal.support import TERM_V1, Owner, Screen, Service


async def refused(owner: Owner, session: str, **options: Any) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as caught:
        async with owner.connected(session, **options):
            pass
    response = caught.value.response
    return response.status_code, json.loads(response.body or b"{}")["code"]


async def test_typed_text_is_echoed_and_the_exit_is_sent_before_the_close(owner: Owner) -> None:
    session = await owner.open()
    async with owner.watching(session, rows=30, cols=100) as screen:
        await screen.type("stty size; echo $((40+2)) 日本語; exit 3\n")
        code = await screen.until_closed()

    assert code == 1000
    assert b"30 100\r\n42 \xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\r\n" in screen.output
    assert screen.controls[-1] == {"type": "exit", "code": 3, "signal": None, "lost": False}
    shown = (await owner.client.get(f"/terminal/sessions/{session}")).json()
    assert (shown["state"], shown["exit_code"]) == ("ended", 3)


async def test_client_that_reconnects_continues_where_it_stopped(owner: Owner) -> None:
    session = await owner.open()
    screen = Screen()
    async with owner.watching(session, screen):
        await screen.type("PS1=; echo be''fore\n")
        await screen.until(b"before")
    async with owner.watching(session) as other:
        await other.type("echo mean''while\n")
        await other.until(b"meanwhile\r\n")  # no prompt follows
    async with owner.watching(session, screen):
        await screen.until(b"meanwhile\r\n")

    replays = [one for one in screen.controls if one["type"] == "replay"]
    assert [one["kind"] for one in replays] == ["ring", "tail"]
    assert screen.output == other.output
    assert screen.start == 0


async def test_stream_can_be_resumed_at_every_offset(owner: Owner) -> None:
    session = await owner.open()
    async with owner.watching(session) as whole:
        await whole.type(
            "stty -echo; PS1=; printf '\\033[1;31m日本語\\033[0m\\033]0;title\\007end'; echo of''it\n"
        )
        await whole.until(b"ofit\r\n")  # no prompt follows
    for offset in range(len(whole.output) + 1):
        resume = {"epoch": whole.epoch, "offset": offset}
        screen = Screen()
        screen.start, screen.output = 0, whole.output[:offset]
        async with owner.watching(session, screen, resume=resume):
            while screen.offset < whole.offset:
                await screen.read()
        assert screen.output == whole.output


async def test_resume_offset_beyond_the_output_closes_the_socket(owner: Owner) -> None:
    session = await owner.open()
    async with owner.watching(session) as screen:
        await screen.until_control("replay_end")
    resume = {"epoch": screen.epoch, "offset": 1_000_000}
    async with owner.watching(session, resume=resume) as screen:
        assert await screen.until_closed() == 4400


async def test_resume_offset_of_another_shell_gets_a_full_replay(owner: Owner) -> None:
    session = await owner.open()
    async with owner.watching(session, resume={"epoch": "another", "offset": 7}) as screen:
        replay = await screen.until_control("replay")

    assert (replay["kind"], replay["from"], replay["truncated"]) == ("ring", 0, False)


async def test_ticket_works_once_and_only_for_its_terminal(owner: Owner) -> None:
    session, other = await owner.open("1"), await owner.open("2")
    ticket = await owner.ticket(session)
    async with owner.watching(session, ticket=ticket) as screen:
        await screen.until_control("hello")

    assert await refused(owner, session, ticket=ticket) == (401, "unauthenticated")
    for_other = await owner.ticket(other)
    assert await refused(owner, session, ticket=for_other) == (401, "unauthenticated")
    assert await refused(owner, other, ticket=for_other) == (401, "unauthenticated")  # it was consumed


async def test_bearer_token_is_accepted_as_a_subprotocol_and_not_echoed(owner: Owner) -> None:
    session = await owner.open()
    offered = [TERM_V1, Subprotocol(f"bearer.{owner.token}")]
    async with owner.connected(session, additional_headers={}, subprotocols=offered) as socket:
        assert socket.subprotocol == "term.v1"


async def test_socket_without_credentials_or_subprotocol_is_refused(owner: Owner) -> None:
    session = await owner.open()

    assert await refused(owner, session, additional_headers={}) == (401, "unauthenticated")
    expired = {"Authorization": f"Bearer {token(exp=1)}"}
    assert await refused(owner, session, additional_headers=expired) == (401, "invalid_token")
    assert await refused(owner, session, subprotocols=None) == (400, "no_subprotocol")


async def test_limited_token_needs_a_scope_to_open_the_socket_and_the_write_scope_to_type(
    owner: Owner, service: Service
) -> None:
    session = await owner.open()
    limited = {"user_id": owner.user_id, "client_id": "c"}
    async with Owner(service.url, **limited, scope="orders:write terminal:write") as other:
        assert await refused(other, session) == (403, "insufficient_scope")
        response = await other.client.get("/terminal/sessions")
        assert (response.status_code, response.json()["scope"]) == (403, "terminal:read")
    async with Owner(service.url, **limited, scope="terminal:read") as viewer:
        response = await viewer.client.post("/terminal/tickets", json={"session": session, "mode": "rw"})
        assert (response.status_code, response.json()["scope"]) == (403, "terminal:write")
        assert (await viewer.client.post("/terminal/sessions", json={"tab": "2"})).status_code == 403
        for ticket in (None, await viewer.ticket(session, "ro")):
            async with viewer.watching(session, ticket=ticket) as screen:
                assert (await screen.until_control("hello"))["mode"] == "ro"
                await screen.type("echo ty''ped\n")
                assert (await screen.until_control("notice"))["code"] == "read_only"
    async with Owner(service.url, **limited, scope="terminal:read terminal:write") as typist:
        for ticket in (None, await typist.ticket(session)):
            async with typist.watching(session, ticket=ticket) as screen:
                assert (await screen.until_control("hello"))["mode"] == "rw"
    async with owner.watching(session) as screen:
        await screen.type("echo e''nd\n")
        await screen.until(b"end")
    assert b"typed" not in screen.output


async def test_terminal_of_another_user_is_not_found(owner: Owner, service: Service) -> None:
    session = await owner.open()
    async with Owner(service.url, role="admin") as other:
        assert await refused(other, session) == (404, "not_found")
        assert await refused(other, "01900000-0000-7000-8000-000000000000") == (404, "not_found")
        assert await refused(other, "..") == (404, "not_found")
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/signal")):
            body: dict[str, Any] = {"json": {"signal": "INT"}} if method == "POST" else {}
            response = await other.client.request(method, f"/terminal/sessions/{session}{path}", **body)
            assert response.status_code == 404
        response = await other.client.post("/terminal/tickets", json={"session": session})
        assert response.status_code == 404


async def test_cross_site_page_is_refused_even_with_valid_credentials(owner: Owner, service: Service) -> None:
    session = await owner.open()

    assert await refused(owner, session, origin="https://evil.example") == (403, "foreign_origin")
    ticket = await owner.ticket(session)
    assert (await refused(owner, session, ticket=ticket, origin="null"))[0] == 403
    assert (await refused(owner, session, origin=f"http://127.0.0.1:{service.port}1"))[0] == 403
    async with owner.connected(session, origin=service.url):
        pass


async def test_foreign_host_name_and_forwarded_remote_address_are_refused(
    owner: Owner, service: Service
) -> None:
    response = await owner.client.post(
        "/terminal/sessions", json={}, headers={"Host": f"evil.example:{service.port}"}
    )
    assert (response.status_code, response.json()["code"]) == (403, "not_local")
    response = await owner.client.post(
        "/terminal/sessions", json={}, headers={"X-Forwarded-For": "203.0.113.9"}
    )
    assert (response.status_code, response.json()["code"]) == (403, "not_local")
    lines = [("X-Forwarded-For", "127.0.0.1"), ("X-Forwarded-For", "203.0.113.9")]
    response = await owner.client.post("/terminal/sessions", json={}, headers=lines)
    assert (response.status_code, response.json()["code"]) == (403, "not_local")


async def test_read_only_viewer_cannot_type_or_send_signals(owner: Owner) -> None:
    session = await owner.open()
    ticket = await owner.ticket(session, "ro")
    async with owner.watching(session) as screen, owner.watching(session, ticket=ticket) as watcher:
        await watcher.until_control("replay_end")
        await watcher.type("echo in''truder\n")
        assert (await watcher.until_control("notice"))["code"] == "read_only"
        await watcher.control("signal", signal="KILL")
        assert (await watcher.until_control("notice"))["code"] == "read_only"
        await screen.type("echo own''er\n")
        await screen.until(b"owner")
        await watcher.until(b"owner")

    assert b"intruder" not in screen.output
    hello = next(one for one in watcher.controls if one["type"] == "hello")
    assert (hello["mode"], hello["leader"]) == ("ro", False)


async def test_last_viewer_to_type_sets_the_size_for_all(owner: Owner) -> None:
    session = await owner.open(rows=24, cols=80)
    async with (
        owner.watching(session, rows=24, cols=80) as first,
        owner.watching(session, rows=50, cols=132) as second,
    ):
        await first.until_control("replay_end")
        await second.until_control("replay_end")
        assert second.controls[0]["cols"] == 80  # the first one leads
        await second.type("stty size\n")
        await second.until(b"50 132")
        assert (await first.until_control("lead"))["leader"] is False
        await second.control("resize", rows=40, cols=100)
        size = await first.until_control("size")
        while size["cols"] != 100:
            size = await first.until_control("size")
        assert size["rows"] == 40


async def test_more_viewers_than_allowed_are_refused(owner: Owner) -> None:
    session = await owner.open()
    async with (
        owner.watching(session) as one,
        owner.watching(session) as two,
        owner.watching(session) as three,
    ):
        for screen in (one, two, three):
            await screen.until_control("hello")
        assert await refused(owner, session) == (429, "too_many_viewers")


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", 4400),
        ("[]", 4400),
        ('{"type": "nonsense"}', 4400),
        ('{"type": "resize", "rows": 0, "cols": 80}', 4400),
        ('{"type": "resize", "rows": "24", "cols": 80}', 4400),
        ('{"type": "ack", "offset": 9007199254740992}', 4400),
        ('{"type": "ack", "offset": 999999}', 4400),
        ('{"type": "signal", "signal": "STOP"}', 4400),
        ('{"type": "hello", "rows": 24, "cols": 80}', 4400),
        ("[" * 4096, 4400),
        (" " * 4097, 4413),
        (b"x" * (64 * 1024 + 1), 4413),
    ],
)
async def test_bad_message_closes_the_socket_but_not_the_shell(
    owner: Owner, message: str | bytes, code: int
) -> None:
    session = await owner.open()
    async with owner.watching(session) as screen:
        await screen.until_control("replay_end")
        await screen.socket.send(message)
        assert await screen.until_closed() == code
    async with owner.watching(session) as screen:
        await screen.type("echo still''here\n")
        await screen.until(b"stillhere")


async def test_frame_that_is_too_large_for_the_server_closes_the_socket(owner: Owner) -> None:
    session = await owner.open()
    async with owner.watching(session) as screen:
        await screen.until_control("replay_end")
        with suppress(ConnectionClosed):  # possibly before all of it is sent
            await screen.socket.send(b"x" * (1 << 20))
        assert await screen.until_closed() == 1009
    async with owner.watching(session) as screen:
        await screen.until_control("replay_end")


async def test_first_message_must_be_hello(owner: Owner) -> None:
    session = await owner.open()
    async with owner.connected(session) as socket:
        await socket.send(b"ls\n")
        screen = Screen()
        screen.socket = socket
        assert await screen.until_closed() == 4408


async def test_ping_gets_a_pong_with_its_time(owner: Owner) -> None:
    session = await owner.open()
    async with owner.watching(session) as screen:
        await screen.control("ping", time=12.5)
        assert await screen.until_control("pong") == {"type": "pong", "time": 12.5}


async def test_signal_reaches_the_foreground_process(owner: Owner) -> None:
    session = await owner.open()
    async with owner.watching(session) as screen:
        # A child prints it, as the shell itself would print it before the child is in the foreground.
        started = "sh -c \"echo start''ed; exec sleep 600\"\n"
        await screen.type(started)
        await screen.until(b"started")
        await screen.control("signal", signal="INT")
        await screen.type("echo code=$?\n")
        await screen.until(b"code=130")
        await screen.type(started)
        await screen.until(b"started", count=2)
        sent = await owner.client.post(f"/terminal/sessions/{session}/signal", json={"signal": "TERM"})
        assert sent.status_code == 204
        await screen.type("echo code=$?\n")
        await screen.until(b"code=143")


async def test_fast_viewer_does_not_wait_for_one_that_stopped_reading(owner: Owner) -> None:
    session = await owner.open()
    async with owner.watching(session) as fast, owner.watching(session) as slow:
        slow.acks = False
        await slow.until_control("replay_end")
        await fast.type("head -c 4000000 /dev/zero | tr '\\0' x; echo; echo do''ne\n")
        await fast.until(b"done")
        assert len(fast.output) > 4_000_000
        slow.acks = True
        skipped = asyncio.ensure_future(slow.until_control("skipped"))
        for _ in range(20):
            await fast.type("echo mo''re\n")
        assert (await asyncio.wait_for(skipped, 20))["bytes"] > 1_000_000


async def test_replay_of_a_full_ring_is_truncated_and_begins_with_a_whole_line(owner: Owner) -> None:
    session = await owner.open()
    async with owner.watching(session) as screen:
        await screen.type("seq 1 500000; echo do''ne\n")
        await screen.until(b"done")
    async with owner.watching(session) as again:
        replay = await again.until_control("replay")
        await again.until(b"done")

    assert replay["truncated"] is True
    assert replay["kind"] == "ring"
    first, second, *_ = again.output.split(b"\r\n")
    assert int(second) == int(first) + 1  # begins with a whole line
    assert again.output in screen.output + again.output[-100:]


async def test_shell_inherits_no_environment_of_the_suite_and_no_ticket_is_logged(
    owner: Owner, service: Service
) -> None:
    session = await owner.open()
    async with owner.watching(session) as screen:
        await screen.type("echo; env; ls -l /proc/$$/fd | wc -l; echo do''ne\n")
        await screen.until(b"done")
    names = {line.partition(b"=")[0] for line in bytes(screen.output).split(b"\r\n") if b"=" in line}
    assert names <= {b"HOME", b"PATH", b"SHELL", b"TERM", b"LANG", b"PWD", b"OLDPWD", b"SHLVL", b"_", b"PS1"}
    assert support.eventually(lambda: b"/terminal/ws" in service.log.read_bytes(), seconds=10)
    assert b"ticket=" not in service.log.read_bytes()


async def test_nothing_typed_or_printed_is_logged_or_recorded(owner: Owner, service: Service) -> None:
    session = await owner.open()
    async with owner.watching(session) as screen:
        await screen.type("echo very-secret''-word\n")
        await screen.until(b"very-secret-word")
    await owner.client.post("/terminal/stop")
    kept = b"".join(
        file.read_bytes()
        for file in service.folder.rglob("*")
        if file.is_file() and "homes" not in file.parts
    )

    assert b"TERMINAL" in kept  # audit records exist
    assert b"very-secret" not in kept
