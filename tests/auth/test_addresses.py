"""Confirming and changing e-mail addresses."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx

from services.auth.models import EVENTS, MailToken
from shared.testing import bearer, internal_token
from tests.auth.conftest import StoppedClock
from tests.auth.mailbox import Mailbox
from tests.auth.support import PASSWORD, a_name, let_time_pass, login, register, rows
from tests.told import account_events, records

KEY = {"name": "a script", "scopes": ["full_access"]}


async def confirm(auth: httpx.AsyncClient, token: str, by: dict[str, Any] | None = None) -> httpx.Response:
    """Use a link, signed in as `by`."""
    headers = bearer(by["token"]) if by else {}
    return await auth.post("/auth/email/confirm", json={"token": token}, headers=headers)


async def test_address_is_confirmed_by_the_link_sent_on_registration_A5(
    mailbox: Mailbox, auth: httpx.AsyncClient, database_url: str
) -> None:
    ann = await register(auth)
    email, headers = ann["user"]["email"], bearer(ann["token"])
    (row,) = rows(database_url, MailToken)
    token = mailbox.token(email, "verify_email")

    assert ann["user"]["email_verified"] is False
    assert row["expires"] - row["created"] == timedelta(hours=24)
    assert token not in str(row)
    assert (await confirm(auth, token, ann)).status_code == 204
    assert (await auth.get("/auth/me", headers=headers)).json()["email_verified"] is True
    told = account_events(database_url, EVENTS)[-1]
    assert (told.topic, told.data["email_verified"]) == ("account.changed", True)
    last = records(database_url, EVENTS)[-1]
    assert (last["action"], last["user_id"]) == ("CONFIRM_EMAIL", ann["user"]["id"])
    assert token not in str(last)


async def test_one_of_twenty_concurrent_uses_of_a_link_succeeds_A5(
    mailbox: Mailbox, auth: httpx.AsyncClient
) -> None:
    ann = await register(auth)
    token = mailbox.token(ann["user"]["email"], "verify_email")
    responses = await asyncio.gather(*(confirm(auth, token, ann) for _ in range(20)))

    assert sorted(one.status_code for one in responses) == [204] + [400] * 19


async def test_link_confirms_nothing_without_a_session_of_the_account_A5(
    mailbox: Mailbox, auth: httpx.AsyncClient
) -> None:
    ann, bob, new = await register(auth), await register(auth), f"{a_name()}@example.com"
    await change(auth, ann["token"], new)
    key = await auth.post("/auth/me/tokens", json=KEY, headers=bearer(ann["token"]))
    service = bearer(internal_token("auth"))
    held = await auth.post("/internal/exchange", json={"credential": key.json()["token"]}, headers=service)
    for email, kind in ((ann["user"]["email"], "verify_email"), (new, "change_email")):
        token = mailbox.token(email, kind)
        for person in (None, bob):
            assert (await confirm(auth, token, person)).json()["code"] == "sign_in_to_confirm"
        assert (await confirm(auth, token, held.json())).json()["code"] == "not_interactive"
    me = (await auth.get("/auth/me", headers=bearer(ann["token"]))).json()
    assert (me["email"], me["email_verified"]) == (ann["user"]["email"], False)
    assert (await confirm(auth, token, ann)).status_code == 204


async def test_link_is_refused_after_a_change_of_address_or_a_deletion_or_its_expiry(
    mailbox: Mailbox, auth: httpx.AsyncClient, database_url: str
) -> None:
    ann, bob, eve = await register(auth), await register(auth), await register(auth)
    tokens = [mailbox.token(one["user"]["email"], "verify_email") for one in (ann, bob, eve)]
    internal = bearer(internal_token("auth"))
    changed = {"email": "another@example.com"}
    await auth.patch(f"/internal/accounts/{ann['user']['id']}", json=changed, headers=internal)
    await auth.delete(f"/internal/accounts/{bob['user']['id']}", headers=internal)
    let_time_pass(database_url, MailToken, "expires", timedelta(hours=24, seconds=1))

    for token in (*tokens, "x"):
        assert (await confirm(auth, token)).json()["code"] == "invalid_link"
    assert (await auth.post("/auth/email/confirm", json={})).status_code == 422


async def test_address_set_by_an_admin_is_not_confirmed_A5(mailbox: Mailbox, auth: httpx.AsyncClient) -> None:
    ann = await register(auth)
    await confirm(auth, mailbox.token(ann["user"]["email"], "verify_email"), ann)
    path, internal = f"/internal/accounts/{ann['user']['id']}", bearer(internal_token("auth"))
    same = await auth.patch(path, json={"email": ann["user"]["email"]}, headers=internal)
    other = await auth.patch(path, json={"email": "another@example.com"}, headers=internal)

    assert (same.json()["email_verified"], other.json()["email_verified"]) == (True, False)


async def test_link_can_be_sent_again_a_limited_number_of_times(
    mailbox: Mailbox, auth: httpx.AsyncClient, clock: StoppedClock
) -> None:
    ann = await register(auth)
    email, headers = ann["user"]["email"], bearer(ann["token"])
    path = "/auth/me/email/verification"
    first = mailbox.token(email, "verify_email")
    asked = [await auth.post(path, headers=headers) for _ in range(6)]
    second = mailbox.token(email, "verify_email")

    assert (await auth.post(path)).status_code == 401
    assert [(one.status_code, one.json()) for one in asked] == [(202, {"status": "accepted"})] * 6
    assert len(mailbox.mails(email)) == 5
    assert (await confirm(auth, first, ann)).status_code == 400
    assert (await confirm(auth, second, ann)).status_code == 204
    assert (await auth.post(path, headers=headers)).json()["code"] == "already_verified"


async def test_many_registrations_from_one_network_send_few_mails(
    mailbox: Mailbox, auth: httpx.AsyncClient, clock: StoppedClock
) -> None:
    for _ in range(22):
        await register(auth)

    assert len(mailbox.mails()) == 20


async def change(auth: httpx.AsyncClient, token: str, email: str, password: str = PASSWORD) -> httpx.Response:
    body = {"email": email, "current_password": password}
    return await auth.put("/auth/me/email", json=body, headers=bearer(token))


async def test_change_confirms_the_new_address_and_notifies_the_old_one_A5(
    mailbox: Mailbox, auth: httpx.AsyncClient, database_url: str
) -> None:
    ann, new = await register(auth), f"{a_name()}@example.com"
    old = ann["user"]["email"]
    asked = await change(auth, ann["token"], new.upper())
    assert (asked.status_code, asked.json()) == (202, {"status": "accepted"})
    assert (await login(auth, old)).status_code == 200
    assert (await login(auth, new)).status_code == 401
    assert (await confirm(auth, mailbox.token(new, "change_email"), ann)).status_code == 204

    me = (await login(auth, new)).json()["user"]
    assert (me["email"], me["email_verified"]) == (new, True)
    assert (await login(auth, old)).status_code == 401
    assert len(mailbox.mails(old, "email_changed")) == 1
    assert account_events(database_url, EVENTS)[-1].data["email"] == new
    assert (await confirm(auth, mailbox.token(old, "verify_email"))).status_code == 400
    assert old not in str(records(database_url, EVENTS))


async def test_change_does_not_reveal_that_an_address_is_taken(
    mailbox: Mailbox, auth: httpx.AsyncClient
) -> None:
    ann, bob, free = await register(auth), await register(auth), f"{a_name()}@example.com"
    taken = bob["user"]["email"]
    responses = [await change(auth, ann["token"], email) for email in (taken, free)]

    assert {(one.status_code, one.content) for one in responses} == {(202, b'{"status":"accepted"}')}
    assert len(mailbox.mails(taken, "email_taken")) == 1
    assert not mailbox.mails(taken, "change_email")
    later = await register(auth, email=free)
    assert (await confirm(auth, mailbox.token(free, "change_email"), ann)).json()["code"] == "email_taken"
    assert later["user"]["email"] == free


async def test_change_requires_the_password_and_is_throttled(
    mailbox: Mailbox, auth: httpx.AsyncClient, clock: StoppedClock
) -> None:
    ann = await register(auth)
    assert (await change(auth, ann["token"], "x@example.com", "wrong")).json()["code"] == "wrong_password"
    assert (await change(auth, "", "x@example.com")).status_code == 401
    assert (await change(auth, ann["token"], "no address")).status_code == 422
    assert (await auth.post("/auth/me/tokens", json=KEY, headers=bearer(ann["token"]))).status_code == 201
    for _ in range(4):
        await change(auth, ann["token"], "x@example.com", "wrong")

    assert (await change(auth, ann["token"], "x@example.com")).json()["code"] == "login_throttled"
    assert not mailbox.mails("x@example.com")


async def test_only_the_newest_link_changes_the_address(mailbox: Mailbox, auth: httpx.AsyncClient) -> None:
    ann, first, second = await register(auth), f"{a_name()}@example.com", f"{a_name()}@example.com"
    for email in (first, second):
        await change(auth, ann["token"], email)

    assert (await confirm(auth, mailbox.token(first, "change_email"), ann)).status_code == 400
    assert (await confirm(auth, mailbox.token(second, "change_email"), ann)).status_code == 204
