"""Fifty concurrent requests through the gateway, on both databases."""

import asyncio

import httpx

from shared.ids import new_id
from tests.suite.accounts import LAPTOP, PASSWORD, register, sign_in_admin
from tests.suite.conftest import Suite

MANY = 50


async def test_concurrent_registrations_of_one_email_create_one_account(each_suite: Suite) -> None:
    body = {"email": f"{new_id()}@example.com", "password": PASSWORD}
    async with each_suite.client() as client:
        answers = await asyncio.gather(*[client.post("/auth/register", json=body) for _ in range(MANY)])
        admin = await sign_in_admin(client)
        found = await client.get("/users", params={"q": body["email"]}, headers=admin.headers)

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * (MANY - 1)
    assert len(found.json()) == 1


async def test_concurrent_posts_with_one_idempotency_key_create_one_order(each_suite: Suite) -> None:
    async with each_suite.client() as client:
        person = await register(client)
        headers = person.headers | {"Idempotency-Key": new_id()}
        answers = await asyncio.gather(
            *[client.post("/orders", json=LAPTOP, headers=headers) for _ in range(MANY)]
        )
        listed = (await client.get("/orders", headers=person.headers)).json()

    assert {answer.status_code for answer in answers} == {201}
    assert {answer.json()["id"] for answer in answers} == {order["id"] for order in listed}
    assert len(listed) == 1


async def test_concurrent_refreshes_of_one_token_do_not_fork_the_session(each_suite: Suite) -> None:
    async with each_suite.client() as client:
        person = await register(client)
        answers = await asyncio.gather(*[_refresh(client, person.refresh_token) for _ in range(MANY)])
        successors = {answer.json()["refresh_token"] for answer in answers if answer.status_code == 200}

        assert len(successors) == 1
        assert (await _refresh(client, successors.pop())).status_code == 200


async def test_concurrent_first_reads_create_one_profile(each_suite: Suite) -> None:
    async with each_suite.client() as client:
        person = await register(client)
        answers = await asyncio.gather(
            *[client.get("/users/me", headers=person.headers) for _ in range(MANY)]
        )

    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["id"] for answer in answers} == {person.id}


async def _refresh(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post("/auth/refresh", json={"refresh_token": token})
