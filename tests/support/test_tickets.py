"""Tickets: creating, listing, changing, their states, assignment, and limits."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from services.support import peers
from services.support.app import create_app
from services.support.models import EVENTS
from services.support.settings import Settings
from services.support.states import STEPS, Status
from services.support.tickets import REOPENED_MAX
from shared.ids import new_id
from shared.testing import bearer, running, token
from tests.support.peers import ADMIN, AGENT, FILES, SUSPENDED, new_file
from tests.support.people import TEXT, TICKETS, People
from tests.told import events


async def test_a_ticket_is_created_with_a_number_and_due_times(people: People) -> None:
    ticket = await people.open(priority="urgent", category="delivery")
    other = await people.open()

    assert ticket["status"] == "open"
    assert ticket["user_id"] == people.owner_id
    assert ticket["first_reply_due"] < ticket["resolve_due"] < other["resolve_due"]
    year, number = ticket["number"].split("-")
    assert other["number"] == f"{year}-{int(number) + 1:06}"
    assert (await people.show(ticket)) == ticket


async def test_anonymous_requests_are_refused(client: httpx.AsyncClient) -> None:
    for method, path in (("GET", TICKETS), ("POST", TICKETS), ("GET", f"{TICKETS}/{new_id()}")):
        assert (await client.request(method, path)).status_code == 401


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"subject": "Oh"}, "subject"),
        ({"subject": "x" * 256}, "subject"),
        ({"description": "too short"}, "description"),
        ({"description": "x" * 20_001}, "description"),
        ({"priority": "highest"}, "priority"),
        ({"category": ""}, "category"),
        ({"attachments": [new_id()] * 11}, "attachments"),
        ({"status": "closed"}, "status"),
        ({"subject": "with a \x00 inside"}, "subject"),
    ],
)
async def test_a_bad_field_is_named(people: People, fields: dict[str, Any], field: str) -> None:
    response = await people.client.post(TICKETS, json={**TEXT, **fields}, headers=people.owner)

    assert response.status_code == 422
    assert [one["field"] for one in response.json()["errors"]] == [field]


async def test_the_longest_description_fits_in_a_request(people: People) -> None:
    ticket = await people.open(description="\N{SLIGHTLY SMILING FACE}" * 20_000)
    assert len(ticket["description"]) == 20_000


async def test_a_repeated_key_creates_one_ticket(people: People) -> None:
    headers = {**people.owner, "Idempotency-Key": "once"}
    answers = [await people.client.post(TICKETS, json=TEXT, headers=headers) for _ in range(2)]

    assert answers[0].json() == answers[1].json()
    assert len((await people.client.get(TICKETS, headers=people.owner)).json()) == 1


async def test_lists_are_filtered(people: People) -> None:
    urgent = await people.open(priority="urgent", category="delivery", subject="Needle in the parcel")
    plain = await people.open()
    await people.client.put(
        f"{TICKETS}/{plain['id']}/assign", json={"assigned_to": AGENT}, headers=people.agent
    )

    async def ids(who: dict[str, str], **query: str) -> list[str]:
        response = await people.client.get(TICKETS, params=query, headers=who)
        assert response.status_code == 200, response.text
        return [one["id"] for one in response.json()]

    for who in (people.owner, people.agent, people.admin):
        assert await ids(who) == [plain["id"], urgent["id"]]
        assert await ids(who, priority="urgent") == [urgent["id"]]
        assert await ids(who, category="delivery") == [urgent["id"]]
        assert await ids(who, status="open", priority="medium") == [plain["id"]]
        assert await ids(who, status="closed") == []
        assert await ids(who, search="needle") == [urgent["id"]]
        assert await ids(who, search=plain["number"]) == [plain["id"]]
        assert await ids(who, search="needle", priority="low") == []
        assert await ids(who, assigned_to=AGENT) == [plain["id"]]
        assert await ids(who, overdue="false") == [plain["id"], urgent["id"]]
        assert await ids(who, overdue="true") == []
        assert await ids(who, limit="1") == [plain["id"]]
    assert await ids(people.agent, user_id=people.owner_id) == [plain["id"], urgent["id"]]
    assert await ids(people.agent, user_id=people.stranger_id) == []
    refused = await people.client.get(TICKETS, params={"user_id": people.owner_id}, headers=people.stranger)
    assert refused.status_code == 404


async def test_the_owner_changes_a_ticket_while_it_is_open(people: People) -> None:
    ticket = await people.open()
    path = f"{TICKETS}/{ticket['id']}"
    body = {"subject": "The parcel is lost", "priority": "high", "category": None}
    changed = await people.client.put(path, json=body, headers={**people.owner, "If-Match": '"1"'})

    assert changed.status_code == 200, changed.text
    assert changed.headers["etag"] == '"2"'
    assert changed.json()["resolve_due"] < ticket["resolve_due"]
    stale = await people.client.put(path, json=body, headers={**people.owner, "If-Match": '"1"'})
    assert stale.status_code == 412
    by_agent = await people.client.put(path, json={"subject": "Something else"}, headers=people.agent)
    assert (by_agent.status_code, by_agent.json()["code"]) == (403, "owner_only")
    await people.move(ticket, people.agent, "in_progress")
    locked = await people.client.put(path, json=body, headers=people.owner)
    assert (locked.status_code, locked.json()["code"]) == (409, "ticket_locked")
    assert (await people.client.put(path, json={"priority": "low"}, headers=people.agent)).status_code == 200


async def test_changes_without_fields_or_with_nulls_are_refused(people: People) -> None:
    ticket = await people.open()
    for body in ({}, {"subject": None}, {"unknown": 1}):
        response = await people.client.put(f"{TICKETS}/{ticket['id']}", json=body, headers=people.owner)
        assert response.status_code == 422


@pytest.mark.parametrize("by_staff", [True, False])
@pytest.mark.parametrize("before", Status)
async def test_only_the_steps_of_the_table_can_be_taken(
    people: People, before: Status, by_staff: bool
) -> None:
    who = people.agent if by_staff else people.owner
    for to in Status:
        ticket = await people.open()
        if before is not Status.OPEN:
            assert (await people.move(ticket, people.agent, before)).status_code == 200
        allowed = [str(one) for one, for_owner in STEPS[before].items() if by_staff or for_owner]
        response = await people.move(ticket, who, to)

        assert response.status_code == (200 if to in allowed else 409)
        if to in allowed:
            assert response.json()["status"] == to
        else:
            assert response.json()["allowed"] == allowed
            assert response.json()["status_now"] == before
        await people.move(ticket, people.agent, "closed")


async def test_steps_are_kept_as_history(people: People) -> None:
    ticket = await people.open()
    path = f"{TICKETS}/{ticket['id']}"
    body = {"status": "resolved", "reason": "Sent again"}
    await people.client.put(f"{path}/status", json=body, headers=people.agent)
    history = (await people.client.get(f"{path}/history", headers=people.owner)).json()

    assert [(one["from_status"], one["status"], one["by"], one["reason"]) for one in history] == [
        (None, "open", people.owner_id, None),
        ("open", "resolved", AGENT, "Sent again"),
    ]
    assert (await people.client.get(f"{path}/history", headers=people.stranger)).status_code == 404


async def test_replies_move_a_ticket_between_staff_and_owner(people: People) -> None:
    ticket = await people.open()
    await people.reply(ticket, people.agent)
    waiting = await people.show(ticket)
    assert (waiting["status"], waiting["reply_count"]) == ("waiting", 1)
    assert waiting["first_replied"] is not None
    await people.reply(ticket, people.owner)
    assert (await people.show(ticket))["status"] == "open"
    await people.reply(ticket, people.agent, keep_status=True)
    assert (await people.show(ticket))["status"] == "open"
    await people.move(ticket, people.agent, "closed")
    await people.reply(ticket, people.agent)
    assert (await people.show(ticket))["status"] == "closed"
    await people.reply(ticket, people.owner)
    reopened = await people.show(ticket)
    assert (reopened["status"], reopened["reopened_count"], reopened["closed"]) == ("open", 1, None)


async def test_an_old_ticket_is_closed_for_good(
    make_settings: Callable[..., Any], settings: Settings
) -> None:
    at_once = settings.model_copy(update={"reopen_days": 0})
    async with running(create_app, at_once) as client:
        people = People(client)
        await people.hire()
        ticket = await people.open()
        await people.move(ticket, people.owner, "resolved")
        again = await people.move(ticket, people.owner, "open")
        path = f"{TICKETS}/{ticket['id']}/replies"
        reply = await client.post(path, json={"content": "It is back"}, headers=people.owner)

    for response in (again, reply):
        assert (response.status_code, response.json()["code"]) == (409, "closed_for_good")


async def test_the_owner_cannot_reopen_a_ticket_without_end(people: People) -> None:
    ticket = await people.open()
    for _ in range(REOPENED_MAX):
        await people.move(ticket, people.owner, "closed")
        assert (await people.move(ticket, people.owner, "open")).status_code == 200
    await people.move(ticket, people.owner, "closed")
    again = await people.move(ticket, people.owner, "open")
    path = f"{TICKETS}/{ticket['id']}/replies"
    reply = await people.client.post(path, json={"content": "It is back"}, headers=people.owner)

    for response in (again, reply):
        assert (response.status_code, response.json()["code"]) == (409, "reopened_too_often")
    for status in ("open", "closed"):
        assert (await people.move(ticket, people.agent, status)).status_code == 200


async def test_only_an_untouched_ticket_can_be_deleted_and_only_by_its_owner(people: People) -> None:
    ticket, answered = await people.open(), await people.open()
    path = f"{TICKETS}/{ticket['id']}"
    assert (await people.client.delete(path, headers=people.agent)).json()["code"] == "owner_only"
    assert (await people.client.delete(path, headers=people.stranger)).status_code == 404
    assert (await people.client.delete(path, headers={**people.owner, "If-Match": '"7"'})).status_code == 412
    assert (await people.client.delete(path, headers=people.owner)).status_code == 204
    assert (await people.client.get(path, headers=people.owner)).status_code == 404
    await people.reply(answered, people.agent, keep_status=True)
    locked = await people.client.delete(f"{TICKETS}/{answered['id']}", headers=people.owner)
    assert (locked.status_code, locked.json()["code"]) == (409, "ticket_locked")


async def test_tickets_are_assigned_to_active_staff_only(people: People) -> None:
    ticket = await people.open()
    path = f"{TICKETS}/{ticket['id']}/assign"
    for somebody in (new_id(), people.owner_id, SUSPENDED):
        response = await people.client.put(path, json={"assigned_to": somebody}, headers=people.agent)
        assert response.status_code == 422
        assert response.json()["errors"][0]["code"] == "not_staff"
    for who in (AGENT, ADMIN, None):
        response = await people.client.put(path, json={"assigned_to": who}, headers=people.agent)
        assert response.json()["assigned_to"] == who
    by_owner = await people.client.put(path, json={"assigned_to": AGENT}, headers=people.owner)
    assert (by_owner.status_code, by_owner.json()["code"]) == (403, "staff_only")


async def test_admins_decide_who_is_staff(people: People) -> None:
    path = f"/tickets/staff/{AGENT}"
    listed = await people.client.get("/tickets/staff", headers=people.agent)
    assert AGENT in [one["user_id"] for one in listed.json()]
    assert (await people.client.get("/tickets/staff", headers=people.owner)).status_code == 403
    assert (await people.client.put(path, headers=people.agent)).status_code == 403
    unknown = await people.client.put(f"/tickets/staff/{new_id()}", headers=people.admin)
    assert unknown.status_code == 404
    assert (await people.client.delete(path, headers=people.admin)).status_code == 204
    assert (await people.client.delete(path, headers=people.admin)).status_code == 404
    ticket = await people.open()
    assert (await people.client.get(f"{TICKETS}/{ticket['id']}", headers=people.agent)).status_code == 404


async def test_the_owner_rates_a_solved_ticket(people: People) -> None:
    ticket = await people.open()
    path = f"{TICKETS}/{ticket['id']}/rating"
    early = await people.client.put(path, json={"rating": 5}, headers=people.owner)
    assert (early.status_code, early.json()["code"]) == (409, "not_solved")
    await people.move(ticket, people.agent, "resolved")
    by_agent = await people.client.put(path, json={"rating": 5}, headers=people.agent)
    assert by_agent.json()["code"] == "owner_only"
    for wrong in (0, 6, 2.5, "5"):
        bad = await people.client.put(path, json={"rating": wrong}, headers=people.owner)
        assert bad.status_code == 422
    rated = await people.client.put(path, json={"rating": 4}, headers=people.owner)
    assert rated.json()["satisfaction"] == 4


async def test_files_are_attached_only_by_those_who_may_see_them(people: People) -> None:
    mine, foreign = new_file(people.owner_id), new_file(people.stranger_id)
    ticket = await people.open(attachments=[mine])
    assert ticket["attachments"] == [
        {"file_id": mine, "name": "crack.jpg", "size": 3, "mime_type": "image/jpeg"}
    ]
    body = {**TEXT, "attachments": [mine, foreign]}
    refused = await people.client.post(TICKETS, json=body, headers=people.owner)
    assert refused.status_code == 422
    assert [(one["field"], one["code"]) for one in refused.json()["errors"]] == [
        ("attachments.1", "unknown_file")
    ]
    reply = await people.reply(ticket, people.owner, attachments=[mine])
    assert [one["file_id"] for one in reply["attachments"]] == [mine]
    listed = await people.client.get(f"{TICKETS}/{ticket['id']}/replies", headers=people.agent)
    assert listed.json() == [reply]
    assert (await people.show(ticket))["attachments"] == ticket["attachments"]


async def test_a_repeated_request_gets_its_response_although_a_file_was_deleted(people: People) -> None:
    ticket, key = await people.open(), {**people.owner, "Idempotency-Key": "once"}
    for path, body in ((TICKETS, TEXT), (f"{TICKETS}/{ticket['id']}/replies", {"content": "Here it is"})):
        mine = new_file(people.owner_id)
        sent = {**body, "attachments": [mine]}
        first = await people.client.post(path, json=sent, headers=key)
        del FILES[mine]
        again = await people.client.post(path, json=sent, headers=key)
        assert (first.status_code, again.status_code) == (201, 201)
        assert again.json() == first.json()
        fresh = await people.client.post(path, json=sent, headers=people.owner)
        assert (fresh.status_code, fresh.json()["errors"][0]["code"]) == (422, "unknown_file")


async def test_a_file_named_twice_is_attached_once(people: People) -> None:
    mine = new_file(people.owner_id)
    ticket = await people.open(attachments=[mine, mine])
    assert [one["file_id"] for one in ticket["attachments"]] == [mine]


async def test_all_files_together_have_one_deadline(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "FILES_SECONDS", 0)
    body = {**TEXT, "attachments": [new_file(people.owner_id)]}
    response = await people.client.post(TICKETS, json=body, headers=people.owner)
    assert response.status_code == 503


async def test_a_limited_token_needs_the_scope_of_files_to_attach_one(people: People) -> None:
    body = {**TEXT, "attachments": [new_file(people.owner_id)]}
    for scope, status in (("support:write", 403), ("support:write files:read", 201), ("support:read", 403)):
        headers = bearer(token(people.owner_id, scope=scope))
        assert (await people.client.post(TICKETS, json=body, headers=headers)).status_code == status


async def test_an_account_has_a_limited_number_of_tickets(settings: Settings, database_url: str) -> None:
    few = settings.model_copy(update={"open_tickets_max": 2, "tickets_daily": 3})
    async with running(create_app, few) as client:
        people = People(client)
        first = await people.open()
        await people.open()
        full = await client.post(TICKETS, json=TEXT, headers=people.owner)
        assert (full.status_code, full.json()["code"]) == (409, "too_many_open_tickets")
        await people.move(first, people.owner, "closed")
        third = await people.open()
        await people.move(third, people.owner, "closed")
        daily = await client.post(TICKETS, json=TEXT, headers=people.owner)
        assert daily.status_code == 429
        assert 0 < int(daily.headers["retry-after"]) <= 86_400
    numbers = [one.data["number"] for one in events(database_url, EVENTS) if one.topic == "ticket.opened"]
    assert [int(number.split("-")[1]) for number in numbers] == [1, 2, 3]


async def test_stats_are_for_staff(people: People) -> None:
    ticket = await people.open(priority="urgent")
    await people.open()
    await people.reply(ticket, people.agent)
    await people.move(ticket, people.owner, "resolved")
    await people.client.put(f"{TICKETS}/{ticket['id']}/rating", json={"rating": 5}, headers=people.owner)
    response = await people.client.get("/tickets/stats", headers=people.agent)

    assert response.status_code == 200, response.text
    stats = response.json()
    assert stats["unsolved"] == {"open": {"medium": 1}, "in_progress": {}, "waiting": {}}
    assert (stats["unassigned"], stats["overdue"], stats["sample"]) == (1, 0, 2)
    assert (stats["satisfaction_count"], stats["satisfaction_sum"]) == (1, 5)
    assert stats["median_first_reply_seconds"] >= 0
    for who in (people.owner, people.stranger):
        assert (await people.client.get("/tickets/stats", headers=who)).status_code == 403
