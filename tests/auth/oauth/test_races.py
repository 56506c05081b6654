"""Fifty concurrent requests to two processes: a single SQL statement decides which of them succeeds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.testing import bearer
from tests import databases
from tests.auth.mailbox import Mailbox
from tests.auth.mailbox import eventually as eventually_async
from tests.auth.oauth.support import (
    code_for,
    create_client,
    is_active,
    redeem,
    refresh,
    signed_in_browser,
    tokens_for,
)
from tests.auth.support import PASSWORD, a_name, login, register
from tests.auth.support import refresh as refresh_session
from tests.auth.test_factors import Clock, enrolled, mfa_token, verify
from tests.shared.processes import ROOT, SECONDS_MAX, forked, service_environment
from tests.support import eventually, free_port
from tests.users.support import is_ready

pytestmark = pytest.mark.prove
AT_ONCE = 50
ROUNDS = 4


@pytest.fixture
async def two(tmp_path: Path, database_url: str) -> AsyncIterator[list[httpx.AsyncClient]]:
    """One HTTP client for each of two processes that share a database."""
    databases.migrate(database_url, ROOT / "services" / "auth" / "migrations")
    with ExitStack() as processes:
        urls = []
        for _ in range(2):
            port = free_port()
            more = {"DATABASE_URL": database_url, "BCRYPT_COST": "4", "JWT_SECRET": ""}
            environment = service_environment(tmp_path, port, **more)
            running = processes.enter_context(forked("services.auth", environment=environment))
            url = f"http://127.0.0.1:{port}"
            assert eventually(partial(is_ready, url), seconds=SECONDS_MAX), running.output
            urls.append(url)
        async with AsyncExitStack() as clients:
            yield [
                await clients.enter_async_context(httpx.AsyncClient(base_url=url, timeout=60)) for url in urls
            ]


@pytest.mark.conforms("RFC 6749 4.1.2", "oidcc-codereuse")
async def test_one_of_fifty_redemptions_wins_and_reuse_revokes_its_tokens_O4(
    two: list[httpx.AsyncClient],
) -> None:
    first = two[0]
    client = await create_client(first)
    await signed_in_browser(first)
    for _ in range(ROUNDS):
        code = await code_for(first, client)
        places = cycle(two)
        responses = await asyncio.gather(*(redeem(next(places), client, code) for _ in range(AT_ONCE)))
        won = [one.json() for one in responses if one.status_code == 200]

        assert [one.status_code for one in responses].count(400) == AT_ONCE - 1
        assert len(won) == 1
        assert not await is_active(first, client, won[0]["refresh_token"])


@pytest.mark.conforms("RFC 9700 4.14.2")
async def test_fifty_refreshes_get_the_same_successor_O5(two: list[httpx.AsyncClient]) -> None:
    first = two[0]
    client = await create_client(first)
    await signed_in_browser(first)
    tokens: dict[str, Any] = await tokens_for(first, client)
    token = tokens["refresh_token"]
    for _ in range(ROUNDS):
        places, asked = cycle(two), token
        responses = await asyncio.gather(*(refresh(next(places), client, asked) for _ in range(AT_ONCE)))
        successors = {one.json().get("refresh_token") for one in responses}

        assert {one.status_code for one in responses} == {200}
        assert len(successors) == 1
        (token,) = successors


def has_mails(mailbox: Mailbox, email: str, number: int) -> bool:
    return len(mailbox.mails(email, "reset_password")) == number


async def test_one_of_fifty_uses_of_a_reset_link_succeeds_A4(
    two: list[httpx.AsyncClient], tmp_path: Path, database_url: str
) -> None:
    email = (await register(two[0]))["user"]["email"]
    mailbox = Mailbox(database_url)
    for number in range(ROUNDS):
        assert (await two[0].post("/auth/password/forgot", json={"email": email})).status_code == 202
        await eventually_async(partial(has_mails, mailbox, email, number + 1))
        token, places = mailbox.token(email, "reset_password"), cycle(two)
        passwords = [f"new password {number} {each}" for each in range(AT_ONCE)]
        responses = await asyncio.gather(
            *(
                next(places).post("/auth/password/reset", json={"token": token, "new_password": one})
                for one in passwords
            )
        )
        won = [one for one, done in zip(passwords, responses, strict=True) if done.status_code == 204]

        assert len(won) == 1
        assert (await login(two[1], email, won[0])).status_code == 200
        assert [one.status_code for one in responses].count(400) == AT_ONCE - 1


async def test_one_of_fifty_registrations_of_an_address_succeeds_A2(two: list[httpx.AsyncClient]) -> None:
    for _ in range(ROUNDS):
        places, name = cycle(two), a_name()
        bodies = [
            {"email": f"{name}@example.com", "password": PASSWORD, "username": f"{name}-{number}"}
            for number in range(AT_ONCE)
        ]
        responses = await asyncio.gather(*(next(places).post("/auth/register", json=one) for one in bodies))
        won = [one for one, done in zip(bodies, responses, strict=True) if done.status_code == 201]

        assert len(won) == 1
        assert [one.status_code for one in responses].count(409) == AT_ONCE - 1
        assert (await login(two[1], won[0]["username"])).json()["user"]["email"] == won[0]["email"]


async def test_fifty_refreshes_of_a_session_get_one_successor(two: list[httpx.AsyncClient]) -> None:
    token = (await register(two[0]))["refresh_token"]
    for _ in range(ROUNDS):
        places, asked = cycle(two), token
        responses = await asyncio.gather(*(refresh_session(next(places), asked) for _ in range(AT_ONCE)))
        successors = {one.json().get("refresh_token") for one in responses}

        assert {one.status_code for one in responses} == {200}
        assert len(successors) == 1
        (token,) = successors


async def test_one_of_fifty_uses_of_a_code_signs_in_M2(two: list[httpx.AsyncClient]) -> None:
    """With five tries for each of ten sign-ins, so that no limit of tries decides."""
    for kind in ("totp", "recovery") * 2:
        person = await enrolled(two[0], Clock())
        code = person.next_code() if kind == "totp" else person.recovery_codes[0]
        tokens = [await mfa_token(two[0], person) for _ in range(10)]
        places = cycle(two)
        responses = await asyncio.gather(
            *(verify(next(places), token, code) for token in tokens * (AT_ONCE // 10))
        )
        won = [one for one in responses if one.status_code == 200]

        assert len(won) == 1, [one.text for one in responses]
        assert {one.status_code for one in responses} <= {200, 401, 429}
        me = await two[1].get("/auth/me", headers=bearer(won[0].json()["token"]))
        assert me.json()["id"] == person.id
