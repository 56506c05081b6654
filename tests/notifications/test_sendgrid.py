"""Mails through a fake SendGrid, and the signed events that it sends about them."""

import asyncio
import json
import threading
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.notifications import breaker, courier, models
from services.notifications.app import create_app
from services.notifications.settings import Settings
from shared.ids import new_id
from shared.testing import running
from shared.work import changes
from tests.notifications.support import ADMIN, KEY_SECRET, Start, account, person, stepped, tell
from tests.notifications.test_mails import LINK, address, asked, ended
from tests.told import events

SECONDS = 60
EVENTS = "/notifications/webhooks/sendgrid"
API_KEY = "SG.key-of-the-test"
KEY = generate_private_key(SECP256R1())


def shown(key: Any) -> str:
    """Return a public key as SendGrid shows it."""
    return b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


@dataclass(frozen=True)
class Reply:
    status: int = 202
    headers: Mapping[str, str] = field(default_factory=dict)
    late: float = 0.0


class SendGrid(ThreadingHTTPServer):
    """Keeps the mails of every call with the right key."""

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply: Callable[[], Reply] = Reply
        self.mails, self.closing = list[dict[str, Any]](), threading.Event()

    def to(self, email: str) -> list[dict[str, Any]]:
        return [one for one in self.mails if one["personalizations"][0]["to"] == [{"email": email}]]


