"""The setting REGISTRATION: closed, or only after the address is confirmed."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from services.auth.app import create_app
from services.auth.models import Account, MailToken
from services.auth.settings import Settings
from shared.testing import bearer, internal_token, running
from tests.auth.conftest import StoppedClock
from tests.auth.mailbox import Mailbox
from tests.auth.support import PASSWORD, login, rows


@pytest.fixture
async def verified(
    mailbox: Mailbox, make_auth_settings: Callable[..., Settings]
) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app, make_auth_settings(registration="verified")) as client:
        yield client


async def ask(auth: httpx.AsyncClient, email: str, **fields: Any) -> httpx.Response:
    return await auth.post("/auth/register", json={"email": email, "password": PASSWORD} | fields)


async def made_by_admin(auth: httpx.AsyncClient, **fields: Any) -> None:
    body = {"password": PASSWORD} | fields
    made = await auth.post("/internal/accounts", json=body, headers=bearer(internal_token("auth")))
    assert made.status_code == 201, made.text


async def test_response_is_the_same_for_addresses_that_have_an_account_A2(
    mailbox: Mailbox, verified: httpx.AsyncClient, database_url: str
) -> None:
    await made_by_admin(verified, email="bob@example.com")
    new, known = await ask(verified, "ann@example.com"), await ask(verified, "bob@example.com")
    await mailbox.after_requests()

    assert (new.status_code, new.json()) == (202, {"status": "accepted"})
    assert (known.status_code, known.content) == (new.status_code, new.content)
    assert known.headers.keys() == new.headers.keys()
    assert [mail.to for mail in mailbox.mails(template="confirm_registration")] == ["ann@example.com"]
    assert [mail.to for mail in mailbox.mails(template="registered_already")] == ["bob@example.com"]
    assert len(rows(database_url, Account)) == 2  # the admin and bob


async def test_account_is_created_by_the_link_and_not_before(
    mailbox: Mailbox, verified: httpx.AsyncClient, database_url: str
) -> None:
    await ask(verified, "ann@example.com", username="ann", first_name="Ann")
    await mailbox.after_requests()
    assert (await login(verified, "ann@example.com")).status_code == 401
    (row,) = rows(database_url, MailToken)
    token = mailbox.token("ann@example.com", "confirm_registration")
    body = {"token": token}
    assert (await verified.post("/auth/email/confirm", json=body)).status_code == 204
    assert (await verified.post("/auth/email/confirm", json=body)).json()["code"] == "invalid_link"

    user = (await login(verified, "ann")).json()["user"]
    assert (user["email"], user["email_verified"], user["first_name"]) == ("ann@example.com", True, "Ann")
    assert "$2b$" not in row["details"]


async def test_taken_username_is_refused_and_is_dropped_if_taken_meanwhile_A2(
    mailbox: Mailbox, verified: httpx.AsyncClient
) -> None:
    await ask(verified, "ann@example.com", username="ann")
    await mailbox.after_requests()
    await made_by_admin(verified, email="other@example.com", username="Ann")
    token = mailbox.token("ann@example.com", "confirm_registration")

    assert (await ask(verified, "eve@example.com", username="ANN")).json()["code"] == "username_taken"
    assert (await verified.post("/auth/email/confirm", json={"token": token})).status_code == 204
    assert (await login(verified, "ann@example.com")).json()["user"]["username"] is None


async def test_account_created_meanwhile_keeps_its_address(
    mailbox: Mailbox, verified: httpx.AsyncClient
) -> None:
    await ask(verified, "ann@example.com")
    await mailbox.after_requests()
    await made_by_admin(verified, email="ann@example.com")
    body = {"token": mailbox.token("ann@example.com", "confirm_registration")}

    assert (await verified.post("/auth/email/confirm", json=body)).json()["code"] == "email_taken"


async def test_registrations_are_limited_per_network(
    mailbox: Mailbox, verified: httpx.AsyncClient, clock: StoppedClock
) -> None:
    found = [(await ask(verified, f"{number}@example.com")).status_code for number in range(21)]

    assert found == [202] * 20 + [429]


async def test_closed_registration_is_refused_with_403(make_auth_settings: Callable[..., Settings]) -> None:
    async with running(create_app, make_auth_settings(registration="closed")) as auth:
        refused = await ask(auth, "ann@example.com")

        assert (refused.status_code, refused.json()["code"]) == (403, "registration_closed")
        await made_by_admin(auth, email="ann@example.com")
