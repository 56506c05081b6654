"""The mailbox of development shows the mails that were written to files, to admins in person alone."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx

from services.notifications.app import create_app
from services.notifications.settings import Settings
from shared.testing import bearer, running, token
from tests.notifications.support import ADMIN, ADMIN_ID, Start, person

PATH = "/notifications/dev/mailbox"
BODY = "See https://example.com/reset?token=<b>1</b>&more and <script>alert(1)</script>"


async def sent(client: httpx.AsyncClient, **changes: str) -> str:
    """Send a mail, and return the page of the mailbox once the mail is there."""
    mail = {"to": "ann@example.com", "subject": "Hello <i>Ann</i>", "body": BODY, **changes}
    response = await client.post("/notifications/test-email", json=mail, headers=ADMIN)
    assert response.status_code == 202, response.text

    async with asyncio.timeout(30):
        while "Hello" not in (page := (await client.get(PATH, headers=ADMIN)).text):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return page


async def test_admins_read_mails_in_development_and_nothing_in_them_becomes_markup(
    make_settings: Callable[..., Any],
) -> None:
    async with running(create_app, make_settings(Settings)) as client:
        empty = await client.get(PATH, headers=ADMIN)
        listed = await sent(client)
        name = listed.partition(f'href="{PATH}/')[2].partition('"')[0]
        shown = await client.get(f"{PATH}/{name}", headers=ADMIN)
        others = [person()[1], {}, bearer(token(ADMIN_ID, role="admin", scope="admin:notifications"))]
        refused = [(await client.get(f"{PATH}/{name}", headers=who)).status_code for who in others]
        unknown = [
            (await client.get(f"{PATH}/{one}", headers=ADMIN)).status_code
            for one in ("unknown", "..%2F..%2Fnotifications", ".eml")
        ]

    assert "No mail was sent yet" in empty.text
    assert "Hello &lt;i&gt;Ann&lt;/i&gt;" in listed
    assert 'href="https://example.com/reset?token="' in shown.text
    assert "<script" not in shown.text
    assert "<iframe sandbox" in shown.text
    assert "default-src 'none'" in shown.headers["content-security-policy"]
    assert shown.headers["cache-control"] == "no-store"
    assert refused == [403, 401, 403]
    assert unknown == [404, 404, 422]


async def test_there_is_no_mailbox_where_mails_are_sent(start: Start) -> None:
    async with start() as client:
        assert (await client.get(PATH, headers=ADMIN)).status_code == 404
