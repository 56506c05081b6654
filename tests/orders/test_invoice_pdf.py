"""The PDF of an invoice: what it says, that it lasts, and what happens when it cannot be rendered."""

import asyncio
import hashlib
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, select, update

from services.orders import app
from services.orders.app import create_app
from services.orders.invoices import documents
from services.orders.invoices.layout import money
from services.orders.models import INVOICES, PDFS
from services.orders.settings import Settings
from shared.data.database import Database
from shared.pdf.errors import NotRendered, Reason
from shared.pdf.renderer import Limits, Rendered, Renderer
from shared.testing import bearer, running, token
from tests.orders.support import add_product, buy, step
from tests.orders.test_invoices import BUYER, add_lines, confirmed, issue
from tests.pdfs import archive_faults, created, pages_of, tags_of, text_of

HOSTILE = '#panic() *bold* $x$ [#eval("1")] <a> @b // c'


async def pdf_of(
    orders: httpx.AsyncClient, order: str, who: dict[str, str], kind: str = "invoice"
) -> httpx.Response:
    response = await orders.get(f"/orders/{order}/{kind}", headers=who)
    assert response.status_code == 200, response.text
    return response


def words(pdf: bytes) -> str:
    return " ".join(text_of(pdf).split())


def stored(database_url: str) -> list[tuple[str, bytes]]:
    with (
        closing(Database(database_url, pool_size=1)) as database,
        database.transaction(write=False) as session,
    ):
        both = select(INVOICES.c.pdf_sha256, PDFS.c.pdf).join(PDFS, PDFS.c.invoice_id == INVOICES.c.id)
        return [(row[0], bytes(row[1])) for row in session.connection().execute(both)]


async def test_invoice_states_seller_buyer_lines_and_sums(orders: httpx.AsyncClient) -> None:
    me = bearer(token())
    lamp = await add_product(orders, 2000, name="Lamp", price=1234.5, tax_rate=24, currency="EUR")
    order = (await buy(orders, me, (lamp, 1200))).json()["id"]
    await step(orders, order, "confirmed")
    invoice = (await issue(orders, order, me, buyer=BUYER)).json()
    response = await pdf_of(orders, order, me)
    text = words(response.content)

    assert response.headers["content-type"] == "application/pdf"
    assert response.headers["content-disposition"] == f'attachment; filename="{invoice["number"]}.pdf"'
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["vary"] == "accept"
    for words_of_it in (
        "Invoice",
        invoice["number"],
        "Example Company 1 Example Street 10000 Example City",
        "Billed to Ann Example 2 Example Road 20000 Example Town Tax ID EX-1",
        f"Lamp {lamp['sku']} 1,200 1,234.50 24% 1,481,400.00",
        "Net amount 1,481,400.00 Tax 24% on 1,481,400.00 355,536.00",
        "Total EUR",
        "1,836,936.00",
        f"Order {order}",
        "Page 1 of 1",
    ):
        assert words_of_it in text
    assert archive_faults(response.content, title=f"Invoice {invoice['number']}") == []
    assert {"H1", "H2", "Table", "THead", "TBody", "TH", "TD"} <= tags_of(response.content)
    assert created(response.content)[2:10] == invoice["issued"][:10].replace("-", "")


async def test_credit_note_names_the_invoice_that_it_takes_back(orders: httpx.AsyncClient) -> None:
    me = bearer(token())
    order = await confirmed(orders, me)
    number = (await issue(orders, order, me)).json()["number"]
    await step(orders, order, "cancelled")
    await issue(orders, order, me, "credit-note")
    text = words((await pdf_of(orders, order, me, "credit-note")).content)

    assert f"Credits invoice {number}" in text
    assert "Total credited" in text
    assert number in words((await pdf_of(orders, order, me)).content)  # the invoice itself is still there


