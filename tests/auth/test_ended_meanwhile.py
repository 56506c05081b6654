"""A session that ends while a change is on its way no longer makes the change."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, event, update
from sqlmodel import Session

from services.auth.credentials.passwords import Passwords
from services.auth.models import AccessKey, Factor, LoginSession
from services.auth.own_account.authenticator_app import AuthenticatorApp
from services.auth.revocations.log import RevocationLog
from services.auth.sessions.sessions import Sessions
from services.auth.settings import Settings
from shared.clock import now
from shared.data.database import Database
from shared.data.tables import table_of
from shared.errors import InvalidToken
from shared.testing import bearer
from tests.auth.support import PASSWORD, register, rows
from tests.auth.test_factors import Clock, Person

SESSIONS = table_of(LoginSession)


def end_sessions(database_url: str) -> None:
    """End all sessions in the database alone, so that the tokens still pass until auth reads the database."""
    database = Database(database_url, pool_size=1)
    with database.transaction() as session:
        session.connection().execute(update(SESSIONS).values(revoked=now()))
    database.close()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/auth/me/totp", {"current_password": PASSWORD}),
        ("/auth/me/step-up", {"current_password": PASSWORD}),
        ("/auth/me/delete", {"current_password": PASSWORD}),
    ],
)
async def test_session_that_ends_during_the_password_check_changes_nothing(
    auth: httpx.AsyncClient,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    body: dict[str, str],
) -> None:
    headers = bearer((await register(auth))["token"])
    matches = Passwords.matches

    async def matches_and_ends(*args: Any) -> bool:
        is_match = await matches(*args)
        end_sessions(database_url)
        return is_match

    monkeypatch.setattr(Passwords, "matches", matches_and_ends)
    response = await auth.post(path, json=body, headers=headers)

    assert (response.status_code, response.json()["code"]) == (401, "invalid_token")
    assert rows(database_url, Factor) == []


async def test_session_that_ends_before_the_code_is_checked_confirms_no_app(
    auth: httpx.AsyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("services.auth.factors.totp.time", clock)
    person = Person(await register(auth), clock)
    body = {"current_password": PASSWORD}
    begun = await auth.post("/auth/me/totp", json=body, headers=person.headers)
    person.secret = begun.json()["secret"]
    count_try = AuthenticatorApp._count_try

    def count_try_and_end(app: AuthenticatorApp, session: Session, person: Any) -> None:
        count_try(app, session, person)
        session.commit()
        end_sessions(database_url)

    monkeypatch.setattr(AuthenticatorApp, "_count_try", count_try_and_end)
    code = {"code": person.code()}
    response = await auth.post("/auth/me/totp/confirm", json=code, headers=person.headers)

    assert (response.status_code, response.json()["code"]) == (401, "invalid_token")
    assert [row["confirmed"] for row in rows(database_url, Factor)] == [None]


async def test_ended_session_is_not_confirmed(
    auth: httpx.AsyncClient, make_auth_settings: Callable[..., Settings], database_url: str
) -> None:
    await register(auth)
    end_sessions(database_url)
    settings = make_auth_settings()
    sessions, database = Sessions(settings, RevocationLog(settings)), Database(database_url, pool_size=1)
    [row] = rows(database_url, LoginSession)
    with pytest.raises(InvalidToken), database.transaction() as session:
        sessions.confirm(session, row["id"], "pwd")
    database.close()


async def test_account_is_locked_before_the_session_of_a_new_access_token_is_checked(
    auth: httpx.AsyncClient, database_url: str
) -> None:
    """Otherwise a password change could end the session before the token is added, and miss the token."""
    headers = bearer((await register(auth))["token"])
    asked: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        asked.extend(
            name for name in ("FROM accounts", "FROM sessions") if name in " ".join(statement.split())
        )

    event.listen(Engine, "before_cursor_execute", note)
    try:
        body = {"name": "report", "scopes": ["read"]}
        response = await auth.post("/auth/me/tokens", json=body, headers=headers)
    finally:
        event.remove(Engine, "before_cursor_execute", note)

    assert response.status_code == 201, response.text
    assert asked[:2] == ["FROM accounts", "FROM sessions"]
    assert len(rows(database_url, AccessKey)) == 1
