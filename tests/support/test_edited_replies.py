"""Authors correct their replies for a short time; readers see that they did."""

from datetime import timedelta

import pytest

from services.support import replies
from services.support.models import EVENTS
from shared.clock import now
from tests.support.people import TICKETS, People
from tests.told import events


async def test_author_corrects_a_reply_and_nobody_is_told_again(people: People, database_url: str) -> None:
    ticket = await people.open()
    reply = await people.reply(ticket, people.agent, "We will call you on Monday.")
    told = len(events(database_url, EVENTS))
    path = f"{TICKETS}/{ticket['id']}/replies/{reply['id']}"
    corrected = await people.client.put(path, json={"content": "We call you today."}, headers=people.agent)
    assert corrected.status_code == 200, corrected.text
    assert corrected.json()["edited"] is not None
    shown = await people.client.get(f"{TICKETS}/{ticket['id']}/replies", headers=people.owner)
    assert [(one["content"], one["edited"] is not None) for one in shown.json()] == [
        ("We call you today.", True)
    ]
    assert len(events(database_url, EVENTS)) == told


async def test_replies_of_others_notes_and_old_ones_are_refused(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket, other = await people.open(), await people.open()
    reply, note = (
        await people.reply(ticket, people.agent),
        await people.reply(ticket, people.agent, internal=True),
    )

    async def edit(of: str, reply_id: str, who: dict[str, str]) -> tuple[int, str]:
        path = f"{TICKETS}/{of}/replies/{reply_id}"
        response = await people.client.put(path, json={"content": "Other words"}, headers=who)
        return response.status_code, response.json().get("code", "")

    assert await edit(ticket["id"], reply["id"], people.owner) == (403, "not_your_reply")
    assert await edit(ticket["id"], reply["id"], people.admin) == (403, "not_your_reply")
    assert await edit(ticket["id"], note["id"], people.owner) == (404, "not_found")
    assert await edit(other["id"], reply["id"], people.agent) == (404, "not_found")
    assert await edit(ticket["id"], reply["id"], people.stranger) == (404, "not_found")
    assert (await edit(ticket["id"], note["id"], people.agent))[0] == 200
    later = now() + timedelta(minutes=16)
    monkeypatch.setattr(replies, "now", lambda: later)
    assert await edit(ticket["id"], reply["id"], people.agent) == (409, "reply_locked")