async def test_source_in_names_comes_out_as_text(orders: httpx.AsyncClient) -> None:
    me = bearer(token())
    lamp = await add_product(orders, 2, name=HOSTILE)
    order = (await buy(orders, me, (lamp, 1))).json()["id"]
    await step(orders, order, "confirmed")
    await issue(orders, order, me, buyer={"name": f"Buyer {HOSTILE}", "address": HOSTILE})

    assert words((await pdf_of(orders, order, me)).content).count(HOSTILE) == 3


async def test_breaks_in_long_words_leave_no_trace_in_the_text(orders: httpx.AsyncClient) -> None:
    """A zero-width space was stored as a part of the letter before it, and so appeared in other words."""
    me, long = bearer(token()), "x" * 14 + "d" + "x" * 45
    order = await confirmed(orders, me)
    await issue(orders, order, me, buyer={"name": long, "address": long})
    await step(orders, order, "cancelled")
    await issue(orders, order, me, "credit-note")
    text = words((await pdf_of(orders, order, me, "credit-note")).content)

    assert "\u200b" not in text
    assert "Total credited" in text
    assert text.replace(" ", "").count(long) == 2


async def test_characters_without_a_font_are_numbers_and_explained(orders: httpx.AsyncClient) -> None:
    me = bearer(token())
    order = await confirmed(orders, me)
    await issue(orders, order, me, buyer={"name": "水 Łódź Ἀθῆναι Ёлка"})
    text = words((await pdf_of(orders, order, me)).content)

    assert "[U+6C34] Łódź Ἀθῆναι Ёлка" in text
    assert "Characters that the fonts of this document lack" in text


async def test_long_words_stay_on_the_page(orders: httpx.AsyncClient) -> None:
    me = bearer(token())
    order = await confirmed(orders, me)
    await issue(orders, order, me, buyer={"name": "W" * 200, "address": "\n".join("123456789")})
    text = words((await pdf_of(orders, order, me)).content)

    assert "W" * 15 + " " + "W" * 15 in text  # it was broken into lines
    assert "7 8, 9" in text  # an address has 8 lines at most


