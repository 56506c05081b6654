"""A support ticket from its creation through the gateway to the mails about it."""

import asyncio
import re
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import httpx
import pytest

from tests.suite.accounts import Person, promote, register
from tests.suite.conftest import Suite, postgresql_databases, running_suite

SECONDS = 60
_TOKEN = re.compile(r"https?://\S+[?#&]token=([^\s&]+)")
PRIVATE = {"subject": "Parcel is damaged", "description": "One corner of the box is open."}


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh_suite(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Suite]:
    """A suite of its own: the accounts of other tests may use up the mails that one network may cause."""
    if request.param == "sqlite":
        with running_suite(tmp_path) as running:
            yield running
        return
    with (
        postgresql_databases(request.getfixturevalue("postgresql_server")) as settings,
        running_suite(tmp_path, settings) as running,
    ):
        yield running


async def mails_to(suite: Suite, person: Person, *, subject: str, number: int = 1) -> list[EmailMessage]:
    """Wait until a person has been sent this number of mails with such a subject, and return them."""
    async with asyncio.timeout(SECONDS):
        while True:
            found = [message_from_bytes(one, policy=policy.default) for one in _files(suite)]
            mine = [one for one in found if one["To"] == person.email and subject in str(one["Subject"])]
            if len(mine) >= number:
                return [one for one in mine if isinstance(one, EmailMessage)]
            await asyncio.sleep(0.05)


def _files(suite: Suite) -> list[bytes]:
    return [one.read_bytes() for one in suite.data_dir.rglob("mail/*.eml")]


def text_of(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    assert body is not None
    text: str = body.get_content()
    return text


async def confirm(client: httpx.AsyncClient, suite: Suite, person: Person) -> None:
    """Confirm the address with the link that was mailed to it."""
    (mail,) = await mails_to(suite, person, subject="Confirm your e-mail address")
    found = _TOKEN.search(text_of(mail))
    assert found is not None
    done = await client.post("/auth/email/confirm", json={"token": found[1]}, headers=person.headers)
    assert done.status_code == 204, done.text


async def test_owner_and_staff_are_mailed_about_a_ticket_without_its_content(fresh_suite: Suite) -> None:
    async with fresh_suite.client() as client:
        owner, colleague = await register(client), await register(client)
        for person in (owner, colleague):
            await confirm(client, fresh_suite, person)
        admin = await promote(client, colleague)
        ticket = (await client.post("/tickets", json=PRIVATE, headers=owner.headers)).json()
        number, replies = ticket["number"], f"/tickets/{ticket['id']}/replies"
        (opened,) = await mails_to(fresh_suite, admin, subject=f"New ticket {number}")
        note = {"content": "He is a difficult customer.", "internal": True}
        assert (await client.post(replies, json=note, headers=admin.headers)).status_code == 201
        answer = {"content": "We send another one."}
        assert (await client.post(replies, json=answer, headers=admin.headers)).status_code == 201
        subject = f"Support replied to your ticket {number}"
        (replied,) = await mails_to(fresh_suite, owner, subject=subject)
        solved = {"status": "resolved", "reason": "It was replaced."}
        path = f"/tickets/{ticket['id']}/status"
        assert (await client.put(path, json=solved, headers=admin.headers)).status_code == 200
        (resolved,) = await mails_to(fresh_suite, owner, subject=f"Your ticket {number} was resolved")
        shown = (await client.get("/notifications?type=ticket.replied", headers=owner.headers)).json()

    assert [one["data"]["ticket_id"] for one in shown] == [ticket["id"]], "an internal note is not told"
    everything = b"".join(_files(fresh_suite))
    for secret in (*PRIVATE.values(), note["content"], answer["content"], solved["reason"]):
        assert str(secret).encode() not in everything
    for mail in (opened, replied, resolved):
        assert f"/tickets/{ticket['id']}" in text_of(mail)
    assert len(await mails_to(fresh_suite, owner, subject=number)) == 2
