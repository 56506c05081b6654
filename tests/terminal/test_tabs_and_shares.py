"""The list of tabs, and terminals shared with other accounts."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import update

from services.terminal import tabs
from services.terminal.errors import TabTaken, TooManyViewers
from services.terminal.handlers.sockets import GUESTS_MAX, _require_place
from services.terminal.models import EVENTS, SHARES, TERMINALS
from services.terminal.protocol import Close
from services.terminal.session import Session
from services.terminal.settings import Settings
from services.terminal.shares import Guests, closing_at_end
from services.terminal.terminals import Terminals
from services.terminal.viewers import Viewer
from shared.clock import now
from shared.data.database import Database
from shared.data.statements import insert_row
from shared.ids import new_id
from tests import told
from tests.terminal.support import Owner, Service
from tests.terminal.test_sockets import refused

DATABASES = ("sqlite", "postgresql")


def test_lost_race_for_a_tab_is_refused_with_the_id_of_the_winner(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, owner = Database(service.database_url), new_id()
    won: dict[str, str] = {}
    look_up = tabs.live_by_tab

    def late(session: Any, of: str) -> dict[str, str]:
        """Another request takes the tab after this one saw it free."""
        found = look_up(session, of)
        if not won:
            row = insert_row(session, TERMINALS, owner=owner, tab="1", epoch=new_id())
            won["id"] = row["id"]
        return found

    monkeypatch.setattr(tabs, "live_by_tab", late)
    try:
        with pytest.raises(TabTaken) as caught, database.transaction() as session:
            tabs.reserve(session, owner, "1", 3)
    finally:
        database.close()

    assert caught.value.extensions == {"session": won["id"]}


async def test_tabs_are_shown_after_a_reload_with_order_names_and_terminals(owner: Owner) -> None:
    first = (await owner.client.get("/terminal/tabs")).json()
    assert first == {"version": 0, "tabs": ["1"], "names": {}, "active": "1", "sessions": {}}
    session = await owner.open("b")
    wanted = {"tabs": ["b", "1"], "names": {"b": "Prüfung 日本"}, "active": "b"}
    saved = await owner.client.put("/terminal/tabs", json=wanted)
    shown = await owner.client.get("/terminal/tabs")

    assert (saved.status_code, saved.headers["etag"]) == (200, '"1"')
    assert shown.json() == {**wanted, "version": 1, "sessions": {"b": session}}


async def test_tabs_saved_from_an_outdated_page_are_refused_with_412(owner: Owner) -> None:
    async def save(tab: str, tag: str) -> int:
        body = {"tabs": [tab], "active": tab}
        return (await owner.client.put("/terminal/tabs", json=body, headers={"If-Match": tag})).status_code

    statuses = await asyncio.gather(*(save(tab, '"0"') for tab in "abcd"))
    assert sorted(statuses) == [200, 412, 412, 412]
    assert await save("e", '"1"') == 200
    assert (await owner.client.get("/terminal/tabs")).json()["tabs"] == ["e"]


@pytest.mark.parametrize(
    "body",
    [
        {"tabs": [], "active": "1"},
        {"tabs": ["1", "1"], "active": "1"},
        {"tabs": ["1"], "active": "2"},
        {"tabs": ["a b"], "active": "a b"},
        {"tabs": ["1"], "active": "1", "names": {"2": "other"}},
        {"tabs": ["1"], "active": "1", "names": {"1": "two\nlines"}},
        {"tabs": ["1"], "active": "1", "names": {"1": ""}},
        {"tabs": [str(number) for number in range(33)], "active": "1"},
    ],
)
async def test_malformed_tabs_are_refused_with_422(owner: Owner, body: dict[str, object]) -> None:
    assert (await owner.client.put("/terminal/tabs", json=body)).status_code == 422


async def share(owner: Owner, session: str, **wanted: object) -> dict[str, Any]:
    response = await owner.client.post(f"/terminal/sessions/{session}/shares", json=wanted)
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


async def test_guest_of_a_share_watches_and_types_only_if_the_share_allows(
    owner: Owner, service: Service
) -> None:
    session = await owner.open()
    watching, writing = await share(owner, session), await share(owner, session, mode="rw")
    assert f"#session={session}&share={watching['token']}" in watching["url"]
    async with Owner(service.url) as guest:
        ticket = await guest.ticket(session, share=watching["token"])  # asks to write
        async with guest.watching(session, ticket=ticket) as screen:
            assert (await screen.until_control("hello"))["mode"] == "ro"
            await screen.type("echo ty''ped\n")
            assert (await screen.until_control("notice"))["code"] == "read_only"
        ticket = await guest.ticket(session, share=writing["token"])
        async with guest.watching(session, ticket=ticket) as screen:
            await screen.type("echo fr''om-a-guest\n")
            await screen.until(b"from-a-guest")
            assert b"typed" not in screen.output
            listed = (await owner.client.get(f"/terminal/sessions/{session}/shares")).json()
            assert [(one["mode"], one["uses"], one["watching"]) for one in listed] == [
                ("rw", 1, 1),
                ("ro", 1, 0),
            ]
        shown = await guest.client.get(f"/terminal/sessions/{session}")
        assert shown.status_code == 404


async def test_guests_leave_one_place_to_the_owner(owner: Owner, service: Service) -> None:
    session = await owner.open()
    made = await share(owner, session)
    async with Owner(service.url) as guest, AsyncExitStack() as stack:
        for _ in range(2):  # of the three places
            ticket = await guest.ticket(session, share=made["token"])
            screen = await stack.enter_async_context(guest.watching(session, ticket=ticket))
            await screen.until_control("hello")
        ticket = await guest.ticket(session, share=made["token"])
        assert await refused(guest, session, ticket=ticket) == (429, "too_many_viewers")
        async with owner.watching(session) as own:
            assert (await own.until_control("hello"))["mode"] == "rw"


async def test_guests_of_all_terminals_of_an_account_are_limited() -> None:
    settings = Settings.model_construct(viewers_per_terminal=100)
    owned, other = (Session(new_id(), owner, "1", 24, 80) for owner in ("ann", "bob"))
    owned.viewers = {Viewer(may_write=False, is_guest=True) for _ in range(GUESTS_MAX)}
    terminals = SimpleNamespace(of=lambda owner: [one for one in (owned, other) if one.owner == owner])
    for session, is_guest in ((owned, False), (other, True)):
        _require_place(session, cast("Terminals", terminals), settings, is_guest=is_guest)
    with pytest.raises(TooManyViewers):
        _require_place(owned, cast("Terminals", terminals), settings, is_guest=True)


async def test_revoked_share_closes_its_sockets_and_opens_no_others(owner: Owner, service: Service) -> None:
    session = await owner.open()
    made = await share(owner, session, mode="rw", hours=2)
    async with Owner(service.url) as guest, owner.watching(session) as own:
        await own.until_control("hello")
        later = await guest.ticket(session, share=made["token"])
        ticket = await guest.ticket(session, share=made["token"])
        async with guest.watching(session, ticket=ticket) as screen:
            await screen.until_control("hello")
            path = f"/terminal/sessions/{session}/shares/{made['id']}"
            assert (await guest.client.delete(path)).status_code == 404
            assert (await owner.client.delete(path)).status_code == 204
            assert await screen.until_closed() == Close.FORBIDDEN
        assert await refused(guest, session, ticket=later) == (404, "not_found")
        again = {"session": session, "share": made["token"]}
        assert (await guest.client.post("/terminal/tickets", json=again)).status_code == 404
        await own.type("echo own''er\n")
        await own.until(b"owner")


async def test_share_for_one_account_works_for_no_other(owner: Owner, service: Service) -> None:
    session, other = await owner.open("1"), await owner.open("2")
    async with Owner(service.url) as guest, Owner(service.url) as stranger:
        made = await share(owner, session, guest=guest.user_id)
        asked = {"session": session, "share": made["token"]}
        assert (await stranger.client.post("/terminal/tickets", json=asked)).status_code == 404
        assert (await guest.client.post("/terminal/tickets", json=asked)).status_code == 201
        elsewhere = {**asked, "session": other}
        assert (await guest.client.post("/terminal/tickets", json=elsewhere)).status_code == 404
        forged = {**asked, "share": made["token"][:-1] + "~"}
        assert (await guest.client.post("/terminal/tickets", json=forged)).status_code == 404
        sharing = await stranger.client.post(f"/terminal/sessions/{session}/shares", json={})
        listing = await stranger.client.get(f"/terminal/sessions/{session}/shares")
        assert (sharing.status_code, listing.status_code) == (404, 404)


async def test_expired_share_is_refused_and_no_longer_listed(owner: Owner, service: Service) -> None:
    session = await owner.open()
    made = await share(owner, session)
    async with Owner(service.url) as guest:
        ticket = await guest.ticket(session, share=made["token"])
        database = Database(service.database_url)
        with database.transaction() as transaction:
            expired = update(SHARES).where(SHARES.c.id == made["id"])
            transaction.connection().execute(expired.values(expires=now() - timedelta(seconds=1)))
        database.close()
        assert await refused(guest, session, ticket=ticket) == (404, "not_found")
    assert (await owner.client.get(f"/terminal/sessions/{session}/shares")).json() == []


async def test_shares_are_limited_per_terminal_and_refused_after_its_end(owner: Owner) -> None:
    session = await owner.open()
    path = f"/terminal/sessions/{session}/shares"
    statuses = [(await owner.client.post(path, json={})).status_code for _ in range(21)]
    assert statuses == [201] * 20 + [409]
    for body in ({"hours": 25}, {"hours": 0}, {"mode": "x"}, {"guest": "ann"}):
        assert (await owner.client.post(path, json=body)).status_code == 422
    await owner.client.delete(f"/terminal/sessions/{session}?grace=0")
    assert (await owner.client.post(path, json={})).json()["code"] == "ended"


async def test_sharing_watching_and_revoking_are_recorded_without_the_token(
    owner: Owner, service: Service
) -> None:
    session = await owner.open()
    made = await share(owner, session, mode="ro")
    async with Owner(service.url) as guest:
        ticket = await guest.ticket(session, share=made["token"])
        async with guest.watching(session, ticket=ticket) as screen:
            await screen.until_control("hello")
    await owner.client.delete(f"/terminal/sessions/{session}/shares/{made['id']}")
    records = [
        one
        for one in await asyncio.to_thread(told.records, service.database_url, EVENTS)
        if one["resource"] == session and one["metadata"].get("share") == made["id"]
    ]

    assert [(one["action"], one["user_id"]) for one in records] == [
        ("SHARE_TERMINAL", owner.user_id),
        ("MAKE_TICKET", guest.user_id),
        ("WATCH_TERMINAL", guest.user_id),
        ("REVOKE_SHARE", owner.user_id),
    ]
    assert made["token"] not in str(records)


async def test_viewer_is_closed_when_the_share_expires_while_it_watches() -> None:
    viewer, guests = Viewer(may_write=False), Guests()
    with guests.watching("share", viewer), closing_at_end(viewer, 0):
        assert guests.count("share") == 1
        await viewer.wake.wait()
    assert viewer.closing == (Close.FORBIDDEN, "the share has expired")
    assert guests.count("share") == 0