async def test_pdf_is_stored_with_its_hash_and_read_again(
    orders: httpx.AsyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = bearer(token())
    order = await confirmed(orders, me)
    await issue(orders, order, me)
    first = (await pdf_of(orders, order, me)).content
    monkeypatch.setattr(documents, "document_of", None)  # it is not rendered any more

    assert (await pdf_of(orders, order, me)).content == first
    assert stored(database_url) == [(hashlib.sha256(first).hexdigest(), first)]


async def test_pdf_that_was_lost_can_be_rendered_again_to_the_same_bytes(
    orders: httpx.AsyncClient, database_url: str
) -> None:
    me = bearer(token())
    order = await confirmed(orders, me)
    await issue(orders, order, me)
    first = (await pdf_of(orders, order, me)).content
    with closing(Database(database_url, pool_size=1)) as database, database.transaction() as session:
        session.connection().execute(delete(PDFS))
        session.connection().execute(update(INVOICES).values(pdf_sha256=None))

    assert (await pdf_of(orders, order, me)).content == first


async def test_many_readers_at_once_render_and_store_it_once(
    orders: httpx.AsyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    render, rendered = Renderer.render, list[str]()

    async def render_and_count(self: Renderer, template: str, data: dict[str, Any], issued: Any) -> Rendered:
        rendered.append(data["number"])
        return await render(self, template, data, issued)

    me = bearer(token())
    order = await confirmed(orders, me)
    await issue(orders, order, me)
    monkeypatch.setattr(Renderer, "render", render_and_count)
    read = await asyncio.gather(*[pdf_of(orders, order, me) for _ in range(8)])

    assert len({one.content for one in read}) == 1
    assert len(rendered) == 1
    assert len(stored(database_url)) == 1


async def test_duty_renders_what_nobody_has_read(
    make_settings: Callable[..., Any], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "RENDER_SECONDS", 0.1)
    me = bearer(token())
    async with running(create_app, make_settings(Settings, database_url=database_url)) as orders:
        for _ in range(2):
            await issue(orders, await confirmed(orders, me), me)
        async with asyncio.timeout(60):
            while len(await asyncio.to_thread(stored, database_url)) < 2:  # noqa: ASYNC110 - it is in the database
                await asyncio.sleep(0.05)

    assert all(hashlib.sha256(pdf).hexdigest() == sha256 for sha256, pdf in stored(database_url))


@pytest.mark.parametrize("error", [NotRendered(Reason.NOT_COMPILED), ValueError("a broken snapshot")])
async def test_invoices_that_cannot_be_rendered_do_not_stop_the_next_one(
    make_settings: Callable[..., Any], database_url: str, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    render, tried = Renderer.render, list[str]()

    async def fail(*_arguments: object) -> None:
        raise error

    async def fail_for_the_first(
        self: Renderer, template: str, data: dict[str, Any], issued: Any
    ) -> Rendered:
        tried.append(data["number"][-1])
        if tried[-1] in "12":
            raise error
        return await render(self, template, data, issued)

    monkeypatch.setattr(Renderer, "render", fail)  # for the service's own duty
    monkeypatch.setattr(documents, "INVOICES_PER_RUN", 2)
    me = bearer(token())
    async with running(create_app, make_settings(Settings, database_url=database_url)) as orders:
        for _ in range(3):
            await issue(orders, await confirmed(orders, me), me)
    with closing(Database(database_url, pool_size=2)) as database:
        monkeypatch.setattr(Renderer, "render", fail_for_the_first)
        async with documents.Documents(database, None) as duty:
            for _ in range(4):
                await asyncio.to_thread(duty.render_pending, lambda: False)

    assert tried == ["1", "2", "3", "1", "2"]
    assert len(stored(database_url)) == 1


async def test_invoice_that_cannot_be_rendered_now_is_issued_and_rendered_later(
    orders: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_arguments: object) -> None:
        raise NotRendered(Reason.WORKER_DIED)

    me = bearer(token())
    order = await confirmed(orders, me)
    with monkeypatch.context() as patched:
        patched.setattr(Renderer, "render", fail)
        assert (await issue(orders, order, me)).status_code == 201
        response = await orders.get(f"/orders/{order}/invoice", headers=me)
        assert (response.status_code, response.json()["code"]) == (503, "pdf_not_rendered")
        assert (response.json()["reason"], response.headers["retry-after"]) == ("worker_died", "1")

    assert "Laptop" in words((await pdf_of(orders, order, me)).content)


async def test_500_lines_take_less_than_the_limits(
    make_settings: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """The limits are those of production: 10 seconds and 512 MiB."""
    settings, me = make_settings(Settings), bearer(token())
    async with running(create_app, settings) as orders:
        order = await confirmed(orders, me)
        add_lines(settings.database_url, order, 500)
        number_of_it = (await issue(orders, order, me, buyer=BUYER)).json()["number"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        began = time.monotonic()
        pdf = (await pdf_of(orders, order, me)).content
        seconds = time.monotonic() - began
    pages = pages_of(pdf)
    memory = max(before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    with capsys.disabled():
        print(f"\n500 lines: {seconds:.1f} s, {memory >> 10} MiB, {len(pdf) >> 10} KiB, {len(pages)} pages")

    assert Limits() == Limits(seconds=10.0, memory=512 * 1024 * 1024, pdf_bytes=1024 * 1024)
    assert len(pages) > 10
    for number, page in enumerate(pages, 1):
        assert f"Page {number} of {len(pages)}" in " ".join(page.split())
    assert all("Unit price" in page for page in pages[:-1])  # the header of the table is repeated
    assert "Total" in pages[-1]
    assert archive_faults(pdf, title=f"Invoice {number_of_it}") == []


def test_service_does_not_import_the_compiler() -> None:
    program = "import sys, services.orders.app; sys.exit('typst' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (0, "USD", "0.00"),
        (5, "EUR", "0.05"),
        (123456789, "JPY", "123,456,789"),
        (1234567, "KWD", "1,234.567"),
    ],
)
def test_money_has_the_decimals_of_its_currency(minor: int, currency: str, text: str) -> None:
    assert money(minor, currency) == text
