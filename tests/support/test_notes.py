"""Internal notes leave no trace that the owner of a ticket, or a stranger, can see."""

import json
from typing import Any

import httpx
import pytest

from contracts.events import ExportRequested
from services.support import replies
from services.support.models import EVENTS
from shared.events.event import Sealed
from shared.ids import new_id
from shared.testing import bearer, internal_token, token
from tests.support.peers import AGENT, new_file
from tests.support.people import TICKETS, People
from tests.told import events

SECRET = "zebra"  # in no other text


@pytest.fixture
async def ticket(people: People) -> dict[str, Any]:
    made = await people.open()
    await people.reply(made, people.owner, "Anybody there?")
    return await people.show(made)


async def note(people: People, ticket: dict[str, Any]) -> dict[str, Any]:
    file_id = new_file(AGENT)
    return await people.reply(ticket, people.agent, SECRET, internal=True, attachments=[file_id])


async def answers_for(people: People, who: dict[str, str], ticket: dict[str, Any]) -> list[httpx.Response]:
    path = f"{TICKETS}/{ticket['id']}"
    paths = [
        path,
        f"{path}/replies",
        f"{path}/replies?limit=1",
        f"{path}/history",
        TICKETS,
        f"{TICKETS}/my",
        f"{TICKETS}?search={SECRET}",
        f"{TICKETS}/my?search={SECRET}",
    ]
    return [await people.client.get(one, headers=who) for one in paths]


async def test_nothing_that_the_owner_sees_changes_with_a_note(
    people: People, ticket: dict[str, Any]
) -> None:
    before = [
        (one.status_code, one.text, one.headers.get("etag"))
        for one in await answers_for(people, people.owner, ticket)
    ]
    await note(people, ticket)
    after = [
        (one.status_code, one.text, one.headers.get("etag"))
        for one in await answers_for(people, people.owner, ticket)
    ]

    assert after == before


async def test_a_stranger_sees_neither_ticket_nor_note(people: People, ticket: dict[str, Any]) -> None:
    await note(people, ticket)
    answers = await answers_for(people, people.stranger, ticket)

    assert [one.status_code for one in answers] == [404, 404, 404, 404, 200, 200, 200, 200]
    assert all(one.json() == [] for one in answers[4:])
    reply = await people.client.post(
        f"{TICKETS}/{ticket['id']}/replies", json={"content": "Me too"}, headers=people.stranger
    )
    assert reply.status_code == 404


async def test_staff_and_admins_see_notes(people: People, ticket: dict[str, Any]) -> None:
    written = await note(people, ticket)
    for who in (people.agent, people.other_agent, people.admin):
        seen = await people.client.get(f"{TICKETS}/{ticket['id']}/replies", headers=who)
        assert seen.json()[0] == written
        assert (await people.show(ticket, who))["note_count"] == 1
        assert (await people.client.get(TICKETS, headers=who)).json()[0]["note_count"] == 1


async def test_a_limited_token_of_staff_sees_notes_only_with_the_scope_of_staff(
    people: People, ticket: dict[str, Any]
) -> None:
    await note(people, ticket)
    path = f"{TICKETS}/{ticket['id']}/replies"
    narrow = bearer(token(AGENT, scope="support:read"))
    assert (await people.client.get(path, headers=narrow)).status_code == 404
    wide = bearer(token(AGENT, scope="support:read admin:support"))
    assert len((await people.client.get(path, headers=wide)).json()) == 2
    pretender = bearer(token(people.stranger_id, scope="support:read admin:support"))
    assert (await people.client.get(path, headers=pretender)).status_code == 404


async def test_only_staff_writes_notes_and_keeps_the_status(people: People, ticket: dict[str, Any]) -> None:
    for fields in ({"internal": True}, {"keep_status": True}):
        response = await people.client.post(
            f"{TICKETS}/{ticket['id']}/replies", json={"content": "Hm", **fields}, headers=people.owner
        )
        assert (response.status_code, response.json()["code"]) == (403, "staff_only")


async def test_a_note_emits_no_event_and_no_event_holds_text(
    people: People, ticket: dict[str, Any], database_url: str
) -> None:
    before = events(database_url, EVENTS)
    await note(people, ticket)
    assert events(database_url, EVENTS) == before
    assert [one.topic for one in before][-2:] == ["ticket.opened", "ticket.replied"]
    assert not any("Anybody" in str(one.data) or "parcel" in str(one.data) for one in before)


async def test_a_note_is_in_no_export(people: People, ticket: dict[str, Any], database_url: str) -> None:
    await note(people, ticket)
    await people.reply(ticket, people.agent, "We are looking for it.")
    for person in (people.owner_id, AGENT):
        told = Sealed("auth", ExportRequested(export_id=new_id(), account_id=person)).body
        headers = bearer(internal_token("support", issuer="auth")) | {"Content-Type": "application/json"}
        response = await people.client.post(
            "/internal/events", content=f'{{"events":[{told}]}}', headers=headers
        )
        assert response.status_code == 204, response.text
    parts = [one.data for one in events(database_url, EVENTS) if one.topic == "export.part"]
    text = "".join(part["content"] for part in parts)

    assert SECRET not in text
    assert "note_count" not in text
    assert {part["section"] for part in parts} >= {"tickets", "ticket_replies", "ticket_history"}
    contents = [
        json.loads(line)["content"]
        for part in parts
        if part["section"] == "ticket_replies"
        for line in part["content"].splitlines()
    ]
    assert contents == ["Anybody there?", "We are looking for it."]


async def test_a_ticket_takes_a_limited_number_of_replies_and_notes(
    people: People, ticket: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replies, "REPLIES_MAX", 2)
    path = f"{TICKETS}/{ticket['id']}/replies"
    for _ in range(2):
        await note(people, ticket)
    for fields, status in (({"internal": True}, 409), ({}, 201), ({}, 409)):
        response = await people.client.post(path, json={"content": "Hm", **fields}, headers=people.agent)
        assert response.status_code == status, response.text
    assert response.json()["code"] == "ticket_full"
