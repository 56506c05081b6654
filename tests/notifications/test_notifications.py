"""The endpoints of one's own notifications."""

from typing import Any

import httpx
import pytest

from services.notifications import notices, schemas
from shared.ids import new_id
from tests.notifications.support import ADMIN, person, placed, stepped, tell

MANY = 3
UNKNOWN = "0198c0de-5f00-7a10-8000-3f2b8c1de04a"


async def stored(client: httpx.AsyncClient, user_id: str, headers: dict[str, str]) -> list[dict[str, Any]]:
    """Store MANY notifications for a person, of two types; return them newest first."""
    await tell(client, *(placed(user_id) for _ in range(MANY - 1)), stepped(user_id, "pending", "cancelled"))
    found: list[dict[str, Any]] = (await client.get("/notifications", headers=headers)).json()
    assert len(found) == MANY
    return found


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/notifications"),
        ("POST", "/notifications"),
        ("GET", "/notifications/unread/count"),
        ("GET", "/notifications/stream"),
        ("PUT", "/notifications/read-all"),
        ("GET", "/notifications/preferences"),
        ("PUT", "/notifications/preferences"),
        ("GET", f"/notifications/{UNKNOWN}"),
        ("DELETE", f"/notifications/{UNKNOWN}"),
        ("PUT", f"/notifications/{UNKNOWN}/read"),
    ],
)
async def test_request_without_token_is_rejected_with_401(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    assert (await client.request(method, path)).status_code == 401


async def test_notifications_are_listed_newest_first_in_pages_and_by_filters(
    client: httpx.AsyncClient,
) -> None:
    me, mine = person()
    newest, *older = await stored(client, me, mine)
    await tell(client, placed(new_id()))
    await client.put(f"/notifications/{newest['id']}/read", headers=mine)

    async def ids(query: str) -> list[str]:
        answer = await client.get(f"/notifications{query}", headers=mine)
        assert answer.status_code == 200, answer.text
        return [one["id"] for one in answer.json()]

    first = await client.get("/notifications?limit=2", headers=mine)
    rest = await client.get(f"/notifications{first.links['next']['url']}", headers=mine)
    assert [one["id"] for one in [*first.json(), *rest.json()]] == [
        newest["id"],
        *(one["id"] for one in older),
    ]
    assert await ids("?unread=true") == [one["id"] for one in older]
    assert await ids("?unread=false") == [newest["id"]]
    assert await ids("?type=order.changed") == [newest["id"]]
    assert await ids("?type=order.changed&unread=true") == []
    for wrong in ("?unread=maybe", "?type=nothing", "?cursor=x", "?limit=0", "?page=2"):
        assert (await client.get(f"/notifications{wrong}", headers=mine)).status_code == 422


async def test_notification_has_the_field_names_of_both_kinds_of_older_clients(
    client: httpx.AsyncClient,
) -> None:
    me, mine = person()
    step = stepped(me, "confirmed", "shipped")
    await tell(client, step)
    (shown,) = (await client.get("/notifications", headers=mine)).json()

    assert (await client.get(f"/notifications/{shown['id']}", headers=mine)).json() == shown
    assert shown["title"] == "Your order is on its way"
    assert shown["content"] == "Laptop, quantity 2: confirmed → shipped."
    assert shown["data"] == {"order_id": step.order_id, "status": "shipped"}
    assert shown["type"] == shown["event_type"] == "order.changed"
    assert (shown["severity"], shown["is_read"], shown["read"], shown["read_at"]) == (
        "info",
        False,
        False,
        None,
    )


async def test_read_and_deleted_notifications_no_longer_count_as_unread(client: httpx.AsyncClient) -> None:
    me, mine = person()
    first, second, _ = await stored(client, me, mine)

    async def unread() -> int:
        count: int = (await client.get("/notifications/unread/count", headers=mine)).json()["count"]
        return count

    assert await unread() == MANY
    read = (await client.put(f"/notifications/{first['id']}/read", headers=mine)).json()
    again = (await client.put(f"/notifications/{first['id']}/read", headers=mine)).json()
    assert (read["is_read"], read["read"]) == (True, True)
    assert again == read, "only the first reading counts"
    assert await unread() == MANY - 1
    assert (await client.delete(f"/notifications/{second['id']}", headers=mine)).status_code == 204
    assert (await client.get(f"/notifications/{second['id']}", headers=mine)).status_code == 404
    assert await unread() == MANY - 2
    marked = (await client.put("/notifications/read-all", headers=mine)).json()
    assert marked == {"marked": MANY - 2, "count": 0, "is_more": False}


async def test_marking_all_is_bounded_and_says_what_is_left(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "MARKED_AT_ONCE", 1)
    monkeypatch.setattr(notices, "UNREAD_COUNTED_MAX", 1)
    monkeypatch.setattr(schemas, "UNREAD_COUNTED_MAX", 1)
    me, mine = person()
    *_, oldest = await stored(client, me, mine)
    answers = [(await client.put("/notifications/read-all", headers=mine)).json() for _ in range(MANY)]

    assert [one["marked"] for one in answers] == [1, 1, 1]
    assert [(one["count"], one["is_more"]) for one in answers] == [(1, True), (1, False), (0, False)]
    read = (await client.get("/notifications", headers=mine)).json()
    assert min(read, key=lambda one: one["read_at"])["id"] == oldest["id"]


@pytest.mark.parametrize(("method", "tail"), [("GET", ""), ("DELETE", ""), ("PUT", "/read")])
async def test_notification_of_another_account_is_404_even_for_admins(
    client: httpx.AsyncClient, method: str, tail: str
) -> None:
    me, mine = person()
    await tell(client, placed(me))
    (shown,) = (await client.get("/notifications", headers=mine)).json()
    for headers in (person()[1], ADMIN):
        refused = await client.request(method, f"/notifications/{shown['id']}{tail}", headers=headers)
        assert refused.status_code == 404
    unknown = await client.request(method, f"/notifications/{new_id()}{tail}", headers=mine)
    malformed = await client.request(method, f"/notifications/7{tail}", headers=mine)

    assert (unknown.status_code, malformed.status_code) == (404, 422)
    assert (await client.get(f"/notifications/{shown['id']}", headers=mine)).json() == shown
