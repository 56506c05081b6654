"""Forgotten passwords and their reset through a link."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, Engine, event

from services.auth.mails import verification
from services.auth.mails.links import delete_expired_links
from services.auth.mails.mails import warn_without_origin
from services.auth.models import EVENTS, Factor, MailToken
from services.auth.provider_models import Identity
from services.auth.settings import Settings
from shared.data.database import Database, execute_in_driver
from shared.testing import bearer, internal_token
from tests.auth.conftest import StoppedClock
from tests.auth.mailbox import Mailbox, link_of
from tests.auth.support import PASSWORD, let_time_pass, login, refresh, register, rows, set_account
from tests.auth.test_access_keys import create, exchange
from tests.auth.test_factors import Clock, enrolled, mfa_token, verify
from tests.told import records

NEW = "a new password"


async def forget(auth: httpx.AsyncClient, email: str, **headers: str) -> httpx.Response:
    return await auth.post("/auth/password/forgot", json={"email": email}, headers=headers)


async def reset(auth: httpx.AsyncClient, token: str, password: str = NEW) -> httpx.Response:
    return await auth.post("/auth/password/reset", json={"token": token, "new_password": password})


async def token_for(auth: httpx.AsyncClient, mailbox: Mailbox, email: str) -> str:
    assert (await forget(auth, email)).status_code == 202
    await mailbox.after_requests()
    return mailbox.token(email, "reset_password")


def add_identity(database_url: str, account_id: str) -> None:
    database = Database(database_url, pool_size=1)
    with database.transaction() as session:
        subject = account_id[-12:]
        session.add(
            Identity(account_id=account_id, issuer="https://id.example", subject=subject, provider="x")
        )
    database.close()


@contextmanager
def statements() -> Iterator[list[str]]:
    """Collect the SQL statements on accounts, mails and attempts inside the context."""
    asked: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if any(table in statement for table in ("accounts", "mail_tokens", "login_attempts", "work")):
            asked.append(statement)

    def noted_in_driver(connection: Connection, statement: str, parameters: Any) -> Any:
        note(connection, None, statement)
        return execute_in_driver(connection, statement, parameters)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("shared.data.statements.execute_in_driver", noted_in_driver)
            yield asked
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def test_response_is_the_same_for_addresses_without_an_account_A3(
    mailbox: Mailbox, auth: httpx.AsyncClient
) -> None:
    email = (await register(auth))["user"]["email"]
    known, unknown = await forget(auth, email), await forget(auth, "stranger@example.com")
    mails = await mailbox.after_requests(template="reset_password")

    assert (known.status_code, known.json()) == (202, {"status": "accepted"})
    assert (unknown.status_code, unknown.content) == (known.status_code, known.content)
    assert known.headers.keys() == unknown.headers.keys()
    assert [mail.to for mail in mails] == [email]


async def test_queries_are_the_same_for_addresses_without_an_account_A3(
    auth: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the response time is the same too. The worker, which does what differs, is disabled here."""
    email = (await register(auth))["user"]["email"]
    monkeypatch.setattr("services.auth.lifecycle.requests.MailRequests.work", lambda *_: None)
    await forget(auth, "first@example.com")
    with statements() as for_known:
        await forget(auth, email)
    with statements() as for_unknown:
        await forget(auth, "stranger@example.com")
    shown = [[one for one in asked if "duty" not in one] for asked in (for_known, for_unknown)]

    assert len(shown[0]) > 1
    assert not any("accounts" in one or "mail_tokens" in one for one in shown[0])


async def test_link_sets_a_password_and_ends_all_sessions_A4(
    mailbox: Mailbox, auth: httpx.AsyncClient
) -> None:
    ann = await register(auth)
    email = ann["user"]["email"]
    other = (await login(auth, email)).json()
    assert (await reset(auth, await token_for(auth, mailbox, email))).status_code == 204

    for session in (ann, other):
        assert (await auth.get("/auth/me", headers=bearer(session["token"]))).status_code == 401
        assert (await refresh(auth, session["refresh_token"])).status_code == 401
    assert (await login(auth, email)).status_code == 401
    me = (await login(auth, email, NEW)).json()
    assert me["user"]["email_verified"] is True
    assert len(mailbox.mails(email, "password_changed")) == 1


