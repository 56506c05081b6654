"""The first sign-in after somebody else has set the password: its owner has to choose another one."""

from typing import Any

import httpx
import pytest

from services.auth.credentials.throttle import FREE_FAILURES
from services.auth.models import EVENTS
from tests.auth.browser import post
from tests.auth.support import PASSWORD, register, set_account
from tests.told import records

CHOSEN = "staple of my own choice"


@pytest.fixture
async def person(auth: httpx.AsyncClient, database_url: str) -> dict[str, Any]:
    """An account whose password an admin has set."""
    user: dict[str, Any] = (await register(auth, username="robin", password=PASSWORD))["user"]
    set_account(database_url, "robin", must_change_password=True)
    auth.cookies.clear()
    return user


def outcomes(database_url: str, action: str) -> list[tuple[Any, ...]]:
    """Return outcome, status, actor and details of the records of an action."""
    found = [one for one in records(database_url, EVENTS) if one["action"] == action]
    return [(one["outcome"], one["status"], one["actor"], one["metadata"]) for one in found]


async def on_page(auth: httpx.AsyncClient, password: str, new: str) -> httpx.Response:
    return await post(auth, "/auth/signin", name="robin", password=password, new_password=new)


async def by_api(auth: httpx.AsyncClient, password: str, new: str) -> httpx.Response:
    return await auth.post(
        "/auth/login", json={"username": "robin", "password": password, "new_password": new}
    )


@pytest.mark.parametrize(("way", "action"), [(on_page, "SIGN_IN"), (by_api, "LOGIN")])
async def test_refused_new_password_is_recorded_as_a_refusal(
    way: Any, action: str, auth: httpx.AsyncClient, person: dict[str, Any], database_url: str
) -> None:
    refused = await way(auth, PASSWORD, person["email"])

    assert refused.status_code == 422, refused.text
    assert "must not be the e-mail address" in refused.text
    assert "session" not in refused.headers.get("set-cookie", "")
    assert outcomes(database_url, action) == [("refused", 422, "anonymous", {})]


async def test_wrong_password_with_a_short_new_one_is_an_ordinary_throttled_refusal(
    auth: httpx.AsyncClient, person: dict[str, Any], database_url: str
) -> None:
    shown = [await on_page(auth, "wrong", "short") for _ in range(FREE_FAILURES + 1)]

    assert [one.status_code for one in shown] == [401] * FREE_FAILURES + [429]
    assert "The name or the password is wrong" in shown[0].text
    assert "success" not in {outcome for outcome, *_ in outcomes(database_url, "SIGN_IN")}


@pytest.mark.parametrize("new", ["short", "x" * 1025])
async def test_new_password_of_the_page_has_8_to_1024_characters(
    new: str, auth: httpx.AsyncClient, person: dict[str, Any]
) -> None:
    refused = await on_page(auth, PASSWORD, new)

    assert refused.status_code == 422
    assert "must have at" in refused.text


async def test_same_password_in_other_characters_is_refused(
    auth: httpx.AsyncClient, database_url: str
) -> None:
    composed, decomposed = "caf\u00e9 au lait", "cafe\u0301 au lait"
    await register(auth, username="robin", password=composed)
    set_account(database_url, "robin", must_change_password=True)

    assert "must differ" in (await by_api(auth, composed, decomposed)).text
    assert (await by_api(auth, composed, CHOSEN)).status_code == 200
