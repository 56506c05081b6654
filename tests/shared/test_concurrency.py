"""Idempotency: stored responses, and the ways in which a first request can end."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update
from sqlmodel import Session

from shared.clock import now
from shared.data.database import Database
from shared.data.migrate import upgrade
from shared.errors import Stale
from shared.http.idempotency import EXPIRED_PER_CLAIM_MAX, KEYS_KEPT, IdempotencyKey, Reply
from shared.http.preconditions import IfMatch
from shared.ids import new_id
from shared.testing import bearer, running, token
from tests.shared.notes.app import MIGRATIONS, Settings, create_app
from tests.shared.notes.calls import add, count
from tests.shared.notes.models import IDEMPOTENCY
from tests.support import new_database


@pytest.fixture
async def notes(
    make_settings: Callable[..., Any], database_url: str, database: Database
) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app, make_settings(Settings, database_url=database_url)) as client:
        yield client


def post(
    notes: httpx.AsyncClient, headers: dict[str, str], text: str, key: str = "k"
) -> "asyncio.Task[httpx.Response]":
    sending = notes.post("/notes", json={"text": text}, headers=headers | {"Idempotency-Key": key})
    return asyncio.ensure_future(sending)


class TestKeptAnswers:
    async def test_repeated_request_gets_the_first_response(
        self, notes: httpx.AsyncClient, signed_in: dict[str, str]
    ) -> None:
        first, second = [await post(notes, signed_in, "a") for _ in range(2)]

        assert (
            (second.status_code, second.content) == (first.status_code, first.content) == (201, first.content)
        )
        for header in ("etag", "location", "content-type", "cache-control"):
            assert second.headers[header] == first.headers[header]
        assert "idempotency-replayed" not in first.headers
        assert second.headers["idempotency-replayed"] == "true"
        assert await count(notes) == 1

    async def test_refused_request_releases_its_key(
        self, notes: httpx.AsyncClient, signed_in: dict[str, str]
    ) -> None:
        assert (await post(notes, signed_in, "refuse after writing")).status_code == 409
        assert (await post(notes, signed_in, "now it works")).status_code == 201
        assert await count(notes) == 1

    @pytest.mark.parametrize("text", ["", "x" * 201])
    async def test_invalid_request_does_not_claim_the_key(
        self, notes: httpx.AsyncClient, signed_in: dict[str, str], text: str
    ) -> None:
        assert (await post(notes, signed_in, text)).status_code == 422
        assert (await post(notes, signed_in, "valid")).status_code == 201

    async def test_same_body_at_another_path_is_another_request(
        self, notes: httpx.AsyncClient, signed_in: dict[str, str]
    ) -> None:
        one, two = [(await add(notes, signed_in, text))["id"] for text in ("one", "two")]
        headers = signed_in | {"Idempotency-Key": "k"}
        first = await notes.post(f"/notes/{one}/copies", headers=headers)
        second = await notes.post(f"/notes/{two}/copies", headers=headers)
        again = await notes.post(f"/notes/{one}/copies", headers=headers)

        assert first.status_code == 201
        assert second.status_code == 422
        assert second.json()["code"] == "idempotency_key_reused"
        assert again.content == first.content

    @pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "é"])
    async def test_invalid_key_is_rejected_with_400(
        self, notes: httpx.AsyncClient, signed_in: dict[str, str], key: str
    ) -> None:
        headers = [*signed_in.items(), ("Idempotency-Key", key.encode("latin-1"))]
        response = await notes.post("/notes", json={"text": "a"}, headers=headers)  # type: ignore[arg-type]

        assert response.status_code == 400
        assert "Idempotency-Key" in response.json()["detail"]

    async def test_waiting_request_gets_the_key_if_the_first_one_fails(
        self, notes: httpx.AsyncClient, signed_in: dict[str, str]
    ) -> None:
        """A request that waits for a key gets it when the first one rolls back."""
        refused = [post(notes, signed_in, "refuse after writing") for _ in range(5)]
        accepted = [post(notes, signed_in, "good") for _ in range(5)]
        outcomes = [(await task).status_code for task in refused + accepted]

        assert outcomes[5:].count(201) == 5
        assert set(outcomes[:5]) <= {409, 422}
        assert await count(notes) == 1


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    upgrade(database_url, MIGRATIONS)
    opened = Database(database_url)
    yield opened
    opened.close()


def key(value: str = "k") -> IdempotencyKey:
    return IdempotencyKey.parse(value, caller_id=new_id(), operation="add", request=b"{}")


class TestStore:
    def test_key_can_be_reused_after_a_day(self, database: Database) -> None:
        once, reply, table = key(), Reply(201, (), b"1"), IDEMPOTENCY.table
        with database.transaction() as session:
            assert IDEMPOTENCY.claim(session, once) is None
            IDEMPOTENCY.keep(session, once, reply)
        with database.transaction() as session:
            made = now() - KEYS_KEPT + timedelta(minutes=1)
            session.connection().execute(update(table).values(created=made))
            assert IDEMPOTENCY.claim(session, once) is not None
        with database.transaction() as session:
            made = now() - KEYS_KEPT - timedelta(minutes=1)
            session.connection().execute(update(table).values(created=made))
        with database.transaction() as session:
            assert IDEMPOTENCY.claim(session, once) is None

    def test_each_claim_deletes_a_limited_number_of_expired_keys(self, database: Database) -> None:
        old = [
            {"scope": "s", "key": str(number), "fingerprint": "", "created": now() - 2 * KEYS_KEPT}
            for number in range(EXPIRED_PER_CLAIM_MAX + 1)
        ]
        with database.transaction() as session:
            session.connection().execute(IDEMPOTENCY.table.insert(), old)
        left = []
        for number in range(2):
            with database.transaction() as session:
                IDEMPOTENCY.claim(session, key(str(number)))
                left.append(len(session.connection().execute(select(IDEMPOTENCY.table.c.key)).all()))

        assert left == [2, 2]

    def test_deleting_expired_keys_does_not_wait_for_another_request(
        self, postgresql_server: str, tmp_path: Any
    ) -> None:
        """On PostgreSQL two requests find the same expired keys; the second must not wait for the first."""
        with new_database(postgresql_server, f"test_{new_id()}") as url:
            upgrade(url, MIGRATIONS)
            database = Database(url)
            with database.transaction() as session:
                row = {"scope": "s", "key": "old", "fingerprint": "", "created": now() - 2 * KEYS_KEPT}
                session.connection().execute(IDEMPOTENCY.table.insert(), [row])
            claimed = threading.Event()

            def claim() -> None:
                with database.transaction() as session:
                    IDEMPOTENCY.claim(session, key())
                    claimed.set()

            with database.transaction() as session:
                IDEMPOTENCY.claim(session, key())
                other = threading.Thread(target=claim)
                other.start()
                assert claimed.wait(10), "the second claim waits for the first"
            other.join()
            database.close()


@pytest.mark.parametrize("header", [None, "*", " * ", '"3"', '"1", "3"', '"1","3"'])
def test_if_match_accepts_the_current_version(header: str | None) -> None:
    IfMatch.parse(header).check(3)


@pytest.mark.parametrize("header", ["", "3", '"1"', 'W/"3"', '"3', ","])
def test_if_match_refuses_other_versions(header: str) -> None:
    with pytest.raises(Stale):
        IfMatch.parse(header).check(3)


async def test_key_belongs_to_its_caller(notes: httpx.AsyncClient) -> None:
    first = await post(notes, bearer(token()), "one")
    second = await post(notes, bearer(token()), "two")

    assert {first.status_code, second.status_code} == {201}
    assert await count(notes) == 2


def test_stored_response_is_returned_unchanged(database: Database) -> None:
    """claim() returns exactly, byte for byte, what keep() stored."""
    once = key()
    reply = Reply(201, (("etag", '"1"'), ("location", "/x/ü")), bytes(range(256)))

    def both(session: Session) -> None:
        assert IDEMPOTENCY.claim(session, once) is None
        IDEMPOTENCY.keep(session, once, reply)

    with database.transaction() as session:
        both(session)
    with database.transaction() as session:
        kept = IDEMPOTENCY.claim(session, once)

    assert kept == Reply(201, (*reply.headers, ("idempotency-replayed", "true")), reply.body)
