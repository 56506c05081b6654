"""Reviews: who may write and see them, moderation, votes, reports, and exact ratings."""

import asyncio
import random
from typing import Any

import httpx
import pytest

from services.support.app import create_app
from services.support.models import EVENTS
from services.support.settings import Settings
from services.support.states import REVIEW_STEPS, ReviewStatus
from shared.ids import new_id
from shared.testing import bearer, running, token
from tests.support.peers import BOUGHT
from tests.support.people import People
from tests.support.test_events import delete_account
from tests.told import events

REVIEWS = "/reviews"
TEXT = {"rating": 4, "title": "Light and quiet", "content": "I use it every day."}


def buyer(product: str) -> tuple[str, dict[str, str]]:
    person = new_id()
    BOUGHT.add((person, product))
    return person, bearer(token(person))


async def write(people: People, who: dict[str, str], product: str, **fields: Any) -> dict[str, Any]:
    body = {"resource_type": "product", "resource_id": product, **TEXT, **fields}
    response = await people.client.post(REVIEWS, json=body, headers=who)
    assert response.status_code == 201, response.text
    found: dict[str, Any] = response.json()
    return found


async def decide(
    people: People, review: dict[str, Any], status: str, who: dict[str, str] | None = None
) -> httpx.Response:
    headers = {**(who or people.agent), "If-Match": f'"{review["version"]}"'}
    body = {"status": status, "reason": "Because"}
    return await people.client.put(f"{REVIEWS}/{review['id']}/moderate", json=body, headers=headers)


async def approved(people: People, who: dict[str, str], product: str, **fields: Any) -> dict[str, Any]:
    response = await decide(people, await write(people, who, product, **fields), "approved")
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def rating(people: People, product: str) -> dict[str, Any]:
    found: dict[str, Any] = (await people.client.get(f"{REVIEWS}/ratings/{product}")).json()
    return found


async def test_only_buyers_review_a_product_and_only_once(people: People) -> None:
    product = new_id()
    _, who = buyer(product)
    body = {"resource_type": "product", "resource_id": product, **TEXT}
    refused = await people.client.post(REVIEWS, json=body, headers=people.stranger)
    assert (refused.status_code, refused.json()["code"]) == (403, "not_bought")
    assert (await people.client.post(REVIEWS, json=body)).status_code == 401
    review = await write(people, who, product)
    assert (review["status"], review["rating"]) == ("pending", 4)
    again = await people.client.post(REVIEWS, json=body, headers=who)
    assert (again.status_code, again.json()["code"]) == (409, "already_reviewed")


async def test_a_limited_token_needs_the_scope_of_orders_to_review(people: People) -> None:
    product = new_id()
    person, _ = buyer(product)
    body = {"resource_type": "product", "resource_id": product, **TEXT}
    for scope, status in (("support:write", 403), ("support:write orders:read", 201)):
        headers = bearer(token(person, scope=scope))
        assert (await people.client.post(REVIEWS, json=body, headers=headers)).status_code == status


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"rating": 0}, "rating"),
        ({"rating": 6}, "rating"),
        ({"rating": 4.5}, "rating"),
        ({"title": ""}, "title"),
        ({"content": "x" * 5001}, "content"),
        ({"resource_id": "x" * 101}, "resource_id"),
        ({"resource_type": "A shop"}, "resource_type"),
        ({"status": "approved"}, "status"),
    ],
)
async def test_a_bad_field_is_named(people: People, fields: dict[str, Any], field: str) -> None:
    body = {"resource_type": "product", "resource_id": new_id(), **TEXT, **fields}
    response = await people.client.post(REVIEWS, json=body, headers=people.owner)

    assert response.status_code == 422
    assert [one["field"] for one in response.json()["errors"]] == [field]


