"""Concurrent requests: two members of staff change one ticket, many people create tickets."""

import asyncio

from services.support.models import EVENTS
from shared.testing import bearer, token
from tests.support.people import TEXT, TICKETS, People
from tests.told import events


async def test_two_staff_members_change_one_ticket_and_one_gets_412(people: People) -> None:
    ticket = await people.open()
    both = await asyncio.gather(
        people.move(ticket, people.agent, "in_progress", **{"If-Match": '"1"'}),
        people.move(ticket, people.other_agent, "resolved", **{"If-Match": '"1"'}),
    )

    assert sorted(one.status_code for one in both) == [200, 412]
    history = await people.client.get(f"{TICKETS}/{ticket['id']}/history", headers=people.owner)
    assert len(history.json()) == 2


async def test_concurrent_replies_are_all_counted(people: People) -> None:
    ticket = await people.open()
    await asyncio.gather(
        *(people.reply(ticket, who) for who in (people.owner, people.agent) for _ in range(5))
    )
    await asyncio.gather(*(people.reply(ticket, people.agent, internal=True) for _ in range(5)))

    seen = await people.show(ticket, people.agent)
    assert (seen["reply_count"], seen["note_count"]) == (10, 5)


async def test_numbers_have_no_gaps_when_tickets_are_created_at_once(
    people: People, database_url: str
) -> None:
    crowd = [bearer(token()) for _ in range(20)]
    bad = {**TEXT, "priority": "none"}
    made = await asyncio.gather(
        *(people.client.post(TICKETS, json=TEXT, headers=who) for who in crowd),
        *(people.client.post(TICKETS, json=bad, headers=who) for who in crowd),
    )

    assert sorted(one.status_code for one in made) == [201] * 20 + [422] * 20
    numbers = [one.data["number"] for one in events(database_url, EVENTS) if one.topic == "ticket.opened"]
    assert sorted(int(number.split("-")[1]) for number in numbers) == list(range(1, 21))
