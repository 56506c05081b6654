"""The statements of sign-ins and token requests go directly to the driver, without SQLAlchemy's overhead."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, event
from sqlalchemy.engine import Connection

from shared.data import statements
from shared.data.database import execute_in_driver
from shared.data.together import Outcome, Piece, Together
from shared.testing import bearer
from tests.auth.oauth.support import admin_token, ask_token, create_client
from tests.auth.support import login, register

# Read or written for each of these requests, and by nothing in the background.
TABLES = re.compile(r"\b(?:login_attempts|known_devices|factors|passkeys|sessions|clients|accounts)\b")


@contextmanager
def compiled_by_sqlalchemy() -> Iterator[list[str]]:
    """Collect the statements that SQLAlchemy executes, in contrast to those given to the driver."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if TABLES.search(statement):
            seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


@pytest.fixture(autouse=True)
def no_surplus_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count attempts from one: every 1,000th one in a process also deletes the surplus, with SQLAlchemy."""
    monkeypatch.setattr("services.auth.credentials.throttle._attempts_made", count(1))


async def test_sign_in_reads_one_object_and_executes_all_else_in_the_driver(auth: httpx.AsyncClient) -> None:
    await register(auth, username="ann")
    with compiled_by_sqlalchemy() as statements:
        assert (await login(auth, "ann")).status_code == 200

    (account,) = statements
    assert account.startswith("SELECT")
    assert "FROM accounts" in account


async def test_client_credentials_execute_all_statements_in_the_driver(auth: httpx.AsyncClient) -> None:
    machine = await create_client(
        auth, grant_types=["client_credentials"], redirect_uris=[], scopes=["orders:read"]
    )
    with compiled_by_sqlalchemy() as statements:
        assert (await ask_token(auth, machine, grant_type="client_credentials")).status_code == 200

    assert statements == []


async def test_requests_that_share_a_transaction_read_their_client_once(
    auth: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = await create_client(
        auth, grant_types=["client_credentials"], redirect_uris=[], scopes=["orders:read"]
    )
    commit = Together._commit
    read, sizes = list[str](), list[int]()

    def noted(connection: Connection, statement: str, parameters: Any) -> Any:
        if "FROM clients" in statement:
            read.append(statement)
        return execute_in_driver(connection, statement, parameters)

    def counted(self: Together, pieces: list[Piece]) -> list[Outcome]:
        sizes.append(len(pieces))
        return commit(self, pieces)

    monkeypatch.setattr(statements, "execute_in_driver", noted)
    monkeypatch.setattr(Together, "_commit", counted)
    asked = [ask_token(auth, machine, grant_type="client_credentials") for _ in range(8)]
    assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}
    assert len(read) == len(sizes) < 8


async def test_disabled_client_gets_no_token_with_the_next_request(auth: httpx.AsyncClient) -> None:
    machine = await create_client(
        auth, grant_types=["client_credentials"], redirect_uris=[], scopes=["orders:read"]
    )
    admin = bearer(await admin_token(auth))

    async def ask() -> list[int]:
        asked = [ask_token(auth, machine, grant_type="client_credentials") for _ in range(4)]
        return [answer.status_code for answer in await asyncio.gather(*asked)]

    assert await ask() == [200] * 4
    path = f"/clients/{machine['id']}/status"
    assert (await auth.put(path, json={"is_active": False}, headers=admin)).status_code == 200
    assert await ask() == [401] * 4


async def test_concurrent_client_credentials_share_transactions(
    auth: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = await create_client(
        auth, grant_types=["client_credentials"], redirect_uris=[], scopes=["orders:read"]
    )
    commit, sizes = Together._commit, list[int]()

    def counted(self: Together, pieces: list[Piece]) -> list[Outcome]:
        sizes.append(len(pieces))
        return commit(self, pieces)

    monkeypatch.setattr(Together, "_commit", counted)
    given = [ask_token(auth, machine, grant_type="client_credentials") for _ in range(8)]
    refused = ask_token(auth, machine, grant_type="client_credentials", scope="orders:write")
    *answers, refusal = await asyncio.gather(*given, refused)

    assert [answer.status_code for answer in answers] == [200] * 8
    assert refusal.json()["error"] == "invalid_scope"
    assert len({answer.json()["access_token"] for answer in answers}) == 8
    assert sum(sizes) == 9
    assert len(sizes) < 9
