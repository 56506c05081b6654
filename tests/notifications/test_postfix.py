"""Mails through postfix into a mailbox."""

from collections.abc import Iterator

import pytest

from tests.notifications import postfix
from tests.notifications.postfix import MAILBOX, Postfix
from tests.notifications.support import ADMIN, Start, tell
from tests.notifications.test_mails import LINK, SECONDS, asked, ended
from tests.support import eventually

pytestmark = pytest.mark.prove


@pytest.fixture(scope="module")
def server() -> Iterator[Postfix]:
    with postfix.serving() as server:
        yield server


async def test_mails_arrive_in_a_mailbox_of_postfix_and_an_unknown_one_is_suppressed(
    start: Start, server: Postfix
) -> None:
    before = len(server.mails)
    unusual = {"to": MAILBOX, "subject": "Grüße → " + "lang " * 30, "body": ".\n..\nFrom me\n" + "x" * 1_500}
    async with start(smtp_url=f"smtp://127.0.0.1:{server.port}", mail_reply_to="") as client:
        mails = [asked(MAILBOX), asked(MAILBOX, "password_changed"), asked("nobody@example.com")]
        await tell(client, *mails)
        sent = await client.post("/notifications/test-email", json=unusual, headers=ADMIN)
        assert sent.status_code == 202, sent.text
        made = [await ended(client, one.mail_id) for one in mails]
        tested = await ended(client, sent.json()["delivery_id"])
        listed = (await client.get("/notifications/suppressions", headers=ADMIN)).json()

    assert [one["state"] for one in [*made, tested]] == ["sent", "sent", "failed", "sent"], made
    assert (made[2]["code"], [one["reason"] for one in listed]) == ("no_such_address", ["bounce"])
    assert eventually(lambda: len(server.mails) == before + 3, seconds=SECONDS), server.log
    arrived = {str(one["Message-ID"]).strip("<>").partition("@")[0]: one for one in server.mails[before:]}
    assert arrived.keys() == {mails[0].mail_id, mails[1].mail_id, tested["id"]}
    texts = {one: (mail.get_body(("plain",)) or mail).get_content() for one, mail in arrived.items()}
    assert LINK in texts[mails[0].mail_id].splitlines()
    assert texts[tested["id"]].replace("\r\n", "\n").startswith(".\n..\nFrom me\nxxx")
    assert arrived[tested["id"]]["Subject"].startswith("Grüße → lang lang")
