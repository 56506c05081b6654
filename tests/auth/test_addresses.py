"""E-mail addresses: confirmed by a link. Ids are rows of the security checklist."""

import asyncio
from datetime import timedelta

import httpx

from services.auth.models import EVENTS, MailToken
from shared.testing import bearer, internal_token
from tests.auth.conftest import StoppedClock
from tests.auth.mailbox import Mailbox
from tests.auth.support import let_time_pass, register, rows
from tests.told import events, records


async def confirm(auth: httpx.AsyncClient, token: str) -> httpx.Response:
    return await auth.post("/auth/email/confirm", json={"token": token})


async def test_A5_the_address_is_confirmed_by_the_link_sent_on_registration(
    mailbox: Mailbox, auth: httpx.AsyncClient, database_url: str
) -> None:
    ann = await register(auth)
    email, headers = ann["user"]["email"], bearer(ann["token"])
    (row,) = rows(database_url, MailToken)
    token = mailbox.token(email, "verify_email")

    assert ann["user"]["email_verified"] is False
    assert row["expires"] - row["created"] == timedelta(hours=24)
    assert token not in str(row)
    assert (await confirm(auth, token)).status_code == 204
    assert (await auth.get("/auth/me", headers=headers)).json()["email_verified"] is True
    told = events(database_url, EVENTS)[-1]
    assert (told.topic, told.data["email_verified"]) == ("account.changed", True)
    last = records(database_url, EVENTS)[-1]
    assert (last["action"], last["user_id"]) == ("CONFIRM_EMAIL", ann["user"]["id"])
    assert token not in str(last)


async def test_A5_of_twenty_uses_at_once_one_succeeds(mailbox: Mailbox, auth: httpx.AsyncClient) -> None:
    email = (await register(auth))["user"]["email"]
    token = mailbox.token(email, "verify_email")
    responses = await asyncio.gather(*(confirm(auth, token) for _ in range(20)))

    assert sorted(one.status_code for one in responses) == [204] + [400] * 19


async def test_A5_a_link_is_good_for_its_address_alone(
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


async def test_A5_another_address_by_an_admin_is_not_confirmed(
    mailbox: Mailbox, auth: httpx.AsyncClient
) -> None:
    ann = await register(auth)
    await confirm(auth, mailbox.token(ann["user"]["email"], "verify_email"))
    path, internal = f"/internal/accounts/{ann['user']['id']}", bearer(internal_token("auth"))
    same = await auth.patch(path, json={"email": ann["user"]["email"]}, headers=internal)
    other = await auth.patch(path, json={"email": "another@example.com"}, headers=internal)

    assert (same.json()["email_verified"], other.json()["email_verified"]) == (True, False)


async def test_the_link_is_sent_again_to_the_own_address(
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
    assert (await confirm(auth, first)).status_code == 400
    assert (await confirm(auth, second)).status_code == 204
    assert (await auth.post(path, headers=headers)).json()["code"] == "already_verified"


async def test_many_registrations_from_one_network_send_few_mails(
    mailbox: Mailbox, auth: httpx.AsyncClient, clock: StoppedClock
) -> None:
    for _ in range(22):
        await register(auth)

    assert len(mailbox.mails()) == 20
