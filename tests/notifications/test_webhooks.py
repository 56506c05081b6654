"""Webhooks: signed messages that are repeated until they arrive, and replayed on request."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlmodel import Session

from contracts.events import AccountChanged, AccountDeleted
from services.notifications.app import create_app
from services.notifications.models import WEBHOOKS
from services.notifications.settings import Settings
from services.notifications.webhooks import outcomes, sender, subscriptions
from services.notifications.webhooks.outcomes import Health
from shared.clock import now
from shared.data.database import Database
from shared.ids import new_id
from shared.testing import running
from shared.work import changes
from shared.work.leased import Leased, Queue
from tests.notifications.receiver import Call, Receiver, Reply, receiving
from tests.notifications.support import account, person, placed, tell

SECONDS = 30
HOOKS = "/notifications/webhooks"


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


@pytest.fixture
async def client(
    make_settings: Callable[..., Any],
    database_url: str,
    auth_url: str,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setattr(changes, "LOOK_SECONDS_LISTENING", 0.05)
    monkeypatch.setattr(changes, "LOOK_SECONDS", 0.05)
    receiver.reply = lambda _path, _number: Reply()
    settings = make_settings(
        Settings,
        database_url=database_url,
        auth_url=auth_url,
        webhook_retry_seconds=0.01,
        webhook_timeout_seconds=5.0,
    )
    async with running(create_app, settings) as client:
        yield client


class Owner:
    """A person with one webhook of their own."""

    def __init__(self, client: httpx.AsyncClient, receiver: Receiver) -> None:
        self.user_id, self.headers = person()
        self.path = f"/{new_id()}"
        self.url = receiver.url + self.path
        self.secret = ""
        self._client, self._receiver = client, receiver

    async def create(self, types: list[str] | None = None) -> str:
        body = {"url": self.url, "types": types or ["order.placed"]}
        made = await self._client.post(HOOKS, json=body, headers=self.headers)
        assert made.status_code == 201, made.text
        self.hook, self.secret = f"{HOOKS}/{made.json()['id']}", made.json()["secret"]
        return str(made.json()["id"])

    async def get(self, path: str = "") -> Any:
        return (await self._client.get(self.hook + path, headers=self.headers)).json()

    async def post(self, path: str, **body: Any) -> httpx.Response:
        return await self._client.post(self.hook + path, json=body or None, headers=self.headers)

    async def wait(self, state: str, number: int = 1) -> list[dict[str, Any]]:
        """Wait until that many messages are in this state, and return them."""
        async with asyncio.timeout(SECONDS):
            while True:
                found: list[dict[str, Any]] = await self.get(f"/messages?state={state}")
                if len(found) >= number:
                    return found
                await asyncio.sleep(0.02)

    async def wait_for_failure(self) -> None:
        """Wait until a failed call has been noted."""
        async with asyncio.timeout(SECONDS):
            while True:
                if (await self.get())["failing_since"] is not None:
                    return
                await asyncio.sleep(0.02)

    @property
    def calls(self) -> list[Call]:
        return self._receiver.at(self.path)


@pytest.fixture
def owner(client: httpx.AsyncClient, receiver: Receiver) -> Owner:
    return Owner(client, receiver)


async def test_event_reaches_the_webhook_signed_and_only_if_it_subscribed(
    client: httpx.AsyncClient, owner: Owner
) -> None:
    await owner.create(["order.placed", "order.placed"])
    event = placed(owner.user_id)
    await tell(client, event, placed(new_id()))

    (message,) = await owner.wait("delivered")
    (call,) = owner.calls
    assert call.id == message["id"]
    assert call.is_signed_with(owner.secret)
    assert not call.is_signed_with("whsec_" + "A" * 43 + "=")
    assert call.content["type"] == "order.placed"
    assert call.content["data"]["order_id"] == event.order_id
    shown = await owner.get(f"/messages/{message['id']}")
    assert shown["body"].encode() == call.body
    assert [(one["number"], one["outcome"], one["status"]) for one in shown["calls"]] == [
        (1, "delivered", 204)
    ]
    assert "secret" not in await owner.get()


async def test_both_secrets_sign_for_a_day_after_a_rotation(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    await owner.create()
    old = owner.secret
    for _ in range(2):
        older, old = old, (await owner.post("/secret")).json()["secret"]
    assert (await owner.post("/test")).status_code == 202
    await owner.wait("delivered")
    signed = owner.calls[0]
    assert (signed.is_signed_with(old), signed.is_signed_with(older)) == (True, True)
    assert not signed.is_signed_with(owner.secret)  # the secret before the previous one

    monkeypatch.setattr(subscriptions, "OLD_SECRET_VALID", now() - now())
    await owner.post("/test")
    await owner.wait("delivered", 2)
    assert owner.calls[1].is_signed_with(old)
    assert not owner.calls[1].is_signed_with(older)


async def test_secret_can_be_rotated_after_its_key_was_lost(
    client: httpx.AsyncClient, owner: Owner, database_url: str
) -> None:
    webhook_id = await owner.create()
    database = Database(database_url, pool_size=1)
    with database.transaction() as session:
        lost = WEBHOOKS.update().where(WEBHOOKS.c.id == webhook_id)
        session.connection().execute(lost.values(sealed="s1.0123456789abcdef.AAAA"))
    database.close()
    rotated = await owner.post("/secret")
    assert rotated.status_code == 200, rotated.text
    await owner.post("/test")
    await owner.wait("delivered")

    assert owner.calls[0].is_signed_with(rotated.json()["secret"])
    assert owner.calls[0].headers["webhook-signature"].count("v1,") == 1


async def test_webhook_of_an_account_that_is_not_active_receives_nothing(
    client: httpx.AsyncClient, owner: Owner
) -> None:
    await owner.create()
    await tell(client, account(owner.user_id, status="suspended"))
    await tell(client, placed(owner.user_id))
    assert await owner.get("/messages") == []

    await tell(client, account(owner.user_id, AccountChanged, status="active"))
    await tell(client, placed(owner.user_id))
    assert len(await owner.get("/messages")) == 1


async def test_response_of_a_url_that_was_replaced_meanwhile_does_not_disable_the_webhook(
    client: httpx.AsyncClient, owner: Owner, receiver: Receiver
) -> None:
    called, answers = threading.Event(), threading.Event()

    def held(path: str, _number: int) -> Reply:
        if path != owner.path:
            return Reply()
        called.set()
        answers.wait(SECONDS)
        return Reply(410)

    receiver.reply = held
    await owner.create()
    await owner.post("/test")
    assert await asyncio.to_thread(called.wait, SECONDS)
    body = {"url": f"{owner.url}-new", "types": ["order.placed"]}
    assert (await client.put(owner.hook, json=body, headers=owner.headers)).status_code == 200
    answers.set()
    await owner.wait("delivered")

    assert (await owner.get())["is_enabled"] is True
    assert len(receiver.at(f"{owner.path}-new")) == 1


async def test_message_is_repeated_with_its_id_until_it_arrives(owner: Owner, receiver: Receiver) -> None:
    replies = [Reply(500), Reply(302, {"Location": "http://127.0.0.1:1/"}), Reply(429), Reply(204)]
    receiver.reply = lambda _path, number: replies[min(number, 3)]
    await owner.create()
    await owner.post("/test")

    (message,) = await owner.wait("delivered")
    assert message["attempts"] == 4
    assert {call.id for call in owner.calls} == {message["id"]}
    calls = (await owner.get(f"/messages/{message['id']}"))["calls"]
    assert [one["code"] for one in calls] == ["status_500", "status_302", "status_429", None]
    assert (await owner.get())["failing_since"] is None


async def test_failed_messages_are_replayed_singly_and_by_span(
    owner: Owner, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "ATTEMPTS_MAX", 1)
    receiver.reply = lambda _path, _number: Reply(500)
    await owner.create()
    begin = now()
    for _ in range(3):
        await owner.post("/test")
    failed = await owner.wait("failed", 3)
    receiver.reply = lambda _path, _number: Reply()

    assert (await owner.post(f"/messages/{failed[0]['id']}/replay")).status_code == 202
    await owner.wait("delivered")
    span = {"begin": begin.isoformat(), "end": "2100-01-01T00:00:00Z"}
    replayed = await owner.post("/replay", **span)
    assert (replayed.status_code, replayed.json()) == (202, {"queued": 2, "next": None})
    await owner.wait("delivered", 3)
    again = await owner.post("/replay", **span, with_delivered=True, after=failed[1]["id"])
    assert again.json()["queued"] == 1  # the newest; `after` is left out
    await owner.wait("delivered", 3)


async def test_webhook_that_is_gone_is_disabled_and_its_owner_is_notified(
    client: httpx.AsyncClient, owner: Owner, receiver: Receiver
) -> None:
    receiver.reply = lambda _path, _number: Reply(410)
    webhook_id = await owner.create()
    await owner.post("/test")
    (message,) = await owner.wait("failed")

    shown = await owner.get()
    assert (shown["is_enabled"], shown["disabled_because"]) == (False, "gone")
    (notice,) = (await client.get("/notifications", headers=owner.headers)).json()
    assert (notice["type"], notice["data"]) == ("webhook.disabled", {"webhook_id": webhook_id})
    assert "127.0.0.1 answered 410" in notice["content"]
    assert owner.path not in str(notice), "the path of a URL may be its secret"
    for refused in (await owner.post("/test"), await owner.post(f"/messages/{message['id']}/replay")):
        assert (refused.status_code, refused.json()["code"]) == (409, "webhook_disabled")

    receiver.reply = lambda _path, _number: Reply()
    body = {"url": owner.url, "types": ["order.placed"]}
    enabled = await client.put(owner.hook, json=body, headers=owner.headers)
    assert (enabled.status_code, enabled.json()["disabled_because"]) == (200, None)
    await owner.post(f"/messages/{message['id']}/replay")
    await owner.wait("delivered")


async def test_failing_webhook_rests_until_it_is_changed_while_others_at_its_host_are_called(
    client: httpx.AsyncClient, owner: Owner, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Health, "_pause", lambda *_: timedelta(hours=1))
    receiver.reply = lambda path, _number: Reply(500 if path == owner.path else 204)
    other = Owner(client, receiver)
    for each in (owner, other):
        await each.create()
    await owner.post("/test")
    await owner.wait_for_failure()
    for _ in range(2):
        await other.post("/test")
    await other.wait("delivered", 2)
    (message,) = await owner.wait("queued")
    assert (message["attempts"], len(owner.calls)) == (1, 1)

    receiver.reply = lambda _path, _number: Reply()
    body = {"url": owner.url, "types": ["order.placed"]}
    assert (await client.put(owner.hook, json=body, headers=owner.headers)).status_code == 200
    await owner.wait("delivered")


async def test_messages_of_a_full_webhook_wait_without_being_put_off_one_by_one(
    client: httpx.AsyncClient, owner: Owner, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_off, real = list[str](), Queue.put_off

    def counted(self: Queue, session: Session, leased: Leased, after: timedelta, *, attempts: int) -> None:
        put_off.append(leased.body)
        real(self, session, leased, after, attempts=attempts)

    monkeypatch.setattr(Queue, "put_off", counted)
    receiver.reply = lambda path, _number: Reply(late=0.5 if path == owner.path else 0)
    other = Owner(client, receiver)
    for each in (owner, other):
        await each.create()
    for _ in range(10):
        await owner.post("/test")
    await other.post("/test")
    await other.wait("delivered")
    await owner.wait("delivered", 10)

    assert put_off == []
    assert len(owner.calls) == 10


async def test_webhook_that_failed_for_days_is_disabled_and_what_waits_fails(
    client: httpx.AsyncClient, owner: Owner, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.reply = lambda _path, _number: Reply(500)
    await owner.create()
    later = now() + timedelta(days=6)
    await owner.post("/test")
    await owner.wait_for_failure()
    monkeypatch.setattr(sender, "now", lambda: later)
    await owner.wait("failed")

    shown = await owner.get()
    assert (shown["is_enabled"], shown["disabled_because"]) == (False, "failing")
    (notice,) = (await client.get("/notifications", headers=owner.headers)).json()
    assert "failed for days" in notice["content"]


async def test_webhook_is_bounded_and_closed_to_others_and_deleted_with_its_account(
    client: httpx.AsyncClient, owner: Owner
) -> None:
    stranger = person()[1]
    await owner.create()
    await owner.post("/test")
    (message,) = await owner.wait("delivered")
    for path in ("", "/messages", f"/messages/{message['id']}"):
        assert (await client.get(owner.hook + path, headers=stranger)).status_code == 404
    for path in ("/secret", "/test", f"/messages/{message['id']}/replay"):
        assert (await client.post(owner.hook + path, headers=stranger)).status_code == 404
    assert (await client.delete(owner.hook, headers=stranger)).status_code == 404

    messages = set()
    for url in ("https://10.0.0.7/x", "https://169.254.169.254/", "https://name.invalid/"):
        private = {"url": url, "types": ["order.placed"]}
        refused = await client.post(HOOKS, json=private, headers=owner.headers)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "url")
        messages.add(refused.json()["errors"][0]["message"])
    assert len(messages) == 1  # it does not tell which names exist in a private network
    one_more = {"url": owner.url, "types": ["message"]}
    made = await asyncio.gather(
        *(client.post(HOOKS, json=one_more, headers=owner.headers) for _ in range(11))
    )
    assert sorted(one.status_code for one in made) == [201] * 9 + [409] * 2

    await tell(client, AccountDeleted(account_id=owner.user_id, deleted=now()))
    assert (await client.get(HOOKS, headers=owner.headers)).json() == {"webhooks": []}