async def test_other_things_are_reviewed_without_buying_them_and_have_ratings_of_their_own(
    people: People,
) -> None:
    product, long_id = new_id(), f"a course/{'x' * 91}"
    _, who = buyer(product)
    await approved(people, who, product, rating=1)
    await approved(people, people.stranger, product, resource_type="course", rating=5)
    await approved(people, people.stranger, long_id, resource_type="course", rating=2)
    body = {"resource_type": "course", "resource_id": product, **TEXT}
    again = await people.client.post(REVIEWS, json=body, headers=people.stranger)
    courses = (await people.client.get(f"{REVIEWS}?resource_type=course")).json()
    query = {"resource_type": "course", "resource_id": long_id}
    listed = await people.client.get(REVIEWS, params=query)
    old = await people.client.get("/classic/reviews", params=query)
    of_product, of_course = (
        await rating(people, product),
        await rating(people, f"{product}?resource_type=course"),
    )
    no_product = {**body, "resource_type": "product", "resource_id": "../../orders"}
    refused = await people.client.post(REVIEWS, json=no_product, headers=people.stranger)

    assert (again.status_code, again.json()["code"]) == (409, "already_reviewed")
    assert [one["resource_id"] for one in courses] == [long_id, product]
    assert [one["rating"] for one in listed.json()] == [2]
    assert listed.headers["page-extras"] == "total=1, rating_sum=2, average_rating=2.000"
    assert [one["resource_id"] for one in old.json()["reviews"]] == [long_id]
    assert (of_product["sum"], of_course["sum"]) == (1, 5)
    assert (refused.status_code, refused.json()["code"]) == (403, "not_bought")


async def test_operators_choose_what_is_reviewed_and_whether_moderators_come_first(
    settings: Settings,
) -> None:
    chosen = settings.model_copy(update={"review_types": "product,course", "reviews_auto_approve": True})
    async with running(create_app, chosen) as client:
        people = People(client)
        await people.hire()
        body = {"resource_type": "shop", "resource_id": "1", **TEXT}
        refused = await client.post(REVIEWS, json=body, headers=people.stranger)
        review = await write(people, people.stranger, "1", resource_type="course")
        path = f"{REVIEWS}/{review['id']}"
        changed = await client.put(path, json={**TEXT, "rating": 1}, headers=people.stranger)
        hidden = await decide(people, changed.json(), "hidden")
        deletions = [await client.delete(path, headers=people.stranger)]
        later = await client.put(path, json=TEXT, headers=people.stranger)
        deletions.append(await client.delete(path, headers=people.stranger))
        deletions.append(await client.delete(f"/classic/reviews/{review['id']}", headers=people.stranger))
        other = await write(people, people.owner, "1", resource_type="course")
        deleted = await client.delete(f"{REVIEWS}/{other['id']}", headers=people.owner)
        kept = (await client.get(path, headers=people.agent)).status_code
        await delete_account(client, review["user_id"])

        codes = [(one.status_code, one.json().get("code")) for one in deletions]
        assert codes == 3 * [(409, "review_locked")], "it would be published once it is written again"
        assert (deleted.status_code, kept) == (204, 200)
        assert (await client.get(path, headers=people.agent)).status_code == 404, "the account was deleted"
        assert [one["field"] for one in refused.json()["errors"]] == ["resource_type"]
        assert refused.status_code == 422
        assert (review["status"], changed.json()["status"]) == ("approved", "approved")
        assert (hidden.status_code, later.json()["status"]) == (200, "pending"), "a moderator had hidden it"
        assert (await rating(people, "1?resource_type=course"))["count"] == 0


