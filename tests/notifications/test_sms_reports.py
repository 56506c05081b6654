"""What Twilio reports about text messages after it accepted them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from shared.ids import new_id
from tests.notifications.support import ADMIN, Start, table_of_deliveries
from tests.notifications.test_mails import ended
from tests.notifications.test_sms import SECONDS, TEST, fake, number, server, texting
from tests.notifications.twilio import Message, Reply, Twilio, report

__all__ = ["fake", "server", "texting"]

ORIGIN = "https://api.example.com"


@pytest.fixture
async def client(texting: Start) -> AsyncIterator[httpx.AsyncClient]:
    async with texting(public_url=ORIGIN, sms_retry_seconds=30) as client:
        yield client


async def asked(client: httpx.AsyncClient, to: str) -> str:
    sent = await client.post(TEST, json={"to": to, "body": "Hello"}, headers=ADMIN)
    assert sent.status_code == 202, sent.text
    return str(sent.json()["delivery_id"])


async def accepted(server: Twilio, to: str) -> Message:
    async with asyncio.timeout(SECONDS):
        while not (found := [one for one in server.messages if one.to == to]):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return found[0]


async def told(client: httpx.AsyncClient, message: Message, status: str, error: int | None = None) -> int:
    path, body, headers = report(message, status, error)
    return (await client.post(path, content=body, headers=headers)).status_code


async def shown(client: httpx.AsyncClient, delivery_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (
        await client.get(f"/notifications/deliveries/{delivery_id}", headers=ADMIN)
    ).json()
    return found


async def test_delivered_message_is_shown_as_delivered_even_if_reports_are_repeated_or_late(
    client: httpx.AsyncClient, server: Twilio
) -> None:
    to = number()
    delivery_id, message = await asked(client, to), await accepted(server, to)
    assert message.callback == f"{ORIGIN}/notifications/webhooks/twilio?delivery={delivery_id}"
    await ended(client, delivery_id)
    statuses = [await told(client, message, one) for one in ("sent", "delivered", "delivered", "sent")]
    late = await told(client, message, "undelivered", 30003)
    listed = await client.get("/notifications/deliveries?state=delivered", headers=ADMIN)

    assert [*statuses, late] == [204] * 5
    assert (await shown(client, delivery_id))["state"] == "delivered"
    assert delivery_id in [one["id"] for one in listed.json()]


@pytest.mark.parametrize(
    ("error", "next_state"), [(30005, "suppressed"), (30003, "queued"), (None, "queued")]
)
async def test_undelivered_message_failed_and_a_number_that_does_not_exist_is_suppressed(
    client: httpx.AsyncClient, server: Twilio, error: int | None, next_state: str
) -> None:
    to = number()
    delivery_id, message = await asked(client, to), await accepted(server, to)
    await ended(client, delivery_id)
    assert await told(client, message, "undelivered", error) == 204
    failed = await shown(client, delivery_id)
    again = await client.post(TEST, json={"to": to, "body": "Hello"}, headers=ADMIN)

    assert (failed["state"], failed["code"]) == ("failed", f"twilio_{error}" if error else "undelivered")
    assert again.json()["state"] == next_state


@pytest.mark.parametrize(
    ("status", "state"), [("queued", "sent"), ("delivered", "delivered"), ("undelivered", "failed")]
)
async def test_report_ends_a_message_whose_response_was_lost_without_asking_for_it(
    client: httpx.AsyncClient, server: Twilio, database_url: str, status: str, state: str
) -> None:
    to, server.list_status = number(), 500
    answers = iter([Reply(500, accepts=True)])
    server.reply = lambda _: next(answers, Reply())
    delivery_id, message = await asked(client, to), await accepted(server, to)
    async with asyncio.timeout(SECONDS):
        while (await shown(client, delivery_id))["state"] != "queued":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert await told(client, message, status) == 204

    assert (await ended(client, delivery_id))["state"] == state
    assert server.to(to) == ["Hello"]
    (row,) = table_of_deliveries(database_url)
    assert (row["sealed"] is not None) == (state == "failed"), "kept only for a repeat"


async def test_message_that_failed_after_its_response_was_lost_is_sent_again_by_a_repeat(
    client: httpx.AsyncClient, server: Twilio
) -> None:
    to, answers = number(), iter([Reply(500, accepts=True)])
    server.reply, server.list_status = lambda _: next(answers, Reply()), 500
    delivery_id, message = await asked(client, to), await accepted(server, to)
    async with asyncio.timeout(SECONDS):
        while (await shown(client, delivery_id))["state"] != "queued":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert await told(client, message, "undelivered", 30003) == 204
    server.list_status = 200  # the provider lists the message that failed
    again = await client.post(f"/notifications/deliveries/{delivery_id}/retry", headers=ADMIN)
    repeated = await ended(client, delivery_id)

    assert again.status_code == 200
    assert repeated["state"] == "sent"
    assert server.to(to) == ["Hello"] * 2


async def test_unsigned_and_malformed_reports_are_refused_and_change_nothing(
    client: httpx.AsyncClient, server: Twilio, texting: Start
) -> None:
    to = number()
    delivery_id, message = await asked(client, to), await accepted(server, to)
    await ended(client, delivery_id)
    path, body, headers = report(message, "delivered")
    other = path.replace(delivery_id, new_id())
    encoded = {name.encode(): value.encode() for name, value in headers.items()}
    wrong: list[tuple[str, bytes, Any]] = [
        (path, body, {**headers, "X-Twilio-Signature": ""}),
        (path, body, {**encoded, b"X-Twilio-Signature": b"\xe4" * 28}),
        (path, body.replace(b"delivered", b"undelivered"), headers),
        (path, body + b"&ErrorCode=30005", headers),
        (other, body, headers),
    ]
    refused = [await client.post(where, content=what, headers=how) for where, what, how in wrong]
    unknown = Message("SM0", to, "", message.created, message.callback and other_url(message.callback))
    large = await client.post(path, content=b"a" * 65_537, headers=headers)
    not_utf8 = await client.post(path, content=b"\xff=%ff", headers=headers)

    assert [(one.status_code, one.json()["code"]) for one in refused] == [(403, "bad_signature")] * 5
    assert (large.status_code, not_utf8.status_code) == (413, 400)
    assert await told(client, unknown, "undelivered", 30005) == 204, "of a delivery that is gone"
    assert (await shown(client, delivery_id))["state"] == "sent"
    async with texting() as without:
        assert (await without.post(path, content=body, headers=headers)).status_code == 404, "no public URL"


def other_url(url: str) -> str:
    return url.rpartition("=")[0] + "=" + new_id()
