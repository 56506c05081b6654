"""Mails of a type end by one click, and nothing else does."""

import asyncio
from collections.abc import Callable
from email import message_from_bytes, policy
from email.message import EmailMessage
from secrets import token_hex
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from contracts.events import AccountDeleted
from services.notifications.kinds import NoticeType
from services.notifications.settings import Settings
from services.notifications.unsubscribing import Links
from shared.clock import now
from shared.ids import new_id
from tests.notifications.support import ADMIN, account, is_usual, person, placed, tell

SECONDS = 30


async def mails_of(settings: Settings, number: int) -> list[EmailMessage]:
    """Wait until that many mails were written, and return them, oldest first."""
    async with asyncio.timeout(SECONDS):
        while True:
            files = sorted((settings.data_dir / "mail").glob("*.eml"))
            if len(files) >= number:
                return [message_from_bytes(file.read_bytes(), policy=policy.default) for file in files]
            await asyncio.sleep(0.02)


async def test_one_click_ends_the_mails_of_a_type_and_looking_at_the_link_does_not(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    user_id, headers = person()
    await tell(client, account(user_id, email_verified=True))
    await tell(client, placed(user_id))
    (mail,) = await mails_of(settings, 1)
    link = str(mail["List-Unsubscribe"])
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    path = link.removeprefix(f"<{settings.origin}").removesuffix(">")

    page = await client.get(path)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "form-action 'self'" in page.headers["content-security-policy"]
    await tell(client, placed(user_id))
    assert len(await mails_of(settings, 2)) == 2

    for _ in range(2):
        ended = await client.post(path, data={"List-Unsubscribe": "One-Click"})
        assert ended.status_code == 200
    await tell(client, placed(user_id))
    shown = (await client.get("/notifications/preferences", headers=headers)).json()["choices"]
    off = [(one["type"], one["channel"]) for one in shown if is_usual(one) and not one["on"]]
    assert off == [("order.placed", "email")]
    in_app = await client.get("/notifications", headers=headers)
    assert len(in_app.json()) == 3  # in the app, everything still arrives
    mails = await client.get(f"/notifications/deliveries?user_id={user_id}", headers=ADMIN)
    assert [one["template"] for one in mails.json()] == ["notice"] * 2  # queued with their notifications

    await tell(client, AccountDeleted(account_id=user_id, deleted=now()))
    assert (await client.post(path)).status_code == 200
    again = (await client.get("/notifications/preferences", headers=headers)).json()["choices"]
    assert all(one["on"] == is_usual(one) for one in again)


async def test_forged_or_foreign_token_is_refused_with_410(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    user_id = new_id()
    url = Links(settings).url(user_id, NoticeType.ORDER_PLACED)
    assert url is not None
    token = url.rpartition("=")[2]
    for bad in (
        token[:-1],
        token + "A",
        token.replace("order.placed", "order.changed"),
        token.replace(user_id, new_id()),
        "é.order.placed.x",
        ".",
        "",
    ):
        for method in ("GET", "POST"):
            refused = await client.request(method, "/notifications/unsubscribe", params={"token": bad})
            assert refused.status_code == 410, bad
    assert (await client.get("/notifications/unsubscribe")).status_code == 422


def test_link_survives_a_change_of_the_key_and_security_alerts_have_none(
    make_settings: Callable[..., Any], auth_url: str
) -> None:
    old, new = SecretStr(token_hex()), SecretStr(token_hex())
    links = Links(make_settings(Settings, auth_url=auth_url, key_secret=old))
    url = links.url("someone", NoticeType.MESSAGE)
    assert url is not None
    token = url.rpartition("=")[2]
    changed = make_settings(Settings, auth_url=auth_url, key_secret=new, key_secret_previous=old)
    assert Links(changed).read(token) == ("someone", NoticeType.MESSAGE)
    forgotten = make_settings(Settings, auth_url=auth_url, key_secret=new)
    assert Links(forgotten).read(token) is None
    assert links.url("someone", NoticeType.SECURITY_ALERT) is None


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.work.changes.LOOK_SECONDS_LISTENING", 0.05)