@pytest.mark.parametrize("state", ["pending", "rejected", "hidden"])
async def test_only_author_and_staff_see_a_review_that_is_not_approved(people: People, state: str) -> None:
    product = new_id()
    person, author = buyer(product)
    review = await write(people, author, product, title="Zebra")
    if state == "hidden":
        review = (await decide(people, review, "approved")).json()
    if state != "pending":
        review = (await decide(people, review, state)).json()
    paths = [f"{REVIEWS}/{review['id']}", f"{REVIEWS}?resource_id={product}", REVIEWS, f"{REVIEWS}/my"]
    for who in (people.stranger, people.owner, {}):
        answers = [await people.client.get(path, headers=who) for path in paths]
        assert [one.status_code for one in answers] == [404, 200, 200, 200 if who else 401]
        assert not any("Zebra" in one.text for one in answers)
        assert answers[1].headers["page-extras"] == "total=0, rating_sum=0"
    assert (await rating(people, product))["count"] == 0
    for who in (author, people.agent, people.admin):
        seen = (await people.client.get(paths[0], headers=who)).json()
        assert seen["status"] == state
        assert seen["reason"] == (None if state == "pending" else "Because")
        assert (seen["report_count"] is None) == (who is author)
        assert (await people.client.get(paths[1], headers=who)).json() == []
    assert [one["id"] for one in (await people.client.get(paths[3], headers=author)).json()] == [review["id"]]
    queue = await people.client.get(f"{REVIEWS}/moderation?status={state}", headers=people.agent)
    assert review["id"] in [one["id"] for one in queue.json()]
    assert (await people.client.get(f"{REVIEWS}/moderation", headers=author)).json()["code"] == "staff_only"
    narrow = bearer(token(person, scope="support:read"))
    assert (await people.client.get(paths[0], headers=narrow)).status_code == 200


async def test_an_approved_review_is_public_without_its_reason_and_reports(people: People) -> None:
    product = new_id()
    _, author = buyer(product)
    review = await approved(people, author, product)
    for who in ({}, people.stranger):
        seen = (await people.client.get(f"{REVIEWS}/{review['id']}", headers=who)).json()
        assert (seen["status"], seen["reason"], seen["report_count"]) == ("approved", None, None)
        listed = await people.client.get(f"{REVIEWS}?resource_id={product}", headers=who)
        assert listed.json() == [seen]
        assert listed.headers["page-extras"] == "total=1, rating_sum=4, average_rating=4.000"


@pytest.mark.parametrize("before", ReviewStatus)
async def test_only_the_decisions_of_the_table_can_be_made(people: People, before: ReviewStatus) -> None:
    way = {
        "pending": [],
        "approved": ["approved"],
        "rejected": ["rejected"],
        "hidden": ["approved", "hidden"],
    }
    for to in ReviewStatus:
        product = new_id()
        review = await write(people, buyer(product)[1], product)
        for step in way[before]:
            review = (await decide(people, review, step)).json()
        response = await decide(people, review, to)
        if to in REVIEW_STEPS[before]:
            assert response.json()["status"] == to
        else:
            assert response.status_code == 409
            assert response.json()["allowed"] == list(REVIEW_STEPS[before])


async def test_of_two_moderators_with_one_review_one_gets_412(people: People) -> None:
    product = new_id()
    review = await write(people, buyer(product)[1], product)
    both = await asyncio.gather(
        decide(people, review, "approved", people.agent),
        decide(people, review, "rejected", people.other_agent),
    )

    assert sorted(one.status_code for one in both) == [200, 412]
    path = f"{REVIEWS}/{review['id']}/moderate"
    for headers in ({}, {"If-Match": "*"}):
        response = await people.client.put(
            path, json={"status": "approved"}, headers={**people.agent, **headers}
        )
        assert (response.status_code, response.json()["code"]) == (428, "if_match_required")
    by_author = await decide(people, review, "approved", people.stranger)
    assert by_author.status_code == 403


async def test_a_changed_review_waits_again_and_leaves_the_rating(people: People) -> None:
    product = new_id()
    _, author = buyer(product)
    review = await approved(people, author, product)
    path = f"{REVIEWS}/{review['id']}"
    stale = await people.client.put(path, json=TEXT, headers={**author, "If-Match": '"1"'})
    assert stale.status_code == 412
    assert (await people.client.put(path, json=TEXT, headers=people.stranger)).status_code == 404
    changed = await people.client.put(path, json={**TEXT, "rating": 1}, headers=author)
    assert (changed.json()["status"], changed.json()["rating"]) == ("pending", 1)
    assert (await rating(people, product))["count"] == 0
    await decide(people, changed.json(), "approved")
    assert (await rating(people, product))["stars"]["1"] == 1
    assert (await people.client.delete(path, headers=people.stranger)).status_code == 404
    assert (await people.client.delete(path, headers=author)).status_code == 204
    assert (await rating(people, product))["count"] == 0


