"""Boxes and terminals over HTTP: life cycle, limits and refusals."""

import asyncio
import os
import signal

import pytest

from services.terminal.viewers import WINDOW_BYTES
from tests import support
from tests.terminal.support import Owner, Screen, Service, children_of, holders_of

DATABASES = ("sqlite", "postgresql")


async def test_box_starts_with_the_first_terminal_and_shows_its_isolation(owner: Owner) -> None:
    before = (await owner.client.get("/terminal")).json()
    await owner.open()
    after = (await owner.client.get("/terminal")).json()

    assert (before["state"], after["state"]) == ("none", "running")
    assert (after["backend"], after["isolation"]) == ("process", "none")
    assert after["limits"]["terminals"] == 3


async def test_taken_tab_is_refused_with_the_id_of_its_terminal(owner: Owner) -> None:
    session = await owner.open("main")
    again = await owner.client.post("/terminal/sessions", json={"tab": "main"})

    assert (again.status_code, again.json()["code"], again.json()["session"]) == (409, "tab_taken", session)


async def test_concurrent_requests_for_one_tab_open_one_terminal(owner: Owner) -> None:
    opening = [owner.client.post("/terminal/sessions", json={"tab": "same"}) for _ in range(4)]
    statuses = sorted([one.status_code for one in await asyncio.gather(*opening)])

    assert statuses == [201, 409, 409, 409]


async def test_more_terminals_than_allowed_are_refused(owner: Owner) -> None:
    for tab in "123":
        await owner.open(tab)
    response = await owner.client.post("/terminal/sessions", json={"tab": "4"})

    assert (response.status_code, response.json()["code"]) == (409, "too_many_terminals")


@pytest.mark.parametrize(
    "body",
    [
        {"tab": ""},
        {"tab": "a b"},
        {"tab": "../x"},
        {"tab": "x" * 65},
        {"rows": 0},
        {"cols": 1001},
        {"rows": "24"},
        {"shell": "/bin/sh"},
    ],
)
async def test_malformed_terminal_is_refused_with_422(owner: Owner, body: dict[str, object]) -> None:
    response = await owner.client.post("/terminal/sessions", json=body)

    assert response.status_code == 422
    assert response.json()["errors"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/terminal"),
        ("POST", "/terminal/start"),
        ("POST", "/terminal/stop"),
        ("GET", "/terminal/sessions"),
        ("POST", "/terminal/sessions"),
        ("GET", "/terminal/sessions/01900000-0000-7000-8000-000000000000"),
        ("DELETE", "/terminal/sessions/01900000-0000-7000-8000-000000000000"),
        ("POST", "/terminal/sessions/01900000-0000-7000-8000-000000000000/signal"),
        ("POST", "/terminal/tickets"),
        ("GET", "/terminal/tabs"),
        ("PUT", "/terminal/tabs"),
        ("POST", "/terminal/sessions/01900000-0000-7000-8000-000000000000/shares"),
        ("GET", "/terminal/sessions/01900000-0000-7000-8000-000000000000/shares"),
        ("GET", "/terminal/files"),
        ("DELETE", "/terminal/files?path=x"),
        ("GET", "/terminal/files/content?path=x"),
        ("PUT", "/terminal/files/content?path=x"),
        ("GET", "/terminal/files/archive"),
        ("POST", "/terminal/files/move"),
        ("POST", "/terminal/files/batches"),
        ("DELETE", "/terminal/files/trash"),
        ("GET", "/terminal/admin/host"),
        ("POST", "/terminal/admin/selftest"),
        ("GET", "/terminal/admin/boxes"),
        ("POST", "/terminal/admin/boxes/01900000-0000-7000-8000-000000000000/stop"),
    ],
)
async def test_request_without_token_is_rejected_with_401(owner: Owner, method: str, path: str) -> None:
    response = await owner.client.request(method, path, headers={"Authorization": ""})

    assert response.status_code == 401


async def flood(owner: Owner, screen: Screen) -> None:
    """Start a program that prints without end, and stop reading: the holder then waits for the reader."""
    screen.acks = False
    await screen.type("trap '' HUP; yes\n")
    while len(screen.output) < WINDOW_BYTES:
        await screen.read()


async def test_closing_a_terminal_whose_viewer_stopped_reading_records_how_it_ended(owner: Owner) -> None:
    session = await owner.open()
    async with owner.watching(session) as screen:
        await flood(owner, screen)
        closed = await owner.client.delete(f"/terminal/sessions/{session}?grace=0.2")
        assert closed.status_code == 204
        shown = (await owner.client.get(f"/terminal/sessions/{session}")).json()
        assert (shown["state"], shown["exit_signal"]) == ("ended", 9)


async def test_stopping_a_box_leaves_no_holder_behind_while_a_viewer_has_output_to_read(owner: Owner) -> None:
    session = await owner.open()
    async with owner.watching(session) as screen:
        await flood(owner, screen)
        assert holders_of(session)
        assert (await owner.client.post("/terminal/stop")).status_code == 204
        assert support.eventually(lambda: not holders_of(session), seconds=10), holders_of(session)