class _Handler(BaseHTTPRequestHandler):
    server: SendGrid

    def do_POST(self) -> None:
        mail = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        is_allowed = self.path == "/v3/mail/send" and self.headers["Authorization"] == f"Bearer {API_KEY}"
        reply = self.server.reply() if is_allowed else Reply(401)
        self.server.mails.append(mail)
        self.server.closing.wait(reply.late)
        body = b"" if reply.status == 202 else b'{"errors": [{"message": "it does not work"}]}'
        try:
            self.send_response(reply.status)
            message_id = f"id-{mail['personalizations'][0]['custom_args']['delivery_id']}"
            for name, value in {"X-Message-Id": message_id, **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:  # the client has given up
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        pass


@pytest.fixture(scope="module")
def fake() -> Iterator[SendGrid]:
    with SendGrid() as server:
        serving = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        yield server
        server.closing.set()
        server.shutdown()
        serving.join()


@pytest.fixture
def sending(
    make_settings: Callable[..., Any],
    database_url: str,
    auth_url: str,
    fake: SendGrid,
    monkeypatch: pytest.MonkeyPatch,
) -> Start:
    """Starts services that send by SendGrid, and try again at once."""
    fake.reply = Reply
    monkeypatch.setattr(courier, "RETRY_FIRST", timedelta(0))
    monkeypatch.setattr(courier, "AWAY_FIRST", timedelta(0))
    monkeypatch.setattr(breaker, "OPEN_SECONDS_FIRST", 0.01)
    monkeypatch.setattr(breaker, "OPEN_SECONDS_MAX", 0.01)
    monkeypatch.setattr(changes, "LOOK_SECONDS_LISTENING", 0.05)

    def starting(**values: Any) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        usual = {
            "database_url": database_url,
            "auth_url": auth_url,
            "key_secret": KEY_SECRET,
            "sendgrid_api_key": API_KEY,
            "sendgrid_url": f"http://127.0.0.1:{fake.server_port}",
            "sendgrid_webhook_key": shown(KEY),
            "mail_from": "no-reply@example.com",
            "public_url": "https://api.example.com",
        }
        return running(create_app, make_settings(Settings, **{**usual, **values}))

    return starting


@pytest.fixture
async def client(sending: Start) -> AsyncIterator[httpx.AsyncClient]:
    async with sending() as client:
        yield client


def event(kind: str, email: str, **more: Any) -> dict[str, Any]:
    return {"event": kind, "email": email, "sg_event_id": new_id(), "timestamp": 1769860800, **more}


async def post(
    client: httpx.AsyncClient, events: Any, *, key: Any = KEY, at: float = 0.0, body: bytes | None = None
) -> httpx.Response:
    """Send events as SendGrid does, signed at a time relative to now."""
    signed = json.dumps(events).encode()
    timestamp = str(int(time.time() + at))
    signature = key.sign(timestamp.encode() + signed, ECDSA(SHA256()))
    headers = {
        "Content-Type": "application/json",
        "X-Twilio-Email-Event-Webhook-Signature": b64encode(signature).decode(),
        "X-Twilio-Email-Event-Webhook-Timestamp": timestamp,
    }
    return await client.post(EVENTS, content=body or signed, headers=headers)


async def test_mail_leaves_by_sendgrid_with_its_parts_and_without_tracked_links(
    client: httpx.AsyncClient, fake: SendGrid
) -> None:
    (me, _), to, reset = person(), address(), asked(address())
    await tell(client, account(me, email=to, email_verified=True))
    await tell(client, stepped(me, "confirmed", "shipped"))
    await tell(client, reset)
    delivered = await ended(client, reset.mail_id)
    (listed,) = (await client.get(f"/notifications/deliveries?user_id={me}", headers=ADMIN)).json()
    await ended(client, listed["id"])
    (mail,), (notice,) = fake.to(reset.email), fake.to(to)

    assert (delivered["state"], delivered["attempts"]) == ("sent", 1)
    assert mail["from"] == {"email": "no-reply@example.com", "name": "Gatehouse"}
    assert mail["subject"] == "Choose a new password"
    assert mail["personalizations"][0]["custom_args"] == {"delivery_id": reset.mail_id}
    assert [one["type"] for one in mail["content"]] == ["text/plain", "text/html"]
    assert all(LINK in one["value"] for one in mail["content"])
    assert mail["tracking_settings"]["click_tracking"] == {"enable": False}
    assert mail["headers"] == {
        "Message-ID": f"<{reset.mail_id}@example.com>",
        "Auto-Submitted": "auto-generated",
    }
    assert notice["headers"]["List-Unsubscribe"].startswith("<https://api.example.com/notifications/unsub")


@pytest.mark.parametrize(
    ("reply", "state", "code", "tries"),
    [
        (Reply(400), "failed", "status_400", 1),
        (Reply(401), "sent", "status_401", 2),
        (Reply(429, {"Retry-After": "0"}), "sent", "busy", 2),
    ],
)
async def test_refusal_is_final_and_an_outage_is_not(
    client: httpx.AsyncClient, fake: SendGrid, reply: Reply, state: str, code: str, tries: int
) -> None:
    answers, mail = iter([reply]), asked(address())
    fake.reply = lambda: next(answers, Reply())
    await tell(client, mail)
    found = await ended(client, mail.mail_id)

    assert (found["state"], found["attempts"]) == (state, tries)
    assert found["made"][0]["code"] == code
    assert found["made"][0]["error"] == "it does not work"


@pytest.mark.parametrize("reply", [Reply(500), Reply(202, late=2.0)])
async def test_mail_whose_response_was_lost_waits_for_its_event_and_is_not_sent_twice(
    sending: Start, fake: SendGrid, reply: Reply
) -> None:
    answers, mail = iter([reply]), asked(address())
    fake.reply = lambda: next(answers, Reply())
    async with sending(mail_timeout_seconds=0.5) as client:
        await tell(client, mail)
        path = f"/notifications/deliveries/{mail.mail_id}"
        async with asyncio.timeout(SECONDS):
            while (waiting := (await client.get(path, headers=ADMIN)).json())["code"] is None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        told = event("processed", mail.email, delivery_id=mail.mail_id, sg_message_id="abc.filter-1")
        answer = await post(client, [told])
        found = await ended(client, mail.mail_id)

    assert (waiting["state"], waiting["made"][0]["outcome"]) == ("queued", "unknown")
    assert answer.status_code == 204
    assert found["state"] == "sent"
    assert len(fake.to(mail.email)) == 1


async def test_mails_that_wait_for_a_slow_provider_are_not_sent_twice(sending: Start, fake: SendGrid) -> None:
    fake.reply = lambda: Reply(late=1.4)
    mails = [asked(address()) for _ in range(20)]
    async with sending(mail_timeout_seconds=2.0, mail_workers=20) as client:
        await tell(client, *mails)
        for mail in mails:
            path = f"/notifications/deliveries/{mail.mail_id}"
            async with asyncio.timeout(SECONDS):
                while not is_settled((await client.get(path, headers=ADMIN)).json()):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)

    assert [len(fake.to(mail.email)) for mail in mails] == [1] * 20


