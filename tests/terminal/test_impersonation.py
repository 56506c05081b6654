"""An admin who impersonates an account watches its terminals and reads its files, and changes nothing."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.terminal import tickets
from services.terminal.models import EVENTS
from services.terminal.settings import Settings
from services.terminal.socketio import packets
from shared.caller import Caller
from shared.data.database import Database
from shared.data.migrate import upgrade
from shared.ids import new_id
from tests import told
from tests.terminal.support import Owner, Service
from tests.terminal.test_socketio import connect, event, poll, post

ADMIN_ID = new_id()
FILES = "/terminal/files"
SOME_ID = "0192f0c1-2345-7abc-8def-0123456789ab"  # the same in all processes that collect the tests


@pytest.fixture
async def acting(owner: Owner, service: Service) -> AsyncIterator[Owner]:
    async with Owner(service.url, owner.user_id, act={"sub": ADMIN_ID}) as one:
        yield one


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/terminal/sessions"),
        ("POST", "/terminal/sessions/{session}/signal"),
        ("POST", "/terminal/sessions/{session}/shares"),
        ("PUT", f"{FILES}/content?path=a"),
        ("DELETE", f"{FILES}?path=a"),
        ("POST", f"{FILES}/folders"),
        ("POST", f"{FILES}/move"),
        ("POST", f"{FILES}/copy"),
        ("POST", f"{FILES}/batches"),
        ("PUT", f"{FILES}/batches/{SOME_ID}/content"),
        ("POST", f"{FILES}/batches/{SOME_ID}/finish"),
        ("DELETE", f"{FILES}/trash"),
        ("DELETE", f"{FILES}/trash/{SOME_ID}"),
        ("POST", f"{FILES}/trash/{SOME_ID}/restore"),
    ],
)
async def test_impersonating_admin_may_not_open_share_or_write(
    owner: Owner, acting: Owner, method: str, path: str
) -> None:
    session = await owner.open()
    response = await acting.client.request(method, path.format(session=session))
    assert (response.status_code, response.json()["code"]) == (403, "impersonated")


async def test_impersonating_admin_reads_files_and_terminals(owner: Owner, acting: Owner) -> None:
    session = await owner.open()
    for path in (FILES, "/terminal/sessions", f"/terminal/sessions/{session}", "/terminal/tabs"):
        assert (await acting.client.get(path)).status_code == 200


async def test_impersonating_admin_watches_a_terminal_and_cannot_type(owner: Owner, acting: Owner) -> None:
    session = await owner.open()
    refused = await acting.client.post("/terminal/tickets", json={"session": session, "mode": "rw"})
    assert (refused.status_code, refused.json()["code"]) == (403, "impersonated")
    for ticket in (None, await acting.ticket(session, "ro")):
        async with acting.watching(session, ticket=ticket) as screen:
            assert (await screen.until_control("hello"))["mode"] == "ro"
            await screen.type("echo ty''ped\n")
            assert (await screen.until_control("notice"))["code"] == "read_only"
    async with owner.watching(session) as own:
        await own.type("echo own''er\n")
        await own.until(b"owner")
        assert b"typed" not in own.output


async def test_impersonating_admin_opens_no_terminal_through_socketio(acting: Owner) -> None:
    sid = await connect(acting.client)
    await post(acting.client, sid, "40", event("resize", cols=80, rows=24))
    received: list[str] = []
    while packets.disconnected() not in received:
        received += await poll(acting.client, sid=sid)
    assert any("You are impersonating this account" in one for one in received)
    assert (await acting.client.get("/terminal/sessions")).json() == []


async def test_socket_opened_by_ticket_is_recorded_with_the_impersonating_admin(
    owner: Owner, acting: Owner, service: Service
) -> None:
    session = await owner.open()
    async with acting.watching(session, ticket=await acting.ticket(session, "ro")) as screen:
        await screen.until_control("hello")
    records = await asyncio.to_thread(told.records, service.database_url, EVENTS)
    watched = [one for one in records if (one["action"], one["resource"]) == ("WATCH_TERMINAL", session)]

    assert [one["user_id"] for one in watched] == [owner.user_id]
    assert watched[0]["metadata"]["impersonated_by"] == ADMIN_ID


def test_ticket_keeps_the_claims_about_the_sign_in_and_no_others(database_url: str) -> None:
    upgrade(database_url, Settings(database_url=database_url).migrations())
    database, terminal_id = Database(database_url), new_id()
    kept = {"act": {"sub": ADMIN_ID}, "auth_time": 1_700_000_000, "acr": "2"}
    caller = Caller(
        new_id(), "user", "ann", None, None, frozenset(), 0.0, claims={**kept, "other": "x" * 1000}
    )
    try:
        with database.transaction() as session:
            ticket, _ = tickets.issue(session, caller, terminal_id, "ro", 30)
            session.flush()
            redeemed = tickets.redeem(session, ticket, terminal_id)
    finally:
        database.close()

    assert redeemed is not None
    assert redeemed.caller.claims == kept
    assert (redeemed.caller.impersonator_id, redeemed.caller.acr) == (ADMIN_ID, 2)