async def test_background_jobs_that_ignore_the_hang_up_are_killed_after_the_grace_period(
    owner: Owner, service: Service
) -> None:
    session = await owner.open()
    async with owner.watching(session) as screen:
        await screen.type("(trap '' HUP; exec sleep 602) & echo jo''b=$!.\n")
        await screen.until(b"job=")
        await screen.until(b".")
        job = int(bytes(screen.output).partition(b"job=")[2].partition(b".")[0])
        assert is_running(job)
    closed = await owner.client.delete(f"/terminal/sessions/{session}?grace=0.5")
    assert closed.status_code == 204
    assert support.eventually(lambda: not is_running(job), seconds=10)
    assert support.eventually(lambda: not holders_of(session), seconds=10)


async def test_closing_a_terminal_kills_processes_that_ignore_the_hang_up(
    owner: Owner, service: Service
) -> None:
    session = await owner.open()
    async with owner.watching(session) as screen:
        await screen.type("trap '' HUP; sleep 601 & echo start''ed; wait\n")
        await screen.until(b"started")
        children = [child for pid in service.holders() for child in children_of(pid)]
        sleeping = [grandchild for child in children for grandchild in children_of(child)]
        closed = await owner.client.delete(f"/terminal/sessions/{session}?grace=0.2")
        assert closed.status_code == 204
        assert await screen.until_closed() == 1000

    assert sleeping
    assert support.eventually(lambda: not any(map(is_running, sleeping)), seconds=5)
    shown = (await owner.client.get(f"/terminal/sessions/{session}")).json()
    assert (shown["state"], shown["exit_signal"]) == ("ended", 9)


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - a kernel file
            return file.read().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


async def test_stopping_the_box_ends_every_shell_and_keeps_the_home(owner: Owner) -> None:
    session = await owner.open()
    async with owner.watching(session) as screen:
        await screen.type("echo kept > file; echo writ''ten\n")
        await screen.until(b"written")
        assert (await owner.client.post("/terminal/stop")).status_code == 204
        assert await screen.until_closed() == 1000
    box = (await owner.client.get("/terminal")).json()
    assert (box["state"], box["reason"]) == ("stopped", "user")

    async with owner.watching(await owner.open()) as screen:
        await screen.type("cat file\n")
        await screen.until(b"kept\r\n")


async def test_signal_and_ticket_for_an_ended_terminal_are_refused_with_409(owner: Owner) -> None:
    session = await owner.open()
    await owner.client.delete(f"/terminal/sessions/{session}?grace=0")
    sent = await owner.client.post(f"/terminal/sessions/{session}/signal", json={"signal": "INT"})
    asked = await owner.client.post("/terminal/tickets", json={"session": session})

    assert (sent.status_code, sent.json()["code"]) == (409, "ended")
    assert (asked.status_code, asked.json()["code"]) == (409, "ended")
    assert (await owner.client.delete(f"/terminal/sessions/{session}")).status_code == 204


async def test_terminals_are_listed_newest_first_and_only_to_their_owner(
    owner: Owner, service: Service
) -> None:
    opened = [await owner.open(tab) for tab in "12"]
    async with Owner(service.url) as other:
        assert (await other.client.get("/terminal/sessions")).json() == []
    listed = (await owner.client.get("/terminal/sessions")).json()

    assert [one["id"] for one in listed] == opened[::-1]


async def test_admin_can_list_and_stop_all_boxes(owner: Owner, service: Service) -> None:
    session = await owner.open()
    async with Owner(service.url, role="admin") as admin:
        boxes = (await admin.client.get("/terminal/admin/boxes")).json()
        (box,) = [one for one in boxes if one["state"] == "running" and one["owner"] == owner.user_id]
        assert (await owner.client.get("/terminal/admin/boxes")).status_code == 403
        assert (await owner.client.post(f"/terminal/admin/boxes/{box['id']}/stop")).status_code == 403
        stopped = await admin.client.post(f"/terminal/admin/boxes/{box['id']}/stop")
        assert stopped.status_code == 204
    shown = (await owner.client.get(f"/terminal/sessions/{session}")).json()

    assert shown["state"] == "ended"
    assert (await owner.client.get("/terminal")).json()["reason"] == "admin"


async def test_terminal_whose_holder_is_killed_is_lost(owner: Owner, service: Service) -> None:
    before = set(service.holders())
    session = await owner.open()
    (holder,) = set(service.holders()) - before
    async with owner.watching(session) as screen:
        await screen.until_control("replay_end")
        os.kill(holder, signal.SIGKILL)
        assert await screen.until_closed() == 1000
    assert screen.controls[-1] == {"type": "exit", "code": None, "signal": None, "lost": True}
    assert (await owner.client.get(f"/terminal/sessions/{session}")).json()["state"] == "lost"
