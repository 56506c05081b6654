"""Limits of what an account creates: deleting, changing or reopening does not get around them."""

from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import select

from services.support import daily, duties
from services.support.app import create_app
from services.support.models import DAILY
from services.support.settings import Settings
from shared.clock import now
from shared.data.database import Database
from shared.ids import new_id
from shared.testing import running
from tests.support.people import TEXT, TICKETS, People
from tests.support.test_events import delete_account
from tests.support.test_reviews import REVIEWS, approved, buyer, decide, write
from tests.support.test_reviews import TEXT as REVIEW

LIMIT = 3


@pytest.fixture
async def few(settings: Settings) -> AsyncIterator[People]:
    limits = {"tickets_daily": LIMIT, "reviews_daily": LIMIT, "open_tickets_max": 1}
    async with running(create_app, settings.model_copy(update=limits)) as client:
        people = People(client)
        await people.hire()
        yield people


def later(monkeypatch: pytest.MonkeyPatch) -> None:
    tomorrow = now() + timedelta(days=1)
    monkeypatch.setattr(daily, "now", lambda: tomorrow)


async def test_deleted_tickets_count(few: People, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(LIMIT):
        ticket = await few.open()
        response = await few.client.delete(f"{TICKETS}/{ticket['id']}", headers=few.owner)
        assert response.status_code == 204
    assert (await few.client.post(TICKETS, json=TEXT, headers=few.owner)).status_code == 429
    assert (await few.client.post(TICKETS, json=TEXT, headers=few.stranger)).status_code == 201
    later(monkeypatch)
    await few.open()


async def test_deleted_reviews_count(few: People) -> None:
    product = new_id()
    _, author = buyer(product)
    for _ in range(LIMIT):
        review = await write(few, author, product)
        await few.client.delete(f"{REVIEWS}/{review['id']}", headers=author)
    body = {"resource_type": "product", "resource_id": product, **REVIEW}
    assert (await few.client.post(REVIEWS, json=body, headers=author)).status_code == 429


async def test_changes_that_let_a_review_wait_again_count(few: People) -> None:
    product = new_id()
    _, author = buyer(product)
    review = await approved(few, author, product)
    path = f"{REVIEWS}/{review['id']}"
    for _ in range(LIMIT - 1):
        for _ in range(LIMIT):  # only the first one lets it wait again
            changed = await few.client.put(path, json=REVIEW, headers=author)
            assert changed.status_code == 200, changed.text
        await decide(few, changed.json(), "approved")
    assert (await few.client.put(path, json=REVIEW, headers=author)).status_code == 429
    assert (await few.client.get(path)).json()["status"] == "approved"


async def test_an_owner_reopens_no_more_tickets_than_they_may_have(few: People) -> None:
    closed = await few.open()
    await few.move(closed, few.owner, "closed")
    await few.open()
    again = await few.move(closed, few.owner, "open")
    path = f"{TICKETS}/{closed['id']}/replies"
    reply = await few.client.post(path, json={"content": "It is back"}, headers=few.owner)

    for response in (again, reply):
        assert (response.status_code, response.json()["code"]) == (409, "too_many_open_tickets")
    assert (await few.move(closed, few.agent, "open")).status_code == 200


async def test_reopened_tickets_count(few: People) -> None:
    ticket = await few.open()
    answers: list[httpx.Response] = []
    for _ in range(LIMIT):
        await few.move(ticket, few.owner, "closed")
        answers.append(await few.move(ticket, few.owner, "open"))

    assert [one.status_code for one in answers] == [200] * (LIMIT - 1) + [429]


async def test_old_counts_and_those_of_deleted_accounts_are_deleted(
    few: People, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await few.open()
    await few.client.post(TICKETS, json=TEXT, headers=few.stranger)
    await delete_account(few.client, few.stranger_id)
    with closing(Database(database_url, pool_size=1)) as database:
        assert duties.tidy_counts(database) == 0
        with database.transaction(write=False) as session:
            counted = session.connection().execute(select(DAILY.c.user_id)).scalars().all()
        assert counted == [few.owner_id]
        later(monkeypatch)
        assert [duties.tidy_counts(database) for _ in range(2)] == [1, 0]
