"""The older form of tickets and reviews: every operation, its named objects, pages by number."""

from typing import Any

import httpx
import pytest

from shared.ids import new_id
from shared.lists import numbered
from tests.support.peers import AGENT
from tests.support.people import TEXT, People
from tests.support.test_reviews import TEXT as REVIEW
from tests.support.test_reviews import approved, buyer

PRODUCT = "0198c0de-5f00-7a10-8000-3f2b8c1de04a"
TICKETS, REVIEWS = "/classic/tickets", "/classic/reviews"
TICKET_FIELDS = {
    *("id", "user_id", "subject", "description", "status", "priority", "category", "assigned_to"),
    *("resolved_at", "closed_at", "created_at", "updated_at", "reply_count"),
}
REPLY_FIELDS = {
    *("id", "ticket_id", "user_id", "is_staff", "content", "created_at", "updated_at", "deleted_at"),
}
REVIEW_FIELDS = {
    *("id", "resource_type", "resource_id", "user_id", "rating", "title", "content", "status"),
    *("created_at", "updated_at"),
}


async def send(
    people: People, method: str, path: str, who: dict[str, str], body: Any = None, status: int = 200
) -> Any:
    response = await people.client.request(method, path, json=body, headers=who)
    assert response.status_code == status, response.text
    return response.json()


async def create(people: People, **fields: Any) -> dict[str, Any]:
    body = {**TEXT, "priority": "high", **fields}
    found = await send(people, "POST", TICKETS, people.owner, body, 201)
    assert found.keys() == {"ticket"}
    ticket: dict[str, Any] = found["ticket"]
    return ticket


async def test_an_empty_category_is_none_even_when_a_ticket_is_changed(people: People) -> None:
    ticket = await create(people, category="delivery")
    changed = await send(people, "PUT", f"{TICKETS}/{ticket['id']}", people.owner, {"category": ""})
    assert changed["ticket"]["category"] is None


async def test_the_last_page_is_cut_at_the_last_row(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbered, "ROWS_MAX", 3)
    made = [(await create(people))["id"] for _ in range(4)]
    last = await send(people, "GET", f"{TICKETS}/my?page=2&limit=2", people.owner)
    assert [one["id"] for one in last["tickets"]] == [made[1]]
    assert (last["total"], last["total_pages"]) == (3, 2)
    await send(people, "GET", f"{TICKETS}/my?page=3&limit=2", people.owner, status=422)


async def test_a_ticket_is_created_shown_changed_and_deleted(people: People) -> None:
    ticket = await create(people, category="")
    assert ticket.keys() == TICKET_FIELDS
    assert (ticket["priority"], ticket["category"], ticket["reply_count"]) == ("high", None, 0)
    path = f"{TICKETS}/{ticket['id']}"
    assert await send(people, "GET", path, people.owner) == {"ticket": ticket, "replies": []}
    changed = await send(people, "PUT", path, people.owner, {"priority": "low"})
    assert changed["ticket"]["priority"] == "low"
    assert await send(people, "DELETE", path, people.owner) == {}
    await send(people, "GET", path, people.owner, status=404)


async def test_a_ticket_needs_a_priority(people: People) -> None:
    refused = await send(people, "POST", TICKETS, people.owner, TEXT, 422)
    assert [one["field"] for one in refused["errors"]] == ["priority"]


async def test_strangers_find_no_ticket_and_staff_changes_none_of_its_text(people: People) -> None:
    path = f"{TICKETS}/{(await create(people))['id']}"
    for method, body in (("GET", None), ("PUT", {"priority": "low"}), ("DELETE", None)):
        await send(people, method, path, people.stranger, body, 404)
    await send(people, "PUT", path, people.agent, {"subject": "Something else"}, 403)
    await send(people, "DELETE", path, people.agent, status=403)
    await send(people, "PUT", f"{path}/status", people.owner, {"status": "closed"}, 403)
    await send(people, "PUT", f"{path}/assign", people.owner, {"assigned_to": AGENT}, 403)
    await send(people, "GET", TICKETS, people.owner, status=403)
    await send(people, "GET", TICKETS, {}, status=401)


async def test_replies_are_named_and_internal_notes_are_left_out(people: People) -> None:
    ticket = await create(people)
    path = f"{TICKETS}/{ticket['id']}"
    first = await send(people, "POST", f"{path}/replies", people.agent, {"content": "One"}, 201)
    assert first["reply"].keys() == REPLY_FIELDS
    assert first["reply"]["is_staff"]
    await people.reply(ticket, people.agent, "zebra", internal=True)
    second = await send(people, "POST", f"{path}/replies", people.owner, {"content": "Two"}, 201)
    for who in (people.owner, people.agent, people.admin):
        shown = await send(people, "GET", path, who)
        assert shown["replies"] == [first["reply"], second["reply"]]
        assert shown["ticket"]["reply_count"] == 2
    await send(people, "POST", f"{path}/replies", people.owner, {"content": "x", "internal": True}, 422)


