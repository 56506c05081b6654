"""A response that revokes something waits for the verifiers that follow, and for those about to return."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

import services.auth.revocations.feed
import services.auth.revocations.verifiers
from services.auth.app import create_app
from services.auth.revocations.feed import RevocationFeed
from services.auth.settings import Settings
from shared.identity.revocations import FEED, VERIFIER
from shared.testing import bearer, internal_token, running
from tests.auth.support import register

LONG_SECONDS = 60.0
PATIENCE_SECONDS = 30.0
Opened = Callable[[], Awaitable[tuple[httpx.AsyncClient, RevocationFeed]]]


@pytest.fixture
async def opened(
    make_auth_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Opened]:
    """Start auth; return a client and the feed."""
    feeds, enter = list[RevocationFeed](), RevocationFeed.__aenter__

    async def noted(feed: RevocationFeed) -> RevocationFeed:
        feeds.append(feed)
        return await enter(feed)

    monkeypatch.setattr(RevocationFeed, "__aenter__", noted)
    monkeypatch.setattr(services.auth.revocations.feed, "DELIVERY_SECONDS_MAX", LONG_SECONDS)
    async with AsyncExitStack() as stack:

        async def start() -> tuple[httpx.AsyncClient, RevocationFeed]:
            client = await stack.enter_async_context(running(create_app, make_auth_settings()))
            return client, feeds[-1]

        yield start


def expect_within(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(services.auth.revocations.verifiers, "RETURN_SECONDS", seconds)


def log_out(auth: httpx.AsyncClient, person: dict[str, Any]) -> "asyncio.Task[httpx.Response]":
    return asyncio.create_task(auth.post("/auth/logout", headers=bearer(person["token"])))


async def page_of(held: AsyncIterator[bytes]) -> bytes:
    """Return the page before the server has reported that it was sent."""
    while not (piece := await anext(held)).strip():
        pass
    return piece


async def is_held(response: "asyncio.Task[httpx.Response]") -> bool:
    return not (await asyncio.wait([response], timeout=0.3))[0]


async def test_response_waits_for_a_verifier_between_two_requests(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth, feed = await opened()
    one, other = await register(auth), await register(auth)
    expect_within(monkeypatch, LONG_SECONDS)
    async with asyncio.timeout(PATIENCE_SECONDS):
        held = await feed.answer(0, bool, "gateway")
        assert await anext(held) == b"\n"
        first = log_out(auth, one)
        await page_of(held)
        assert await anext(held, b"end") == b"end"
        await first
        second = log_out(auth, other)
        assert await is_held(second)

        again = await feed.answer(1, bool, "gateway")
        await page_of(again)
        assert await is_held(second)
        assert await anext(again, b"end") == b"end"
        assert (await second).status_code == 204


async def test_verifier_whose_page_lacks_the_newest_revocation_is_waited_for(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth, feed = await opened()
    one, other = await register(auth), await register(auth)
    expect_within(monkeypatch, LONG_SECONDS)
    async with asyncio.timeout(PATIENCE_SECONDS):
        held = await feed.answer(0, bool, "gateway")
        assert await anext(held) == b"\n"
        responses = [log_out(auth, one)]
        await page_of(held)
        responses.append(log_out(auth, other))  # while the page is being sent
        assert await is_held(responses[1])
        assert await anext(held, b"end") == b"end"
        assert await is_held(responses[1])

        again = await feed.answer(1, bool, "gateway")
        await page_of(again)
        assert await anext(again, b"end") == b"end"
        assert [response.status_code for response in await asyncio.gather(*responses)] == [204, 204]


async def test_new_process_waits_for_the_verifiers_of_the_one_before(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    expect_within(monkeypatch, 2.0)
    auth, feed = await opened()
    async with asyncio.timeout(PATIENCE_SECONDS):
        one = await register(auth)
        ending = log_out(auth, one)
        while not feed.verifiers.are_owed:  # noqa: ASYNC110 - no event says so
            await asyncio.sleep(0.01)
        held = await feed.answer(0, bool, "gateway")
        await page_of(held)
        while feed.verifiers.are_expected:  # noqa: ASYNC110 - no event says so
            await asyncio.sleep(0.01)
        assert await is_held(ending)  # the page is not sent yet
        assert await anext(held, b"end") == b"end"
        assert (await ending).status_code == 204


async def test_verifier_that_does_not_return_delays_responses_only_once(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth, feed = await opened()
    people = [await register(auth) for _ in range(3)]
    expect_within(monkeypatch, 0.5)
    async with asyncio.timeout(PATIENCE_SECONDS):
        held = await feed.answer(0, bool, "gateway")
        assert await anext(held) == b"\n"
        first = log_out(auth, people[0])
        await page_of(held)
        assert await anext(held, b"end") == b"end"
        for person in people[1:]:
            assert (await log_out(auth, person)).status_code == 204
        assert (await first).status_code == 204
    assert not feed.verifiers.are_expected


@pytest.mark.parametrize("is_lost", [True, False])
async def test_verifier_that_was_lost_or_gave_no_name_is_not_waited_for(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, is_lost: bool
) -> None:
    auth, feed = await opened()
    one, other = await register(auth), await register(auth)
    expect_within(monkeypatch, LONG_SECONDS)
    async with asyncio.timeout(PATIENCE_SECONDS):
        held = await feed.answer(0, bool, "gateway" if is_lost else "")
        assert await anext(held) == b"\n"
        first = log_out(auth, one)
        await page_of(held)
        if is_lost:
            await held.aclose()
        else:
            assert await anext(held, b"end") == b"end"
        assert [(await response).status_code for response in (first, log_out(auth, other))] == [204, 204]


async def test_name_is_taken_from_the_header(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    auth, feed = await opened()
    await register(auth)
    expect_within(monkeypatch, LONG_SECONDS)
    monkeypatch.setattr(services.auth.revocations.feed, "HOLD_SECONDS", 0.0)
    for headers in ({}, {VERIFIER: "gateway"}):
        await auth.get(FEED, headers={**bearer(internal_token("auth")), **headers})
        assert feed.verifiers.are_expected == bool(headers)