def is_settled(shown: dict[str, Any]) -> bool:
    """Whether a mail was sent, or its response was lost: then it waits for an event."""
    return shown["state"] == "sent" or any(one["outcome"] == "unknown" for one in shown["made"])


async def test_without_events_a_mail_whose_response_was_lost_is_sent_again_with_the_same_id(
    sending: Start, fake: SendGrid
) -> None:
    answers, mail = iter([Reply(500)]), asked(address())
    fake.reply = lambda: next(answers, Reply())
    async with sending(sendgrid_webhook_key="") as client:
        await tell(client, mail)
        found = await ended(client, mail.mail_id)
        missing = await post(client, [event("processed", mail.email)])

    assert found["state"] == "sent"
    assert len({one["headers"]["Message-ID"] for one in fake.to(mail.email)}) == 1
    assert len(fake.to(mail.email)) == 2
    assert missing.status_code == 404


@pytest.mark.parametrize(
    ("kind", "more", "reason"),
    [
        ("bounce", {"type": "bounce", "reason": "550 5.1.1 unknown"}, "bounce"),
        ("bounce", {"type": "blocked", "reason": "550 5.7.1 blocked"}, None),
        ("dropped", {"reason": "Bounced Address"}, "bounce"),
        ("spamreport", {}, "complaint"),
        ("unsubscribe", {}, "unsubscribed"),
        ("delivered", {}, None),
    ],
)
@pytest.mark.usefixtures("listener")
async def test_event_suppresses_its_address_and_marks_its_mail(
    client: httpx.AsyncClient, database_url: str, kind: str, more: dict[str, Any], reason: str | None
) -> None:
    mail = asked(address())
    await tell(client, mail)
    await ended(client, mail.mail_id)
    about = {"delivery_id": mail.mail_id, "sg_message_id": f"id-{mail.mail_id}.x", **more}
    answer = await post(client, [event(kind, mail.email, **about), event(kind, "not an address", **more)])
    listed = (await client.get("/notifications/suppressions", headers=ADMIN)).json()
    found = await ended(client, mail.mail_id)

    assert answer.status_code == 204
    assert [one["reason"] for one in listed] == ([reason] if reason else [])
    is_bounced = kind in ("bounce", "dropped") and reason is not None
    assert (found["state"], found["code"]) == (("failed", "bounced") if is_bounced else ("sent", None))
    about_it = [(one.topic, one.data["delivery_id"]) for one in events(database_url, models.EVENTS)]
    assert about_it == ([("delivery.bounced", mail.mail_id)] if is_bounced else [])
    again = await client.post(f"/notifications/deliveries/{mail.mail_id}/retry", headers=ADMIN)
    assert again.status_code == 409


