"""Invitations from an admin."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx

from services.auth.models import EVENTS, MailToken
from shared.testing import bearer
from tests.auth.mailbox import Mailbox
from tests.auth.oauth.support import admin_token
from tests.auth.support import PASSWORD, a_name, let_time_pass, login, register, rows, set_account
from tests.told import account_events, records

PATH = "/auth/invitations"


async def invite(auth: httpx.AsyncClient, headers: dict[str, str], **fields: Any) -> dict[str, Any]:
    body = {"email": f"{a_name()}@example.com"} | fields
    response = await auth.post(PATH, json=body, headers=headers)
    assert response.status_code == 201, response.text
    invitation: dict[str, Any] = response.json()
    return invitation


async def accept(auth: httpx.AsyncClient, token: str, **fields: Any) -> httpx.Response:
    return await auth.post(f"{PATH}/accept", json={"token": token, "password": PASSWORD} | fields)


async def test_invited_person_chooses_a_password_and_has_a_confirmed_address(
    mailbox: Mailbox, auth: httpx.AsyncClient, database_url: str
) -> None:
    admin, name = bearer(await admin_token(auth)), a_name()
    sent = await invite(auth, admin, role="admin", first_name="Jane")
    (row,) = rows(database_url, MailToken)
    token = mailbox.token(sent["email"], "invitation")
    assert (await login(auth, sent["email"])).status_code == 401
    made = await accept(auth, token, username=name, last_name="Doe")

    assert made.status_code == 201, made.text
    shown = made.json()
    assert (shown["email"], shown["username"], shown["role"]) == (sent["email"], name, "admin")
    assert (shown["first_name"], shown["last_name"], shown["email_verified"]) == ("Jane", "Doe", True)
    assert (await login(auth, name)).json()["user"]["id"] == shown["id"]
    assert row["expires"] - row["created"] == timedelta(days=7)
    assert token not in str(row)
    assert "Jane" not in str(row)
    assert account_events(database_url, EVENTS)[-1].topic == "account.created"
    assert "ACCEPT_INVITATION" in [one["action"] for one in records(database_url, EVENTS)]
    assert sent["email"] not in str(records(database_url, EVENTS))


async def test_invitations_can_be_listed_sent_again_and_withdrawn(
    mailbox: Mailbox, auth: httpx.AsyncClient
) -> None:
    admin = bearer(await admin_token(auth))
    first, other = await invite(auth, admin), await invite(auth, admin)
    old = mailbox.token(first["email"], "invitation")
    again = await invite(auth, admin, email=first["email"], role="admin")
    listed = (await auth.get(PATH, headers=admin)).json()

    assert listed == [again, other]
    assert (await accept(auth, old)).json()["code"] == "invalid_link"
    assert (await auth.delete(f"{PATH}/{other['id']}", headers=admin)).status_code == 204
    assert (await auth.delete(f"{PATH}/{other['id']}", headers=admin)).status_code == 404
    assert (await accept(auth, mailbox.token(other["email"], "invitation"))).status_code == 400
    assert (await accept(auth, mailbox.token(first["email"], "invitation"))).json()["role"] == "admin"
    assert (await auth.get(PATH, headers=admin)).json() == []


async def test_one_of_twenty_concurrent_acceptances_succeeds(
    mailbox: Mailbox, auth: httpx.AsyncClient
) -> None:
    sent = await invite(auth, bearer(await admin_token(auth)))
    token = mailbox.token(sent["email"], "invitation")
    responses = await asyncio.gather(*(accept(auth, token) for _ in range(20)))

    assert sorted(one.status_code for one in responses) == [201] + [400] * 19


async def test_acceptance_is_refused_for_a_taken_name_or_an_expired_link(
    mailbox: Mailbox, auth: httpx.AsyncClient, database_url: str
) -> None:
    admin = bearer(await admin_token(auth))
    sent, taken = await invite(auth, admin), await invite(auth, admin)
    token = mailbox.token(sent["email"], "invitation")
    await register(auth, email=taken["email"], username="ann")

    assert (await accept(auth, token, username="ann")).json()["code"] == "username_taken"
    assert (await accept(auth, token, password=sent["email"])).status_code == 422
    refused = await accept(auth, mailbox.token(taken["email"], "invitation"))
    assert refused.json()["code"] == "email_taken"
    let_time_pass(database_url, MailToken, "expires", timedelta(days=7, seconds=1))
    assert (await accept(auth, token)).json()["code"] == "invalid_link"


async def test_invitation_is_refused_once_its_sender_is_no_admin(
    mailbox: Mailbox, auth: httpx.AsyncClient, database_url: str
) -> None:
    sent = await invite(auth, bearer(await admin_token(auth)), role="admin")
    set_account(database_url, "admin", role="user")

    assert (await accept(auth, mailbox.token(sent["email"], "invitation"))).json()["code"] == "invalid_link"


async def test_only_admins_can_invite_and_only_new_addresses(
    mailbox: Mailbox, auth: httpx.AsyncClient
) -> None:
    ann, admin = await register(auth), bearer(await admin_token(auth))
    body = {"email": ann["user"]["email"]}

    assert (await auth.post(PATH, json=body)).status_code == 401
    for method, path in (("POST", PATH), ("GET", PATH), ("DELETE", f"{PATH}/{ann['user']['id']}")):
        response = await auth.request(method, path, json=body, headers=bearer(ann["token"]))
        assert response.status_code == 403
    assert (await auth.post(PATH, json=body, headers=admin)).json()["code"] == "email_taken"
    for bad in ({"email": "x"}, {"email": "a@example.com", "role": "owner"}, {}):
        assert (await auth.post(PATH, json=bad, headers=admin)).status_code == 422