async def test_each_person_votes_once_and_not_for_themselves(people: People) -> None:
    product = new_id()
    _, author = buyer(product)
    review = await approved(people, author, product)
    path = f"{REVIEWS}/{review['id']}/helpful"
    for who, count in ((people.owner, 1), (people.owner, 1), (people.stranger, 2)):
        response = await people.client.post(path, headers=who)
        assert response.json() == {"helpful_count": count}
    for count in (1, 1):
        response = await people.client.delete(path, headers=people.owner)
        assert response.json() == {"helpful_count": count}
    own = await people.client.post(path, headers=author)
    assert (own.status_code, own.json()["code"]) == (409, "own_review")
    await asyncio.gather(*(people.client.post(path, headers=people.owner) for _ in range(8)))
    seen = await people.client.get(f"{REVIEWS}/{review['id']}")
    assert (seen.json()["helpful_count"], seen.json()["version"]) == (2, review["version"])


async def test_enough_reports_hide_a_review_until_a_moderator_looks(
    people: People, settings: Settings
) -> None:
    product = new_id()
    _, author = buyer(product)
    review = await approved(people, author, product)
    path = f"{REVIEWS}/{review['id']}"
    crowd = [bearer(token()) for _ in range(settings.reports_hide)]
    for who in (crowd[0], *crowd[:-1]):  # the first one twice
        response = await people.client.post(f"{path}/report", json={"reason": "Rude"}, headers=who)
        assert response.status_code == 204
    assert (await people.client.get(path)).status_code == 200
    await people.client.post(f"{path}/report", json={"reason": "Rude"}, headers=crowd[-1])
    assert (await people.client.get(path)).status_code == 404
    assert (await rating(people, product))["count"] == 0
    hidden = (await people.client.get(path, headers=people.agent)).json()
    assert (hidden["status"], hidden["report_count"]) == ("hidden", settings.reports_hide)
    await decide(people, hidden, "approved")
    assert (await rating(people, product))["count"] == 1


async def report(people: People, review: dict[str, Any], who: dict[str, str], reason: str) -> None:
    path = f"{REVIEWS}/{review['id']}/report"
    response = await people.client.post(path, json={"reason": reason}, headers=who)
    assert response.status_code == 204, response.text


async def test_an_approval_settles_the_reports_before_it(people: People) -> None:
    product, old, new = new_id(), new_id(), new_id()
    review = await approved(people, buyer(product)[1], product)
    await report(people, review, bearer(token(old)), "Old")
    hidden = (await decide(people, review, "hidden")).json()
    again = (await decide(people, hidden, "approved")).json()
    assert again["report_count"] == 0
    await report(people, again, bearer(token(new)), "New")
    path = f"{REVIEWS}/{review['id']}"
    listed = await people.client.get(f"{path}/reports", headers=people.agent)
    assert [(one["user_id"], one["reason"], one["is_settled"]) for one in listed.json()] == [
        (new, "New", False),
        (old, "Old", True),
    ]
    await delete_account(people.client, old)
    seen = (await people.client.get(path, headers=people.agent)).json()
    assert seen["report_count"] == 1
    await delete_account(people.client, new)
    seen = (await people.client.get(path, headers=people.agent)).json()
    assert seen["report_count"] == 0
    refused = await people.client.get(f"{path}/reports", headers=people.stranger)
    assert (refused.status_code, refused.json()["code"]) == (403, "staff_only")
    unknown = await people.client.get(f"{REVIEWS}/{new_id()}/reports", headers=people.agent)
    assert unknown.status_code == 404


async def test_ratings_are_exact_after_any_sequence_of_changes(people: People) -> None:
    product, chance = new_id(), random.Random(7)
    written: dict[str, dict[str, Any]] = {}
    for _ in range(12):
        _, who = buyer(product)
        review = await write(people, who, product, rating=chance.randint(1, 5))
        written[review["id"]] = who
    for _ in range(60):
        review_id = chance.choice(list(written))
        review = (await people.client.get(f"{REVIEWS}/{review_id}", headers=people.agent)).json()
        if chance.random() < 0.3:
            body = {**TEXT, "rating": chance.randint(1, 5)}
            await people.client.put(f"{REVIEWS}/{review_id}", json=body, headers=written[review_id])
        else:
            await decide(people, review, chance.choice(list(ReviewStatus)))
    shown = (await people.client.get(f"{REVIEWS}?resource_id={product}")).json()
    stars = [one["rating"] for one in shown]
    seen = await rating(people, product)

    assert stars
    assert (seen["count"], seen["sum"]) == (len(stars), sum(stars))
    assert seen["stars"] == {str(number): stars.count(number) for number in range(1, 6)}


