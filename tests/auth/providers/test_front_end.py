"""The endpoints for front ends that only follow links: /auth/login, /auth/logout and /auth/users."""

from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from services.auth.app import create_app
from services.auth.models import LoginSession
from services.auth.settings import Settings
from shared.testing import bearer, running
from tests.auth.oauth.support import OURS, admin_token, signed_in_browser
from tests.auth.providers.conftest import configured
from tests.auth.providers.double import Double
from tests.auth.providers.support import ANN, PAGE, arrive, come_back, who
from tests.auth.support import register, rows

FRONT = "https://app.example.com"


@pytest.fixture
async def auth(provider_settings: Callable[..., Settings]) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app, provider_settings(frontend_url=FRONT)) as client:
        yield client


async def test_front_end_signs_in_with_one_link_and_gets_the_browser_back(
    auth: httpx.AsyncClient, double: Double
) -> None:
    sent = await auth.get("/auth/login")
    query = double.consent(sent.headers["location"], **{**ANN, "email": "ann@gmail.com"})
    back = await come_back(auth, query, "google", PAGE)

    assert sent.status_code == 303
    assert sent.headers["location"].startswith(f"{double.issuer('google')}/authorize?")
    assert (back.status_code, back.headers["location"]) == (303, FRONT)
    assert await who(auth) == "ann@gmail.com"


async def test_front_end_gets_refusals_as_an_error_code(auth: httpx.AsyncClient, double: Double) -> None:
    sent = await auth.get("/auth/login")
    query = double.consent(sent.headers["location"], **{**ANN, "email_verified": False})
    back = await come_back(auth, query, "google", PAGE)
    strange = await come_back(auth, query, "google", PAGE)  # already used, so its owner is unknown

    assert (back.status_code, back.headers["location"]) == (303, f"{FRONT}/login?error=email_not_verified")
    assert strange.status_code == 400
    assert await who(auth) is None


async def test_login_redirects_to_the_sign_in_page_unless_there_is_one_provider(
    provider_settings: Callable[..., Settings], double: Double
) -> None:
    several = configured(double)
    del several["google"]
    one = {"acme": several["acme"]}
    async with running(create_app, provider_settings(several)) as auth:
        assert (await auth.get("/auth/login")).headers["location"] == "/auth/signin"
    async with running(create_app, provider_settings(one)) as auth:
        sent = await auth.get("/auth/login")
        back = await come_back(auth, double.consent(sent.headers["location"], **ANN))
        assert back.headers["location"] == "/auth/signin"


@pytest.mark.parametrize("headers", [OURS, {"Origin": FRONT, "Sec-Fetch-Site": "same-site"}])
async def test_logout_ends_the_session_for_our_pages_and_the_front_end(
    auth: httpx.AsyncClient, database_url: str, headers: dict[str, str]
) -> None:
    await signed_in_browser(auth)
    done = await auth.get("/auth/logout", headers=headers)

    assert (done.status_code, done.json()) == (200, {})
    assert await who(auth) is None
    assert len([one for one in rows(database_url, LoginSession) if one["revoked"]]) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "null"},
    ],
)
async def test_link_on_another_site_does_not_sign_out(
    auth: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    user = await signed_in_browser(auth)
    asked = await auth.get("/auth/logout", headers=headers)

    assert (asked.status_code, asked.headers["location"]) == (303, "/auth/signin")
    assert await who(auth) == user["email"]


async def test_admins_see_who_signed_in_and_when(auth: httpx.AsyncClient, double: Double) -> None:
    ann = await register(auth)
    await arrive(auth, double)
    await arrive(auth, double)
    headers = bearer(await admin_token(auth))
    users = (await auth.get("/auth/users", headers=headers)).json()
    page = await auth.get("/auth/users?limit=1", headers=headers)
    (of_ann,) = [one for one in users.values() if one["email"] == "ann@example.com"]

    assert set(of_ann) == {"email", "first_login", "last_login", "login_count"}
    assert of_ann["login_count"] == 2
    assert of_ann["first_login"] < of_ann["last_login"]
    assert users[ann["user"]["id"]]["login_count"] == 0
    assert len(page.json()) == 1
    assert page.headers["link"].endswith('; rel="next"')
    following = page.headers["link"][1:].partition(">")[0]
    assert (await auth.get(f"/auth/users{following}", headers=headers)).json().keys() != page.json().keys()
    assert (await auth.get("/auth/users")).status_code == 401
    assert (await auth.get("/auth/users", headers=bearer(ann["token"]))).status_code == 403
    assert (await auth.get("/auth/users?limit=x", headers=headers)).status_code == 422