async def test_staff_set_the_status_and_assign(people: People) -> None:
    path = f"{TICKETS}/{(await create(people))['id']}"
    resolved = await send(people, "PUT", f"{path}/status", people.agent, {"status": "resolved"})
    assert resolved["ticket"]["resolved_at"] is not None
    closed = await send(people, "PUT", f"{path}/status", people.admin, {"status": "closed"})
    assert closed["ticket"]["closed_at"] is not None
    assigned = await send(people, "PUT", f"{path}/assign", people.admin, {"assigned_to": AGENT})
    assert assigned["ticket"]["assigned_to"] == AGENT
    await send(people, "PUT", f"{path}/assign", people.admin, {"assigned_to": new_id()}, 422)
    await send(people, "PUT", f"{path}/status", people.admin, {"status": "waiting"}, 422)
    await send(people, "PUT", f"{path}/status", people.admin, {"status": "in_progress"}, 409)


async def test_pages_have_numbers_and_totals(people: People) -> None:
    made = [await create(people) for _ in range(5)]
    newest = [one["id"] for one in reversed(made)]
    for path, who in ((f"{TICKETS}/my", people.owner), (TICKETS, people.agent)):
        found = await send(people, "GET", f"{path}?page=2&limit=2", who)
        assert found.keys() == {"tickets", "total", "page", "limit", "total_pages"}
        assert [one["id"] for one in found["tickets"]] == newest[2:4]
        assert (found["total"], found["page"], found["limit"], found["total_pages"]) == (5, 2, 2, 3)
        assert (await send(people, "GET", f"{path}?page=9", who))["tickets"] == []
        assert (await send(people, "GET", path, who))["limit"] == 20
        for query in ("page=0", "limit=0", "limit=101", "page=501", "status=waiting", "page=x"):
            await send(people, "GET", f"{path}?{query}", who, status=422)
    mine = await send(people, "GET", f"{TICKETS}/my", people.stranger)
    assert (mine["tickets"], mine["total"], mine["total_pages"]) == ([], 0, 0)


async def test_a_waiting_ticket_is_in_progress_here(people: People) -> None:
    plain, waiting, working = [await create(people) for _ in range(3)]
    await people.reply(waiting, people.agent)
    await people.move(working, people.agent, "in_progress")
    for path, who in ((f"{TICKETS}/my", people.owner), (TICKETS, people.agent)):
        found = await send(people, "GET", f"{path}?status=in_progress", who)
        assert [one["id"] for one in found["tickets"]] == [working["id"], waiting["id"]]
        assert {one["status"] for one in found["tickets"]} == {"in_progress"}
        assert found["total"] == 2
        still_open = await send(people, "GET", f"{path}?status=open", who)
        assert [one["id"] for one in still_open["tickets"]] == [plain["id"]]
    urgent = await send(people, "GET", f"{TICKETS}?priority=urgent", people.agent)
    assert urgent["total"] == 0
    high = await send(people, "GET", f"{TICKETS}?priority=high&status=open", people.agent)
    assert high["total"] == 1


async def test_a_review_is_written_shown_changed_and_deleted(people: People) -> None:
    product = new_id()
    _, author = buyer(product)
    body = {"resource_type": "product", "resource_id": product, **REVIEW}
    await send(people, "POST", REVIEWS, people.stranger, body, 403)
    review = await send(people, "POST", REVIEWS, author, body, 201)
    assert review.keys() == REVIEW_FIELDS
    assert review["status"] == "pending"
    path = f"{REVIEWS}/{review['id']}"
    await send(people, "GET", path, {}, status=404)
    await send(people, "GET", path, people.stranger, status=404)
    assert await send(people, "GET", path, author) == review
    await send(people, "PUT", path, people.stranger, REVIEW, 404)
    changed = await send(people, "PUT", path, author, {**REVIEW, "rating": 2})
    assert changed["rating"] == 2
    await send(people, "DELETE", path, people.stranger, status=404)
    assert await send(people, "DELETE", path, author) == {}
    await send(people, "GET", path, author, status=404)


async def test_reviews_of_a_product_come_with_its_average(people: People) -> None:
    product = new_id()
    path = f"{REVIEWS}?resource_type=product&resource_id={product}"
    empty = await send(people, "GET", path, {})
    assert (empty["reviews"], empty["total"], empty["average_rating"]) == ([], 0, 0)
    for stars in (5, 4, 4):
        await approved(people, buyer(product)[1], product, rating=stars)
    found = await send(people, "GET", f"{path}&limit=2", {})
    assert found.keys() == {"reviews", "average_rating", "total", "page", "limit", "total_pages"}
    assert [one["rating"] for one in found["reviews"]] == [4, 4]
    assert (found["total"], found["total_pages"], found["average_rating"]) == (3, 2, 4.333)


@pytest.mark.parametrize("query", ["", "?resource_type=product", f"?resource_id={PRODUCT}"])
async def test_reviews_are_listed_by_product_only(client: httpx.AsyncClient, query: str) -> None:
    assert (await client.get(f"{REVIEWS}{query}")).status_code == 422