async def test_concurrent_decisions_keep_the_rating_exact(people: People) -> None:
    product = new_id()
    written = [await write(people, buyer(product)[1], product, rating=3) for _ in range(10)]
    await asyncio.gather(*(decide(people, one, "approved") for one in written))

    seen = await rating(people, product)
    assert (seen["count"], seen["sum"], seen["average"]) == (10, 30, "3.000")


async def test_the_average_is_a_decimal(people: People) -> None:
    product = new_id()
    for stars in (5, 4, 4):
        await approved(people, buyer(product)[1], product, rating=stars)

    assert (await rating(people, product))["average"] == "4.333"
    listed = await people.client.get(f"{REVIEWS}?resource_id={product}")
    assert listed.headers["page-extras"] == "total=3, rating_sum=13, average_rating=4.333"


async def test_events_of_reviews_hold_no_text(people: People, database_url: str) -> None:
    product = new_id()
    _, author = buyer(product)
    review = await approved(people, author, product)
    await people.client.delete(f"{REVIEWS}/{review['id']}", headers=author)
    told = [one for one in events(database_url, EVENTS) if one.topic != "staff.changed"]

    assert [one.topic for one in told] == ["review.written", "review.moderated", "review.deleted"]
    assert (told[1].data["status_before"], told[1].data["status"]) == ("pending", "approved")
    assert not any("quiet" in str(one.data) or "Because" in str(one.data) for one in told)


async def test_a_deleted_account_leaves_no_review_no_vote_and_exact_numbers(people: People) -> None:
    product = new_id()
    person, author = buyer(product)
    other_person, other = buyer(product)
    gone = await approved(people, author, product, rating=1)
    kept = await approved(people, other, product, rating=5)
    await people.client.post(f"{REVIEWS}/{kept['id']}/helpful", headers=author)
    await people.client.post(f"{REVIEWS}/{kept['id']}/report", json={"reason": "No"}, headers=author)
    await delete_account(people.client, person)

    assert (await people.client.get(f"{REVIEWS}/{gone['id']}", headers=people.agent)).status_code == 404
    left = (await people.client.get(f"{REVIEWS}/{kept['id']}", headers=people.agent)).json()
    assert (left["helpful_count"], left["report_count"], left["user_id"]) == (0, 0, other_person)
    seen = await rating(people, product)
    assert (seen["count"], seen["sum"]) == (1, 5)


async def test_an_account_writes_a_limited_number_of_reviews_a_day(settings: Settings) -> None:
    async with running(create_app, settings.model_copy(update={"reviews_daily": 1})) as client:
        people, products = People(client), [new_id(), new_id()]
        BOUGHT.update((people.owner_id, product) for product in products)
        await write(people, people.owner, products[0])
        body = {"resource_type": "product", "resource_id": products[1], **TEXT}
        response = await client.post(REVIEWS, json=body, headers=people.owner)
        assert response.status_code == 429
        assert 0 < int(response.headers["retry-after"]) <= 86_400


async def test_deleted_accounts_that_voted_for_each_other_are_forgotten_at_once(people: People) -> None:
    product = new_id()
    both = [buyer(product) for _ in range(2)]
    written = [await approved(people, who, product) for _, who in both]
    for (_, who), review in zip(both, reversed(written), strict=True):
        await people.client.post(f"{REVIEWS}/{review['id']}/helpful", headers=who)
    await asyncio.gather(*(delete_account(people.client, person) for person, _ in both))

    assert (await rating(people, product))["count"] == 0
    for review in written:
        response = await people.client.get(f"{REVIEWS}/{review['id']}", headers=people.agent)
        assert response.status_code == 404
