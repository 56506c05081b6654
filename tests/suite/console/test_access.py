"""Personal access tokens and connected apps in the console."""

import pytest

from tests.auth.oauth.support import code_for, create_client, sign_in
from tests.suite.accounts import PASSWORD, register, sign_in_admin
from tests.suite.console.conftest import Browser
from tests.suite.console.seeding import PLANTED

pytestmark = pytest.mark.prove


async def test_people_create_tokens_and_disconnect_apps(browser: Browser) -> None:
    async with browser.client() as client:
        person, admin = await register(client), await sign_in_admin(client)
        app = await create_client(client)
        assert (await sign_in(client, person.email, PASSWORD)).status_code == 303
        await code_for(client, app, scope="openid email")

        seen = await browser.go("access", user=[person.email, PASSWORD], planted=PLANTED)
        removed = await client.delete(f"/clients/{app['id']}", headers=admin.headers)

    assert removed.status_code == 204
    assert seen["steps"] == [
        "sent it again after a lost response",
        "created a token, which may do what it should",
        "revoked it, and disconnected an app",
        "saw it fail and come back",
    ]
