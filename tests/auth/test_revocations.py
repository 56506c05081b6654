"""The log of revocations, and the feed that publishes it."""

import asyncio
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import jwt
import pytest
from sqlalchemy import delete, event, update
from sqlmodel import Session
from structlog.testing import capture_logs

import services.auth.revocations.feed
import services.auth.revocations.log
import services.auth.sessions.sessions
import services.auth.sessions.tokens
from services.auth.app import create_app
from services.auth.key_models import Revoked
from services.auth.models import COUNTER, REVOCATIONS, LoginSession
from services.auth.revocations.feed import RevocationFeed
from services.auth.revocations.log import MARGIN_SECONDS, RevocationLog, newest_number, read_page
from services.auth.settings import Settings
from shared.data.database import Database
from shared.data.migrate import upgrade
from shared.identity.revocations import Kind, RevocationPage
from shared.identity.tokens import LEEWAY_SECONDS, RevokedToken, TokenVerifier
from shared.peers.client import HttpClient
from shared.testing import TEST_JWT_SECRET, bearer, internal_token, running
from tests import stalls, support
from tests.auth.support import PASSWORD, let_time_pass, login, refresh, register, rows

FEED = "/internal/revocations"
PROMISED_SECONDS = 1.0


@pytest.fixture
async def hasty_auth(
    make_auth_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of auth whose feed responds at once without waiting."""
    monkeypatch.setattr(services.auth.revocations.feed, "HOLD_SECONDS", 0.0)
    async with running(create_app, make_auth_settings()) as client:
        yield client


@pytest.fixture
async def with_feed(
    make_auth_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[httpx.AsyncClient, RevocationFeed]]:
    """A client of auth, and its feed."""
    enter, opened = RevocationFeed.__aenter__, list[RevocationFeed]()

    async def noted(feed: RevocationFeed) -> RevocationFeed:
        opened.append(feed)
        return await enter(feed)

    monkeypatch.setattr(RevocationFeed, "__aenter__", noted)
    async with running(create_app, make_auth_settings()) as client:
        yield client, opened[0]


def as_service() -> dict[str, str]:
    return bearer(internal_token("auth"))


async def follow(auth: httpx.AsyncClient, after: int = 0) -> RevocationPage:
    response = await auth.get(FEED, params={"after": after}, headers=as_service())
    assert response.status_code == 200, response.text
    return RevocationPage.model_validate_json(response.content)


async def answers_again(auth: httpx.AsyncClient, *, after: int) -> httpx.Response:
    async with asyncio.timeout(30):
        while True:
            response = await auth.get(FEED, params={"after": after}, headers=as_service())
            if response.status_code == 200 and response.content.strip():
                return response
            await asyncio.sleep(0.01)  # auth polls its database and signals nothing


def written(database_url: str) -> list[tuple[str, str, int | None]]:
    by_number = sorted(rows(database_url, Revoked), key=lambda row: row["number"])
    return [(row["kind"], row["subject"], row["below"]) for row in by_number]


def claims_of(answer: dict[str, Any]) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(answer["token"], options={"verify_signature": False})
    return claims


async def change(auth: httpx.AsyncClient, account_id: str, **fields: Any) -> httpx.Response:
    return await auth.patch(f"/internal/accounts/{account_id}", json=fields, headers=as_service())


class TestLog:
    async def test_logout_revokes_the_session_once(self, auth: httpx.AsyncClient, database_url: str) -> None:
        one, _ = await register(auth), await register(auth)
        for _ in range(2):
            await auth.post("/auth/logout", headers=bearer(one["token"]))

        assert written(database_url) == [("session", claims_of(one)["sid"], None)]

    async def test_logout_with_the_refresh_token_revokes_the_session_once(
        self, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        one = await register(auth)
        for _ in range(2):
            await auth.post("/auth/logout", json={"refresh_token": one["refresh_token"]})

        assert written(database_url) == [("session", claims_of(one)["sid"], None)]

    async def test_reuse_of_a_refresh_token_revokes_the_session(
        self, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        one = await register(auth)
        await refresh(auth, one["refresh_token"])
        let_time_pass(database_url, LoginSession, "rotated", timedelta(seconds=11))
        assert (await refresh(auth, one["refresh_token"])).status_code == 401

        assert written(database_url) == [("session", claims_of(one)["sid"], None)]

    async def test_password_change_revokes_the_other_sessions(
        self, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        one = await register(auth, username="ann")
        others = [(await login(auth, "ann")).json() for _ in range(2)]
        body = {"current_password": PASSWORD, "new_password": "another one, longer"}
        response = await auth.put("/auth/me/password", json=body, headers=bearer(one["token"]))
        assert response.status_code == 204

        told = written(database_url)
        assert sorted(told) == sorted(("session", claims_of(other)["sid"], None) for other in others)

    @pytest.mark.parametrize("fields", [{"role": "admin"}, {"status": "disabled"}])
    async def test_new_role_or_status_revokes_the_account_once(
        self, auth: httpx.AsyncClient, database_url: str, fields: dict[str, str]
    ) -> None:
        one = await register(auth)
        account_id = one["user"]["id"]
        for _ in range(2):  # the second one changes nothing
            assert (await change(auth, account_id, **fields)).status_code == 200

        assert written(database_url) == [("user", account_id, 1)]

    async def test_each_change_of_status_revokes_the_account(
        self, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        account_id = (await register(auth))["user"]["id"]
        for status in ("disabled", "active"):
            await change(auth, account_id, status=status)

        assert written(database_url) == [("user", account_id, 1), ("user", account_id, 2)]

    async def test_deletion_revokes_the_account_once(
        self, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        account_id = (await register(auth))["user"]["id"]
        for _ in range(2):
            await auth.delete(f"/internal/accounts/{account_id}", headers=as_service())

        assert written(database_url) == [("user", account_id, 1)]

    async def test_session_beyond_the_maximum_is_revoked_while_its_tokens_are_valid(
        self, auth: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, database_url: str
    ) -> None:
        monkeypatch.setattr(services.auth.sessions.sessions, "SESSIONS_PER_ACCOUNT_MAX", 2)
        one = await register(auth, username="ann")
        for _ in range(2):
            await login(auth, "ann")
        assert written(database_url) == [("session", claims_of(one)["sid"], None)]

        # A session whose tokens have all expired needs no revocation.
        let_time_pass(database_url, LoginSession, "created", timedelta(hours=1))
        await login(auth, "ann")
        assert len(written(database_url)) == 1

    async def test_expired_session_is_kept_until_its_tokens_have_expired(
        self, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        one = await register(auth, username="ann")
        let_time_pass(database_url, LoginSession, "expires", timedelta(days=14, minutes=5))
        other = (await login(auth, "ann")).json()  # also deletes expired sessions
        body = {"current_password": PASSWORD, "new_password": "another one, longer"}
        await auth.put("/auth/me/password", json=body, headers=bearer(other["token"]))

        assert written(database_url) == [("session", claims_of(one)["sid"], None)]

    async def test_refused_change_or_new_name_revokes_nothing(
        self, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        taken = await register(auth)
        one = await register(auth)
        refused = await change(auth, one["user"]["id"], role="admin", email=taken["user"]["email"])
        assert refused.status_code == 409
        await change(auth, one["user"]["id"], username="other-name")

        assert written(database_url) == []


async def test_new_token_of_the_same_second_passes_and_the_old_one_is_revoked(
    make_auth_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    second = int(time.time())
    monkeypatch.setattr(services.auth.sessions.tokens, "time", SimpleNamespace(time=lambda: second))
    settings = make_auth_settings(jwt_secret=TEST_JWT_SECRET)
    async with running(create_app, settings) as auth:
        old = await register(auth, username="ann")
        await change(auth, old["user"]["id"], role="admin")
        new = (await login(auth, "ann")).json()
        page = await follow(auth)  # waits for the revocation
    verifier = TokenVerifier(settings, HttpClient())
    assert (
        await verifier.verify(old["token"])
    ).role == "user"  # verified and cached before it learns of the revocation
    verifier.revocations.add(page.revocations)

    assert claims_of(old)["iat"] == claims_of(new)["iat"]
    assert (await verifier.verify(new["token"])).role == "admin"
    assert verifier.remembered(old["token"]) is None
    with pytest.raises(RevokedToken):
        await verifier.verify(old["token"])


def _counts_waits(monkeypatch: pytest.MonkeyPatch) -> asyncio.Semaphore:
    """Return a semaphore that is released whenever a request begins to wait for news."""
    held, news_within = asyncio.Semaphore(0), RevocationFeed._news_within

    async def counted(self: RevocationFeed, seconds: float) -> None:
        held.release()
        await news_within(self, seconds)

    monkeypatch.setattr(RevocationFeed, "_news_within", counted)
    return held


class TestFeed:
    @pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer x.y.z"}])
    async def test_anonymous_request_is_rejected_with_401(
        self, auth: httpx.AsyncClient, headers: dict[str, str]
    ) -> None:
        assert (await auth.get(FEED, headers=headers)).status_code == 401

    async def test_token_that_is_not_of_a_service_is_rejected_with_401(self, auth: httpx.AsyncClient) -> None:
        token = (await register(auth))["token"]
        for wrong in (token, internal_token("orders"), internal_token("auth", seconds=-60)):
            assert (await auth.get(FEED, headers=bearer(wrong))).status_code == 401

    @pytest.mark.parametrize("after", ["-1", "x", "1.5", "", str(2**63), "1&after=2"])
    async def test_malformed_number_is_refused_with_422(self, auth: httpx.AsyncClient, after: str) -> None:
        assert (await auth.get(f"{FEED}?after={after}", headers=as_service())).status_code == 422

    async def test_feed_returns_an_empty_page_after_the_wait(self, hasty_auth: httpx.AsyncClient) -> None:
        page = await follow(hasty_auth)

        assert page == RevocationPage(revocations=[], next=0, oldest=1, newest=0)

    async def test_new_revocation_ends_the_wait(
        self, auth: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(services.auth.revocations.feed, "SIGN_OF_LIFE_SECONDS", 0.02)
        one = await register(auth)
        waiting = asyncio.create_task(auth.get(FEED, headers=as_service()))
        assert not (await asyncio.wait([waiting], timeout=0.3))[0]
        await auth.post("/auth/logout", headers=bearer(one["token"]))
        response = await stalls.within(PROMISED_SECONDS, waiting)

        page = RevocationPage.model_validate_json(response.content)
        assert [entry.subject for entry in page.revocations] == [claims_of(one)["sid"]]
        assert (page.next, page.oldest, page.newest) == (1, 1, 1)
        assert response.content.startswith(b"\n\n")  # keep-alive lines before the result
        assert response.headers["cache-control"] == "no-store"

    async def test_all_waiting_requests_cost_one_query(
        self, auth: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        queries = 0
        polled = threading.Event()

        def counted(session: Session, after: int) -> RevocationPage:
            nonlocal queries
            queries += 1
            return read_page(session, after)

        def noted(session: Session) -> int:
            newest = newest_number(session)
            monkeypatch.setattr(
                services.auth.revocations.feed, "POLL_SECONDS", 60.0
            )  # this was the last poll
            polled.set()  # after the query, so that it cannot find what follows
            return newest

        one = await register(auth)
        monkeypatch.setattr(services.auth.revocations.feed, "read_page", counted)
        monkeypatch.setattr(services.auth.revocations.feed, "newest_number", noted)
        held = _counts_waits(monkeypatch)
        waiting = [asyncio.create_task(follow(auth)) for _ in range(50)]
        for _ in waiting:
            await held.acquire()
        await asyncio.to_thread(polled.wait, 30)
        queries = 0
        await auth.post("/auth/logout", headers=bearer(one["token"]))
        pages = await stalls.within(PROMISED_SECONDS, asyncio.gather(*waiting))

        assert {page.next for page in pages} == {1}
        assert queries == 1

    async def test_waiting_verifier_gets_the_page_before_the_response_to_the_change(
        self, with_feed: tuple[httpx.AsyncClient, RevocationFeed], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(services.auth.revocations.feed, "DELIVERY_SECONDS_MAX", 30.0)
        auth, feed = with_feed
        one = await register(auth)
        held = await feed.answer(0, bool)
        assert await anext(held) == b"\n"
        ending = asyncio.create_task(auth.post("/auth/logout", headers=bearer(one["token"])))
        while (sent := await anext(held)) == b"\n":
            pass
        bystander = asyncio.create_task(auth.get("/auth/me", headers=bearer(one["token"])))
        assert claims_of(one)["sid"] in sent.decode()
        assert not (await asyncio.wait([ending, bystander], timeout=0.2))[0]
        assert await anext(held, b"end") == b"end"  # the server asks for more once it has sent the page

        assert (await ending).status_code == 204
        assert (await bystander).status_code == 401

    async def test_verifier_that_takes_no_page_delays_responses_only_briefly(
        self, with_feed: tuple[httpx.AsyncClient, RevocationFeed], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(services.auth.revocations.feed, "DELIVERY_SECONDS_MAX", 0.01)
        auth, feed = with_feed
        one = await register(auth)
        held = await feed.answer(0, bool)
        assert await anext(held) == b"\n"
        async with asyncio.timeout(30):
            assert (await auth.post("/auth/logout", headers=bearer(one["token"]))).status_code == 204

    async def test_refusal_that_revokes_is_delivered_too(
        self, auth: httpx.AsyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        delivered: list[int] = []

        async def noted(_feed: RevocationFeed) -> None:
            delivered.append(len(written(database_url)))

        one = await register(auth)
        await refresh(auth, one["refresh_token"])
        let_time_pass(database_url, LoginSession, "rotated", timedelta(seconds=11))
        monkeypatch.setattr(RevocationFeed, "deliver", noted)

        assert (await refresh(auth, one["refresh_token"])).status_code == 401
        assert delivered == [1]

    async def test_number_of_waiting_requests_is_limited(
        self, auth: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(services.auth.revocations.feed, "WAITING_MAX", 2)
        held = _counts_waits(monkeypatch)
        waiting = [asyncio.create_task(follow(auth)) for _ in range(2)]
        for _ in waiting:
            await held.acquire()
        refused = await auth.get(FEED, headers=as_service())
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)

        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")

    async def test_feed_is_read_page_by_page(
        self, hasty_auth: httpx.AsyncClient, make_auth_settings: Callable[..., Settings]
    ) -> None:
        people = [await register(hasty_auth) for _ in range(8)]
        for person in people:
            await hasty_auth.post("/auth/logout", headers=bearer(person["token"]))
        with pytest.MonkeyPatch.context() as small:
            small.setattr(services.auth.revocations.feed, "PAGE_ROWS", 3)
            small.setattr(services.auth.revocations.log, "PAGE_ROWS", 3)
            async with running(create_app, make_auth_settings()) as auth:
                pages = [await follow(auth)]
                while pages[-1].next < pages[-1].newest:
                    pages.append(await follow(auth, pages[-1].next))

        told = [entry.subject for page in pages for entry in page.revocations]
        assert told == [claims_of(person)["sid"] for person in people]
        assert max(len(page.revocations) for page in pages) == 3

    async def test_revocations_of_another_replica_are_published(
        self, make_auth_settings: Callable[..., Settings]
    ) -> None:
        async with (
            running(create_app, make_auth_settings()) as one,
            running(create_app, make_auth_settings()) as other,
        ):
            after = 0
            for number in range(10):
                person = await register(one)
                waiting = asyncio.create_task(follow(other, after))
                await asyncio.wait([waiting], timeout=0.05)
                await one.post("/auth/logout", headers=bearer(person["token"]))
                page = await stalls.within(PROMISED_SECONDS, waiting)
                assert [entry.subject for entry in page.revocations] == [claims_of(person)["sid"]]
                # A reader that comes from a faster replica is not mistaken for one of another database.
                after = (await follow(one, number)).next
                assert after == number + 1

    async def test_reader_ahead_of_the_database_gets_the_lower_number(
        self, hasty_auth: httpx.AsyncClient
    ) -> None:
        page = await follow(hasty_auth, 1_000)

        assert page.newest < 1_000

    async def test_revocation_applies_to_requests_to_auth_itself(self, auth: httpx.AsyncClient) -> None:
        one = await register(auth)
        waiting = asyncio.create_task(follow(auth))
        await auth.post("/auth/logout", headers=bearer(one["token"]))
        await waiting
        response = await auth.post("/auth/logout", headers=bearer(one["token"]))

        assert response.status_code == 204  # already signed out
        assert (await auth.get("/auth/me", headers=bearer(one["token"]))).status_code == 401
        assert (await auth.get("/health/ready")).json()["checks"]["revocations"] == "current"


class TestTrouble:
    async def test_feed_returns_no_result_without_its_database(
        self, make_auth_settings: Callable[..., Settings]
    ) -> None:
        with support.postgresql_that_stops() as server:
            async with running(create_app, make_auth_settings(database_url=server.url)) as auth:
                one = await register(auth)
                waiting = asyncio.create_task(auth.get(FEED, headers=as_service()))
                await asyncio.wait([waiting], timeout=0.2)
                server.stop(signal.SIGQUIT)
                ended = await asyncio.wait_for(waiting, 10)
                refused = await auth.get(FEED, headers=as_service())
                server.start()
                await answers_again(auth, after=9)
                told = asyncio.create_task(follow(auth))
                await auth.post("/auth/logout", headers=bearer(one["token"]))
                page = await asyncio.wait_for(told, 10)

        assert (ended.status_code, ended.content.strip()) == (200, b"")  # ended without a result
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert [entry.subject for entry in page.revocations] == [claims_of(one)["sid"]]

    async def test_feed_starts_again_if_an_older_database_replaces_its_own(
        self, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        people = [await register(auth) for _ in range(3)]
        for number, person in enumerate(people[:2]):
            await auth.post("/auth/logout", headers=bearer(person["token"]))
            await follow(auth, number)
        database = Database(database_url, pool_size=1)
        with database.transaction() as session:
            session.connection().execute(delete(REVOCATIONS))
            session.connection().execute(update(COUNTER).values(last=0))
        database.close()
        page = await follow(auth, 2)
        assert (page.revocations, page.newest) == ([], 0)
        waiting = asyncio.create_task(follow(auth))
        await auth.post("/auth/logout", headers=bearer(people[2]["token"]))
        page = await waiting

        assert [entry.subject for entry in page.revocations] == [claims_of(people[2])["sid"]]
        assert page.next == 1

    async def test_unexpected_error_does_not_end_the_feed(
        self, auth: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(*_: object) -> None:
            raise ZeroDivisionError

        one = await register(auth)
        monkeypatch.setattr(services.auth.revocations.feed, "RETRY_SECONDS", 0.01)
        with capture_logs() as lines:
            with monkeypatch.context() as broken:
                broken.setattr(services.auth.revocations.feed, "newest_number", fails)
                broken.setattr(services.auth.revocations.feed, "read_page", fails)
                # The waiting request ends when the next read of the table fails.
                assert (await auth.get(FEED, headers=as_service())).content.strip() == b""
                assert (await auth.get(FEED, headers=as_service())).status_code == 503
            await auth.post("/auth/logout", headers=bearer(one["token"]))
            response = await answers_again(auth, after=0)

        assert claims_of(one)["sid"] in response.text
        assert "revocation_feed_failed" in [line["event"] for line in lines]


class TestExpiry:
    async def test_revocation_outlives_the_last_token(
        self, make_auth_settings: Callable[..., Settings], database_url: str
    ) -> None:
        async with running(create_app, make_auth_settings(access_token_seconds=120)) as auth:
            one = await register(auth)
            await auth.post("/auth/logout", headers=bearer(one["token"]))
        [row] = rows(database_url, Revoked)

        kept = row["expires"] - row["created"]
        assert kept == timedelta(seconds=120 + LEEWAY_SECONDS + MARGIN_SECONDS)
        assert row["expires"].timestamp() > claims_of(one)["exp"] + LEEWAY_SECONDS

    async def test_expired_revocation_is_omitted_and_deleted(
        self, make_auth_settings: Callable[..., Settings], database_url: str
    ) -> None:
        async with running(create_app, make_auth_settings()) as auth:
            people = [await register(auth) for _ in range(4)]
            for person in people[:3]:
                await auth.post("/auth/logout", headers=bearer(person["token"]))
        let_time_pass(database_url, Revoked, "expires", timedelta(hours=1))
        async with running(create_app, make_auth_settings()) as auth:
            page = await follow(auth)
            assert (page.revocations, page.next, page.newest) == ([], 3, 3)
            assert len(rows(database_url, Revoked)) == 3
            await auth.post("/auth/logout", headers=bearer(people[3]["token"]))
            [row] = rows(database_url, Revoked)
            page = await follow(auth, page.next)

        assert row["number"] == page.oldest == page.newest == page.next == 4
        assert [entry.subject for entry in page.revocations] == [claims_of(people[3])["sid"]]


@pytest.fixture
def database(make_auth_settings: Callable[..., Settings]) -> Iterator[Database]:
    settings = make_auth_settings()
    upgrade(settings.database_url, settings.migrations())
    database = Database(settings.database_url)
    yield database
    database.close()


class TestOrder:
    """A reader would never see a number that appears after a higher one."""

    def test_number_is_assigned_only_after_all_lower_ones_are_committed(
        self, database: Database, make_auth_settings: Callable[..., Settings]
    ) -> None:
        log = RevocationLog(make_auth_settings())
        numbered, may_commit = threading.Event(), threading.Event()

        def hold(_session: Session) -> None:
            numbered.set()
            may_commit.wait(10)

        def revoke(subject: str, *, slowly: bool) -> None:
            with database.transaction() as session:
                log.add(session, Kind.SESSION, [subject])
                if slowly:
                    event.listen(session, "before_commit", hold)

        def read() -> list[str]:
            with database.transaction(write=False) as session:
                return [one.subject for one in read_page(session, 0).revocations]

        with ThreadPoolExecutor(2) as threads:
            first = threads.submit(revoke, "first", slowly=True)
            assert numbered.wait(10)
            second = threads.submit(revoke, "second", slowly=False)
            overtook, _ = wait([second], timeout=0.3)
            seen_meanwhile = read()
            may_commit.set()
            first.result(10)
            second.result(10)

        assert (overtook, seen_meanwhile) == (set(), [])
        assert read() == ["first", "second"]

    def test_reader_misses_no_revocation_of_many_writers(
        self, database: Database, make_auth_settings: Callable[..., Settings]
    ) -> None:
        log = RevocationLog(make_auth_settings())
        writers, each = 8, 25

        def write(writer: int) -> None:
            for number in range(each):
                with database.transaction() as session:
                    log.add(session, Kind.SESSION, [f"{writer} {number} {part}" for part in range(2)])

        seen: list[str] = []
        numbers: list[int] = []

        def read_on() -> None:
            after = 0
            while len(seen) < 2 * writers * each:
                with database.transaction(write=False) as session:
                    page = read_page(session, after)
                seen.extend(one.subject for one in page.revocations)
                numbers.extend(one.number for one in page.revocations)
                after = page.next

        with ThreadPoolExecutor(writers + 1) as threads:
            reader = threads.submit(read_on)
            for writing in [threads.submit(write, writer) for writer in range(writers)]:
                writing.result(60)
            reader.result(60)

        assert numbers == list(range(1, 2 * writers * each + 1))
        assert len(set(seen)) == 2 * writers * each

    def test_rolled_back_revocation_leaves_no_gap(
        self, database: Database, make_auth_settings: Callable[..., Settings]
    ) -> None:
        log = RevocationLog(make_auth_settings())

        def revoke(subject: str, *, fails: bool) -> None:
            with database.transaction() as session:
                log.add(session, Kind.SESSION, [subject])
                if fails:
                    raise ZeroDivisionError

        told = []
        log.on_commit = lambda: told.append("committed")
        with pytest.raises(ZeroDivisionError):
            revoke("lost", fails=True)
        assert told == []
        revoke("kept", fails=False)
        with database.transaction(write=False) as session:
            page = read_page(session, 0)

        assert [(one.number, one.subject) for one in page.revocations] == [(1, "kept")]
        assert told == ["committed"]
