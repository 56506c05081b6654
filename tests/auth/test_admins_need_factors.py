"""ADMINS_NEED_SECOND_FACTOR: an admin with one factor has the role user until they use a second one."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from services.auth.app import create_app
from services.auth.models import Account, Role
from services.auth.sessions.tokens import AccessTokens
from services.auth.settings import Settings
from shared.caller import Caller
from shared.errors import Forbidden, SignInAgain
from shared.identity.tokens import admin
from shared.testing import bearer, internal_token, running
from tests.auth.authenticator import Authenticator
from tests.auth.conftest import KEY_SECRET
from tests.auth.oauth.support import admin_token, create_client, sign_in, tokens_for
from tests.auth.support import login
from tests.auth.test_passkeys import add, options, show


def a_caller(role: str, **claims: Any) -> Caller:
    return Caller("id", role, None, None, "session", frozenset(), 0.0, claims=claims)


def test_admin_without_a_second_factor_must_step_up() -> None:
    admin(a_caller("admin"))
    with pytest.raises(SignInAgain) as asked:
        admin(a_caller("user", withheld_role="admin"))
    with pytest.raises(Forbidden):
        admin(a_caller("user"))

    assert 'acr_values="2"' in asked.value.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    ("is_needed", "role", "factors", "expected"),
    [
        (True, Role.ADMIN, 1, ("user", "admin")),
        (True, Role.ADMIN, 2, ("admin", None)),
        (True, Role.USER, 1, ("user", None)),
        (False, Role.ADMIN, 1, ("admin", None)),
    ],
)
def test_role_is_withheld_only_from_admins_and_only_if_the_setting_is_on(
    make_settings: Callable[..., Any],
    is_needed: bool,
    role: Role,
    factors: int,
    expected: tuple[str, str | None],
) -> None:
    settings = make_settings(Settings, admins_need_second_factor=is_needed, key_secret=KEY_SECRET)
    claims = AccessTokens(settings, None).claims_of(Account(role=role), factors)  # type: ignore[arg-type]

    assert (claims["role"], claims.get("withheld_role")) == expected


async def test_policy_applies_to_sessions_clients_and_personal_tokens(
    make_auth_settings: Callable[..., Settings],
) -> None:
    async with running(create_app, make_auth_settings()) as auth:
        client = await create_client(auth, scopes=["admin:users"])
    async with running(create_app, make_auth_settings(admins_need_second_factor=True)) as auth:
        weak = bearer(await admin_token(auth))
        body = {"name": "x", "scopes": ["admin:users"]}
        key = (await auth.post("/auth/me/tokens", json=body, headers=weak)).json()["token"]
        assert (await login(auth, "admin", "admin123")).json()["user"]["role"] == "ADMIN"
        assert await statuses(auth, client, weak, key) == [401, 401, 401]
        refused = await auth.get("/auth/accounts", headers=weak)
        assert refused.json()["code"] == "insufficient_user_authentication"

        device = Authenticator()
        assert (await add(auth, weak, device)).status_code == 201
        strong = bearer((await show(auth, device.sign(await options(auth)))).json()["token"])
        # A token created with the password alone may be a thief's.
        assert await statuses(auth, client, strong, key) == [200, 401, 401]
        made = (await auth.post("/auth/me/tokens", json=body, headers=strong)).json()["token"]
        assert await statuses(auth, client, strong, made) == [200, 401, 200]


async def statuses(
    auth: httpx.AsyncClient, client: dict[str, Any], headers: dict[str, str], key: str
) -> list[int]:
    """Return the statuses for a session, an app allowed after a sign-in by password, and a key."""
    exchange = {"credential": key}
    held = await auth.post("/internal/exchange", json=exchange, headers=bearer(internal_token("auth")))
    found = [headers, bearer(held.json()["token"])]
    if "session" not in auth.cookies:
        assert (await sign_in(auth, "admin", "admin123")).status_code == 303
    granted = bearer((await tokens_for(auth, client, scope="admin:users"))["access_token"])
    every = [found[0], granted, found[1]]
    return [(await auth.get("/auth/accounts", headers=each)).status_code for each in every]
