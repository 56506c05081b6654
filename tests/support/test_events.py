"""What the service tells others of tickets, and what remains of deleted accounts."""

import httpx

from contracts.events import AccountDeleted
from services.support.models import EVENTS
from shared.clock import now
from shared.events.event import Sealed
from shared.testing import bearer, internal_token
from tests.support.peers import AGENT, OTHER_AGENT
from tests.support.people import TICKETS, People
from tests.told import events


async def delete_account(client: httpx.AsyncClient, account_id: str) -> None:
    told = Sealed("auth", AccountDeleted(account_id=account_id, deleted=now())).body
    headers = bearer(internal_token("support", issuer="auth")) | {"Content-Type": "application/json"}
    response = await client.post("/internal/events", content=f'{{"events":[{told}]}}', headers=headers)
    assert response.status_code == 204, response.text


async def test_every_change_emits_an_event(people: People, database_url: str) -> None:
    ticket = await people.open()
    reply = await people.reply(ticket, people.agent)
    await people.move(ticket, people.owner, "resolved")
    gone = await people.open()
    await people.client.delete(f"{TICKETS}/{gone['id']}", headers=people.owner)
    *hired, opened, replied, changed, _, deleted = events(database_url, EVENTS)

    assert {one.topic for one in hired} == {"staff.changed"}
    assert opened.topic == "ticket.opened"
    assert opened.data["user_id"] == people.owner_id
    assert (replied.topic, replied.data["by_staff"], replied.data["author_id"]) == (
        "ticket.replied",
        True,
        AGENT,
    )
    assert (replied.data["reply_id"], replied.data["status_before"]) == (reply["id"], "open")
    assert (changed.data["status_before"], changed.data["status"]) == ("waiting", "resolved")
    assert changed.data["by"] == people.owner_id
    assert (deleted.topic, deleted.data["ticket_id"]) == ("ticket.deleted", gone["id"])


async def test_every_change_of_staff_emits_one_event(people: People, database_url: str) -> None:
    path = f"/tickets/staff/{AGENT}"
    await people.client.put(path, headers=people.admin)
    await people.client.delete(path, headers=people.admin)
    await people.client.delete(path, headers=people.admin)
    told = [one.data for one in events(database_url, EVENTS) if one.data["user_id"] == AGENT]

    assert [one["is_staff"] for one in told] == [True, False]


async def test_assignment_names_who_made_it(people: People, database_url: str) -> None:
    ticket = await people.open()
    path = f"{TICKETS}/{ticket['id']}/assign"
    await people.client.put(path, json={"assigned_to": AGENT}, headers=people.other_agent)
    told = events(database_url, EVENTS)[-1]

    assert (told.topic, told.data["assigned_to"], told.data["by"]) == ("ticket.changed", AGENT, OTHER_AGENT)


async def test_the_tickets_of_a_deleted_account_are_deleted(people: People) -> None:
    ticket = await people.open()
    await people.reply(ticket, people.agent)
    await delete_account(people.client, people.owner_id)

    assert (await people.client.get(TICKETS, headers=people.admin)).json() == []


async def test_staff_whose_account_is_deleted_is_staff_no_longer(people: People) -> None:
    ticket = await people.open()
    await people.client.put(
        f"{TICKETS}/{ticket['id']}/assign", json={"assigned_to": AGENT}, headers=people.agent
    )
    await people.reply(ticket, people.agent)
    await delete_account(people.client, AGENT)

    assert (await people.show(ticket))["assigned_to"] is None
    replies = await people.client.get(f"{TICKETS}/{ticket['id']}/replies", headers=people.owner)
    assert len(replies.json()) == 1
    assert (await people.client.get("/tickets/stats", headers=people.agent)).status_code == 403