async def test_event_that_no_database_can_store_does_not_hold_up_others(client: httpx.AsyncClient) -> None:
    odd, good, mail = address(), address(), asked(address())
    await tell(client, mail)
    await ended(client, mail.mail_id)
    text = "550 \0 \ud800 unknown"
    events = [
        event("bounce", odd, type="bounce", reason=text, delivery_id="\0", sg_message_id=text),
        event("bounce", good, type="bounce", delivery_id="\udfff"),
        event("bounce", f"{text}@example.com", type="bounce"),
        event("bounce", mail.email, type="bounce", reason=text, delivery_id=mail.mail_id, sg_message_id=text),
        *({**event("bounce", address(), type="bounce"), "sg_event_id": one} for one in ("\0", "\ud800")),
    ]
    answer = await post(client, events)
    listed = (await client.get("/notifications/suppressions", headers=ADMIN)).json()
    lifted = [
        await client.post("/notifications/suppressions/lift", json={"email": one}, headers=ADMIN)
        for one in (odd, good, mail.email)
    ]
    found = await ended(client, mail.mail_id)

    assert answer.status_code == 204, answer.text
    assert len(listed) == 3
    assert [one.is_success for one in lifted] == [True] * 3
    assert (found["code"], found["error"]) == ("bounced", "550 ? ? unknown")


async def test_bounce_that_is_told_before_the_response_was_noted_counts(
    client: httpx.AsyncClient, fake: SendGrid
) -> None:
    mail, is_told = asked(address()), threading.Event()

    def wait() -> Reply:
        is_told.wait(SECONDS)
        return Reply()

    fake.reply = wait
    await tell(client, mail)
    async with asyncio.timeout(SECONDS):
        while await state_of(client, mail.mail_id) != "sending":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await post(client, [event("bounce", mail.email, type="bounce", delivery_id=mail.mail_id)])
    before = await state_of(client, mail.mail_id)
    is_told.set()
    fake.reply = Reply
    other = asked(address())
    await tell(client, other)
    await ended(client, other.mail_id)
    found = await ended(client, mail.mail_id)

    assert before == "failed"
    assert (found["state"], found["code"], found["attempts"]) == ("failed", "bounced", 1)


async def state_of(client: httpx.AsyncClient, delivery_id: str) -> str:
    shown = (await client.get(f"/notifications/deliveries/{delivery_id}", headers=ADMIN)).json()
    return str(shown["state"])


async def test_event_that_was_told_twice_is_applied_once(client: httpx.AsyncClient) -> None:
    to = address()
    told = event("spamreport", to)
    await post(client, [told])
    await client.post("/notifications/suppressions/lift", json={"email": to}, headers=ADMIN)
    await post(client, [told])

    assert (await client.get("/notifications/suppressions", headers=ADMIN)).json() == []


async def test_call_with_another_signature_body_or_time_changes_nothing(client: httpx.AsyncClient) -> None:
    events = [event("spamreport", address())]
    forged = await post(client, events, key=generate_private_key(SECP256R1()))
    changed = await post(client, events, body=json.dumps([event("spamreport", address())]).encode())
    old, early = await post(client, events, at=-400), await post(client, events, at=400)
    unsigned = await client.post(EVENTS, json=events)
    for refused in (forged, changed, old, early, unsigned):
        assert (refused.status_code, refused.json()["code"]) == (403, "bad_signature")
    for bad in ({"event": "bounce"}, [1], [{"event": "bounce"}], [{**events[0], "sg_event_id": "x" * 101}]):
        refused = await post(client, bad)
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_events")

    assert (await client.get("/notifications/suppressions", headers=ADMIN)).json() == []


def test_settings_that_sendgrid_would_refuse_are_refused(make_settings: Callable[..., Any]) -> None:
    for values in (
        {"mail_transport": "sendgrid"},
        {"sendgrid_api_key": API_KEY},  # without a sender of one's own
        {"sendgrid_webhook_key": "AAAA"},
        {"sendgrid_webhook_key": "not base64"},
    ):
        with pytest.raises(ValueError, match=r"SENDGRID|sendgrid|SendGrid"):
            make_settings(Settings, **values)
    assert (
        make_settings(Settings, sendgrid_api_key=API_KEY, mail_from="a@example.com").transport == "sendgrid"
    )