async def test_reset_of_an_unconfirmed_account_removes_what_its_creator_attached(
    mailbox: Mailbox, auth: httpx.AsyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger may have registered the address, and must not keep a way in."""
    clock = Clock()
    monkeypatch.setattr("services.auth.factors.totp.time", clock)
    squatter, other = await enrolled(auth, clock), await register(auth)
    key = await create(auth, squatter.headers)
    kept = await create(auth, bearer(other["token"]))
    add_identity(database_url, squatter.id)
    add_identity(database_url, other["user"]["id"])
    assert (await reset(auth, await token_for(auth, mailbox, squatter.email))).status_code == 204

    assert "token" in (await login(auth, squatter.email, NEW)).json()
    assert (await exchange(auth, key["token"])).status_code == 404
    assert (await exchange(auth, kept["token"])).status_code == 200
    assert [row for row in rows(database_url, Factor) if row["account_id"] == squatter.id] == []
    assert [row["account_id"] for row in rows(database_url, Identity)] == [other["user"]["id"]]


async def test_token_is_stored_as_a_hash_and_mailed_as_a_link_A4(
    mailbox: Mailbox, auth: httpx.AsyncClient, database_url: str
) -> None:
    email = (await register(auth))["user"]["email"]
    token = await token_for(auth, mailbox, email)
    (row,) = [row for row in rows(database_url, MailToken) if row["kind"] == "reset_password"]
    (mail,) = mailbox.mails(email, "reset_password")

    assert len(token) == 43  # 256 bits
    assert token not in str(row)
    assert row["expires"] - row["created"] == timedelta(minutes=30)
    assert link_of(mail) == f"/auth/reset?token={token}"
    assert token not in str(records(database_url, EVENTS))


async def test_one_of_fifty_concurrent_uses_of_a_link_succeeds_A4(
    mailbox: Mailbox, auth: httpx.AsyncClient
) -> None:
    email = (await register(auth))["user"]["email"]
    token = await token_for(auth, mailbox, email)
    passwords = [f"new password {number}" for number in range(50)]
    responses = await asyncio.gather(*(reset(auth, token, one) for one in passwords))
    won = [one for one, response in zip(passwords, responses, strict=True) if response.status_code == 204]

    assert [response.status_code for response in responses].count(400) == 49
    (password,) = won
    assert (await login(auth, email, password)).status_code == 200
    assert len(mailbox.mails(email, "password_changed")) == 1


async def test_used_expired_or_older_link_is_refused_A4(
    mailbox: Mailbox, auth: httpx.AsyncClient, database_url: str
) -> None:
    email = (await register(auth))["user"]["email"]
    older = await token_for(auth, mailbox, email)
    newer = await token_for(auth, mailbox, email)
    assert (await reset(auth, older)).json()["code"] == "invalid_link"
    assert (await reset(auth, newer)).status_code == 204
    assert (await reset(auth, newer)).json()["code"] == "invalid_link"
    late = await token_for(auth, mailbox, email)
    let_time_pass(database_url, MailToken, "expires", timedelta(minutes=30, seconds=1))

    assert (await reset(auth, late)).json()["code"] == "invalid_link"
    for bad in ("x", "x" * 43, "é" * 43):
        assert (await reset(auth, bad)).json()["code"] == "invalid_link"


async def test_refused_password_does_not_consume_the_link(mailbox: Mailbox, auth: httpx.AsyncClient) -> None:
    email = (await register(auth, username="ann"))["user"]["email"]
    token = await token_for(auth, mailbox, email)

    for bad in (email, "x", "x" * 1025):
        refused = await reset(auth, token, bad)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "new_password")
    assert (await auth.post("/auth/password/reset", json={"token": token})).status_code == 422
    assert (await auth.post("/auth/password/forgot", json={"email": "no address"})).status_code == 422
    assert (await reset(auth, token)).status_code == 204


async def test_link_is_refused_after_a_new_password_or_address_A4(
    mailbox: Mailbox, auth: httpx.AsyncClient
) -> None:
    ann, bob = await register(auth), await register(auth)
    first = await token_for(auth, mailbox, ann["user"]["email"])
    body = {"current_password": PASSWORD, "new_password": "another password"}
    assert (await auth.put("/auth/me/password", json=body, headers=bearer(ann["token"]))).status_code == 204
    second = await token_for(auth, mailbox, bob["user"]["email"])
    path, internal = f"/internal/accounts/{bob['user']['id']}", bearer(internal_token("auth"))
    await auth.patch(path, json={"email": "bobs-new@example.com"}, headers=internal)

    assert (await reset(auth, first)).json()["code"] == "invalid_link"
    assert (await reset(auth, second)).json()["code"] == "invalid_link"


async def test_reset_does_not_bypass_the_second_factor_A4_M1(
    mailbox: Mailbox, auth: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("services.auth.factors.totp.time", clock)
    person = await enrolled(auth, clock)
    confirmed = {"token": mailbox.token(person.email, "verify_email")}
    done = await auth.post("/auth/email/confirm", json=confirmed, headers=person.headers)
    assert done.status_code == 204
    key = await create(auth, person.headers)
    began = await mfa_token(auth, person)
    assert (await reset(auth, await token_for(auth, mailbox, person.email))).status_code == 204

    assert (await verify(auth, began, person.next_code())).json()["code"] == "invalid_mfa_token"
    assert "mfa_token" in (await login(auth, person.email, NEW)).json()
    assert (await exchange(auth, key["token"])).status_code == 200  # the owner of the address made it


async def test_disabled_account_gets_no_mail_and_its_link_is_refused(
    mailbox: Mailbox, auth: httpx.AsyncClient, database_url: str
) -> None:
    email = (await register(auth, username="ann"))["user"]["email"]
    token = await token_for(auth, mailbox, email)
    set_account(database_url, "ann", status="disabled")
    assert (await forget(auth, email)).status_code == 202

    assert len(await mailbox.after_requests(email, "reset_password")) == 1
    assert (await reset(auth, token)).json()["code"] == "invalid_link"


async def test_mails_to_an_address_are_limited_and_the_last_link_stays_valid(
    mailbox: Mailbox, auth: httpx.AsyncClient, clock: StoppedClock
) -> None:
    email = (await register(auth))["user"]["email"]  # sends the first mail
    for number in range(8):  # each from a different network
        assert (await forget(auth, email, **{"X-Forwarded-For": f"198.51.{number}.1"})).status_code == 202
        await mailbox.after_requests()
    assert len(mailbox.mails(email)) == 5
    token = mailbox.token(email, "reset_password")
    clock.advance(15 * 60)
    await forget(auth, email)

    assert len(await mailbox.after_requests(email)) == 6
    assert (await reset(auth, token)).status_code == 400
    assert (await reset(auth, mailbox.token(email, "reset_password"))).status_code == 204


async def test_requests_are_limited_per_network_for_all_addresses(
    mailbox: Mailbox, auth: httpx.AsyncClient, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    email = (await register(auth))["user"]["email"]
    at_once = verification.PER_NETWORK.at_once
    asked = [
        await forget(auth, f"{n}@example.com", **{"X-Forwarded-For": "192.0.2.7"}) for n in range(at_once)
    ]
    refused = [
        await forget(auth, one, **{"X-Forwarded-For": "192.0.2.7"}) for one in (email, "no@example.com")
    ]

    assert {one.status_code for one in asked} == {202}
    assert [(one.status_code, one.headers["retry-after"]) for one in refused] == [(429, "180")] * 2
    assert refused[0].json()["code"] == "login_throttled"
    assert (await forget(auth, email, **{"X-Forwarded-For": "192.0.2.8"})).status_code == 202


async def test_each_step_is_recorded_without_secrets(
    mailbox: Mailbox, auth: httpx.AsyncClient, database_url: str
) -> None:
    user = (await register(auth))["user"]
    token = await token_for(auth, mailbox, user["email"])
    await reset(auth, token)
    told = records(database_url, EVENTS)
    shown = [(one["action"], one["status"], one["user_id"]) for one in told]

    assert shown[1:] == [
        ("FORGOT_PASSWORD", 202, None),
        ("RESET_PASSWORD", 204, user["id"]),
    ]
    assert user["email"] not in str(told)


async def test_expired_links_are_deleted(
    mailbox: Mailbox, auth: httpx.AsyncClient, make_auth_settings: Any, database_url: str
) -> None:
    await token_for(auth, mailbox, (await register(auth))["user"]["email"])
    kept = (await register(auth))["user"]["id"]
    let_time_pass(database_url, MailToken, "expires", timedelta(minutes=31))
    database = Database(database_url, pool_size=1)
    delete_expired_links(database, lambda: False)
    database.close()

    left = rows(database_url, MailToken)
    assert {row["kind"] for row in left} == {"verify_email"}
    assert kept in {row["subject"] for row in left}


def test_production_logs_a_warning_if_mails_would_have_no_links(
    make_auth_settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets = {"key_secret": "0f8e1d2c3b4a59687786950a1b2c3d4e", "environment": "production"}
    for values, said in (
        ({}, "mails_are_off"),
        ({"oauth_issuer": "https://id.example.com"}, ""),
    ):
        settings: Settings = make_auth_settings(**secrets, **values)
        warn_without_origin(settings)
        shown = capsys.readouterr().out
        assert said in shown
        assert bool(said) == bool(shown)
