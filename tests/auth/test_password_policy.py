"""The rules for new passwords."""

from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from services.auth.app import create_app
from services.auth.credentials.policy import common_passwords, is_common
from services.auth.settings import Settings
from shared.testing import bearer, internal_token, running
from tests.auth.mailbox import Mailbox
from tests.auth.oauth.support import admin_token
from tests.auth.support import register

GOOD = "vier Hühner auf dem Dach"
COMMON = ("password123", "PASSWORD123", "Qwertyuiop", "iloveyou1", "12345678", "aaaaaaaaaaaa")
NAMES = ("gatehouse", "Gatehouse2026!", "ann.miller", "1ann.miller99")


@pytest.fixture
async def strict(
    mailbox: Mailbox, make_auth_settings: Callable[..., Settings]
) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app, make_auth_settings(common_passwords=False)) as client:
        yield client


def refused(response: httpx.Response, field: str) -> bool:
    faults = response.json().get("errors", [{}])
    return (response.status_code, faults[0].get("field"), faults[0].get("code")) == (
        422,
        field,
        "common_password",
    )


@pytest.mark.parametrize("password", [*COMMON, *NAMES])
def test_well_known_password_or_name_is_common(password: str) -> None:
    assert is_common(password, "ann.miller@example.com", "ann")


@pytest.mark.parametrize("password", [GOOD, "correct horse battery", "x7!kPq02", "密码很长很难猜的一句话"])
def test_passwords_need_no_digits_or_punctuation(password: str) -> None:
    assert not is_common(password, "ann.miller@example.com", "ann")


def test_list_of_common_passwords_is_complete_and_normalised() -> None:
    listed = common_passwords()

    assert len(listed) > 8_000
    assert {"password", "football", "sunshine", "1q2w3e4r"} <= listed
    assert all(len(one) >= 8 and one == one.casefold() for one in listed if one.isascii())


async def test_every_way_to_set_a_password_refuses_common_ones_A6(
    mailbox: Mailbox, strict: httpx.AsyncClient
) -> None:
    ann, admin = await register(strict, password=GOOD), bearer(await admin_token(strict))
    email, headers = ann["user"]["email"], bearer(ann["token"])
    await strict.post("/auth/password/forgot", json={"email": email})
    invited = {"email": "bob@example.com"}
    assert (await strict.post("/auth/invitations", json=invited, headers=admin)).status_code == 201
    await mailbox.after_requests()
    reset = {"token": mailbox.token(email, "reset_password"), "new_password": "password123"}
    accept = {"token": mailbox.token("bob@example.com", "invitation"), "password": "password123"}
    change = {"current_password": GOOD, "new_password": "password123"}
    new = {"email": "new@example.com", "password": "password123"}
    internal = bearer(internal_token("auth"))

    assert refused(await strict.post("/auth/register", json=new), "password")
    assert refused(await strict.post("/internal/accounts", json=new, headers=internal), "password")
    assert refused(await strict.put("/auth/me/password", json=change, headers=headers), "new_password")
    assert refused(await strict.post("/auth/password/reset", json=reset), "new_password")
    assert refused(await strict.post("/auth/invitations/accept", json=accept), "password")
    accept["password"] = reset["new_password"] = GOOD
    assert (await strict.post("/auth/password/reset", json=reset)).status_code == 204
    assert (await strict.post("/auth/invitations/accept", json=accept)).status_code == 201


async def test_minimum_length_can_be_raised_A6(make_auth_settings: Callable[..., Settings]) -> None:
    async with running(create_app, make_auth_settings(password_min=15)) as auth:
        body = {"email": "ann@example.com", "password": "fourteen chars"}
        short = await auth.post("/auth/register", json=body)
        long = await auth.post("/auth/register", json=body | {"password": "fifteen chars.."})

        assert short.json()["errors"][0]["message"] == "must have at least 15 characters"
        assert long.status_code == 201


def test_common_passwords_are_refused_in_production(make_auth_settings: Callable[..., Settings]) -> None:
    production = {"environment": "production", "oauth_issuer": "https://id.example.com"}

    assert make_auth_settings(**production).refuses_common_passwords
    assert not make_auth_settings(**production, common_passwords=True).refuses_common_passwords
    assert not make_auth_settings().refuses_common_passwords
