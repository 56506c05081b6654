"""Tags of tickets, which only staff set, see and search by."""

from tests.support.people import TICKETS, People


async def test_staff_tag_tickets_and_find_them(people: People) -> None:
    first, second = await people.open(), await people.open(subject="Another parcel", priority="urgent")
    for ticket, tags in ((first, ["vip", "delivery", "vip"]), (second, ["delivery"])):
        shown = await people.change(ticket, people.agent, tags=tags)
        assert shown.json()["tags"] == sorted(set(tags))

    assert await found(people, "tag=delivery") == [second["id"], first["id"]]
    assert await found(people, "tag=delivery&limit=1") == [second["id"]]
    assert await found(people, "tag=vip") == [first["id"]]
    assert await found(people, "tag=delivery&priority=urgent") == [second["id"]]
    assert await found(people, "tag=delivery&search=another") == [second["id"]]
    assert await found(people, "tag=none") == []

    await people.change(first, people.agent, tags=[])
    assert await found(people, "tag=vip") == []
    await people.move(second, people.agent, "closed")
    assert (await people.change(second, people.agent, tags=["done"])).status_code == 200
    assert (await people.change(second, people.agent, tags=["done"], priority="low")).status_code == 409


async def found(people: People, query: str) -> list[str]:
    response = await people.client.get(f"{TICKETS}?{query}", headers=people.agent)
    assert response.status_code == 200, response.text
    return [one["id"] for one in response.json()]


async def test_tags_are_not_for_the_owner(people: People) -> None:
    ticket = await people.open()
    await people.change(ticket, people.agent, tags=["difficult"])
    assert (await people.show(ticket))["tags"] is None
    refused = await people.change(ticket, people.owner, tags=["urgent"])
    assert (refused.status_code, refused.json()["code"]) == (403, "staff_only")
    refused = await people.client.get(f"{TICKETS}?tag=difficult", headers=people.owner)
    assert (refused.status_code, refused.json()["code"]) == (403, "staff_only")
    for tags in (["no spaces"], ["Capital"], ["x" * 31], [f"tag{n}" for n in range(21)]):
        assert (await people.change(ticket, people.agent, tags=tags)).status_code == 422
