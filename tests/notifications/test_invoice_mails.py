"""Mails with an invoice: it is fetched from orders when the mail is sent."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import pytest

from contracts.events import AccountDeleted
from contracts.invoices import INVOICE_BYTES_MAX, InvoiceIssued
from services.notifications import courier
from services.notifications.app import create_app
from services.notifications.mail import attachments
from services.notifications.settings import Settings
from shared.clock import now
from shared.ids import new_id
from shared.pdf.renderer import Limits
from shared.peers.client import InternalTokens
from shared.testing import running
from shared.work import changes
from tests.notifications import smtp
from tests.notifications.smtp import Server
from tests.notifications.support import ADMIN, MOMENT, account, person, tell
from tests.notifications.test_mails import address, asked, ended

PDF = b"%PDF-1.7\n" + bytes(range(256)) * 40
SECONDS_MAX = 60

Answer = tuple[int, bytes]
Start = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


class Orders(ThreadingHTTPServer):
    """Answers like orders; `answer` decides, and each call is kept with the service that made it."""

    daemon_threads = True

    def __init__(self, tokens: InternalTokens) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.tokens, self.calls = tokens, list[tuple[str, str]]()
        self.answer: Callable[[int], Answer] = lambda _: (200, PDF)


class _Handler(BaseHTTPRequestHandler):
    server: Orders

    def do_GET(self) -> None:
        caller = self.server.tokens.verify(self.headers["Authorization"].removeprefix("Bearer "))
        self.server.calls.append((caller, self.path))
        status, body = self.server.answer(len(self.server.calls))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with smtp.serving() as server:
        yield server


@pytest.fixture
def orders(make_settings: Callable[..., Any]) -> Iterator[Orders]:
    class OrdersSettings(Settings):
        service = "orders"

    with Orders(InternalTokens(make_settings(OrdersSettings))) as made:
        serving = Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        yield made
        made.shutdown()
        serving.join()


@pytest.fixture
def start(
    make_settings: Callable[..., Any],
    database_url: str,
    server: Server,
    orders: Orders,
    monkeypatch: pytest.MonkeyPatch,
) -> Start:
    """Starts services that try again at once, with a person who may be mailed."""
    monkeypatch.setattr(courier, "AWAY_FIRST", timedelta(0))
    monkeypatch.setattr(courier, "RETRY_FIRST", timedelta(0))
    monkeypatch.setattr(attachments, "REST_SECONDS", 0.0)
    monkeypatch.setattr(changes, "LOOK_SECONDS_LISTENING", 0.05)

    def starting(**values: Any) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        usual = {
            "database_url": database_url,
            "orders_url": f"http://127.0.0.1:{orders.server_port}",
            "smtp_url": f"smtp://127.0.0.1:{server.port}",
            "mail_from": "no-reply@example.com",
        }
        return running(create_app, make_settings(Settings, **{**usual, **values}))

    return starting


@asynccontextmanager
async def owner(start: Start, **values: Any) -> AsyncIterator[tuple[httpx.AsyncClient, str, str]]:
    """Start the service, and tell it of a person with a confirmed address."""
    (me, _), to = person(), address()
    async with start(**values) as client:
        await tell(client, account(me, email=to, email_verified=True))
        yield client, me, to


def issued(user_id: str, **changes: Any) -> InvoiceIssued:
    event = InvoiceIssued(
        invoice_id=new_id(),
        order_id=new_id(),
        user_id=user_id,
        kind="invoice",
        number="INV-2026-000042",
        total_minor=9999,
        currency="USD",
        issued=MOMENT,
    )
    return event.model_copy(update=changes)


async def delivery(client: httpx.AsyncClient, user_id: str) -> dict[str, Any]:
    """Wait until the only mail to a person has ended, and return it."""
    (listed,) = (await client.get(f"/notifications/deliveries?user_id={user_id}", headers=ADMIN)).json()
    return await ended(client, listed["id"])


def attached(mail: EmailMessage) -> list[tuple[str | None, str, bytes]]:
    return [
        (one.get_filename(), one.get_content_type(), one.get_content()) for one in mail.iter_attachments()
    ]


async def test_mail_of_an_invoice_contains_the_pdf_that_orders_made(
    start: Start, server: Server, orders: Orders
) -> None:
    async with owner(start) as (client, me, to):
        event = issued(me)
        await tell(client, event)
        shown = await delivery(client, me)
    (mail,) = server.to(to)

    assert (shown["state"], shown["template"], shown["attempts"]) == ("sent", "invoice", 1)
    assert orders.calls == [("notifications", f"/internal/invoices/{event.invoice_id}/pdf")]
    assert attached(mail) == [("INV-2026-000042.pdf", "application/pdf", PDF)]
    assert mail["Subject"] == "Your invoice was issued"
    assert [one.get_content_type() for one in mail.iter_parts()] == [
        "multipart/alternative",
        "application/pdf",
    ]
    text, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text is not None
    assert html is not None
    assert "INV-2026-000042 for 99.99 USD" in text.get_content()
    assert "attached" in html.get_content()


async def test_number_of_an_invoice_becomes_no_header_and_no_path(
    start: Start, server: Server, orders: Orders
) -> None:
    evil = {
        "number": 'a"\r\nBcc: eve@example.com',
        "kind": "invoice\r\nBcc: eve",
        "invoice_id": "../../x?y#z",
    }
    async with owner(start) as (client, me, to):
        await tell(client, issued(me, **evil))
        shown = await delivery(client, me)
    (mail,) = server.to(to)

    assert shown["state"] == "sent"
    assert orders.calls == [("notifications", "/internal/invoices/..%2F..%2Fx%3Fy%23z/pdf")]
    assert [name for name, _, _ in attached(mail)] == ["document.pdf"]
    assert "Bcc" not in mail
    assert all("Bcc" not in part for part in mail.walk())
    assert len(server.to("eve@example.com")) == 0


async def test_mail_waits_for_orders_without_costing_attempts_or_holding_up_others(
    start: Start, server: Server, orders: Orders
) -> None:
    not_ready = 503, b'{"code": "pdf_not_rendered"}'
    orders.answer = lambda number: not_ready if number <= 8 else (200, PDF)
    other = asked(address())
    async with owner(start) as (client, me, to):
        await tell(client, issued(me))
        await tell(client, other)
        shown, prompt = await delivery(client, me), await ended(client, other.mail_id)
    (mail,) = server.to(to)

    assert (shown["state"], shown["attempts"]) == ("sent", 9), "more than the eight that a mail has"
    assert {(one["outcome"], one["code"]) for one in shown["made"][:-1]} == {("unready", "invoice_not_ready")}
    assert attached(mail)[0][2] == PDF
    assert (prompt["state"], prompt["attempts"]) == ("sent", 1)


async def test_orders_that_hangs_holds_up_one_mail_for_the_time_limit_and_then_rests(
    start: Start, server: Server, orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attachments, "REST_SECONDS", 3600.0)
    monkeypatch.setattr(courier, "AWAY_FIRST", timedelta(hours=1))
    closing = threading.Event()

    def hang(_: int) -> Answer:
        closing.wait(SECONDS_MAX)
        return 200, PDF

    orders.answer = hang
    async with owner(start, mail_timeout_seconds=0.2) as (client, me, to):
        await tell(client, issued(me))
        states = await noted(client, me, 1)
        await tell(client, issued(me))
        states = await noted(client, me, 2)
        closing.set()

    assert [(one["state"], one["code"]) for one in states] == [
        ("queued", "orders_resting"),
        ("queued", "orders_away"),
    ]
    assert len(orders.calls) == 1
    assert server.to(to) == []


async def noted(client: httpx.AsyncClient, user_id: str, number: int) -> list[dict[str, Any]]:
    """Wait until this number of mails to a person has a code, and return them, newest first."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            listed = (await client.get(f"/notifications/deliveries?user_id={user_id}", headers=ADMIN)).json()
            if sum(one["code"] is not None for one in listed) == number:
                found: list[dict[str, Any]] = listed
                return found
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("answer", "code", "attempts"),
    [
        ((404, b'{"code": "not_found"}'), "no_such_invoice", 8),
        ((200, b"x" * (INVOICE_BYTES_MAX + 1)), "invoice_too_large", 1),
    ],
    ids=["gone", "too large"],
)
async def test_invoice_that_is_gone_or_too_large_is_not_mailed(
    start: Start, server: Server, orders: Orders, answer: Answer, code: str, attempts: int
) -> None:
    orders.answer = lambda _: answer
    async with owner(start) as (client, me, to):
        await tell(client, issued(me))
        shown = await delivery(client, me)

    assert (shown["state"], shown["code"], shown["attempts"]) == ("failed", code, attempts)
    assert server.to(to) == []


async def test_account_that_is_deleted_while_its_invoice_is_fetched_gets_no_mail(
    start: Start, server: Server, orders: Orders
) -> None:
    asked_for, may_answer = threading.Event(), threading.Event()

    def answer(_: int) -> Answer:
        asked_for.set()
        may_answer.wait(SECONDS_MAX)
        return 200, PDF

    orders.answer = answer
    async with owner(start) as (client, me, to):
        await tell(client, issued(me))
        assert await asyncio.to_thread(asked_for.wait, SECONDS_MAX)
        await tell(client, AccountDeleted(account_id=me, deleted=now()))
        may_answer.set()
        last = asked(address())
        await tell(client, last)
        await ended(client, last.mail_id)  # later than the first one: the mailer takes them in turns
        listed = await client.get(f"/notifications/deliveries?user_id={me}", headers=ADMIN)

    assert server.to(to) == []
    assert listed.json() == []


def test_limit_is_that_of_the_renderer() -> None:
    assert Limits().pdf_bytes == INVOICE_BYTES_MAX
