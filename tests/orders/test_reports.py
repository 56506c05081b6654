"""Reports: what is in them, who gets them, how long they stay, and that a killed worker is continued."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update

from contracts.events import AccountDeleted
from services.orders.models import ORDERS, REPORT_PARTS, WORK
from shared.clock import now
from shared.data.bulk import insert_rows
from shared.data.database import Database
from shared.events.event import Sealed
from shared.ids import first_id, new_id
from shared.reports import reports, source, writing
from shared.reports.files import Files
from shared.testing import bearer, internal_token, token
from tests import reports as reading
from tests.lists import LARGE, row_id
from tests.orders.replicas import Shop
from tests.orders.support import ADMIN, ADMIN_ID, add_product, buy, step
from tests.pdfs import archive_faults, tags_of, text_of
from tests.reports import rows_of
from tests.shared.test_workbooks import read as workbook

PATH = "/reports"
YEAR = {"kind": "orders", "month": "2024-01", "months": 12, "format": "csv"}


def add_orders(database_url: str, number: int, **values: Any) -> list[str]:
    """Add orders, one each second from the beginning of 2024 on."""
    ids = [row_id(one) for one in range(number)]
    order = {"user_id": LARGE, "product_name": "Laptop", "quantity": 1, "total_minor": 1050}
    at = datetime(2024, 1, 1, 12, tzinfo=UTC)
    times = {"created": at, "updated": at, "version": 1, "line_count": 0}
    rows = [{"id": one, **order, "currency": "USD", "status": "delivered", **times, **values} for one in ids]
    with closing(Database(database_url, pool_size=1)) as database, database.transaction() as session:
        insert_rows(session, ORDERS, rows)
    return ids


async def begun(orders: httpx.AsyncClient, **changes: Any) -> str:
    return await reading.begun(orders, PATH, ADMIN, **{**YEAR, **changes})


async def ended(orders: httpx.AsyncClient, report: str) -> dict[str, Any]:
    return await reading.ended(orders, PATH, ADMIN, report)


async def file_of(orders: httpx.AsyncClient, report: str) -> httpx.Response:
    return await reading.file_of(orders, PATH, ADMIN, report)


def parts_of(database_url: str) -> int:
    with (
        closing(Database(database_url, pool_size=1)) as database,
        database.transaction(write=False) as session,
    ):
        counted = select(func.count()).select_from(REPORT_PARTS)
        return int(session.connection().execute(counted).scalar_one())


async def test_csv_has_each_order_of_the_months_once_and_no_formula(
    orders: httpx.AsyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "PORTION_ROWS", 10)
    ids = add_orders(database_url, 34, product_name="=HYPERLINK(1)")
    report = await begun(orders)
    job = await ended(orders, report)
    response = await file_of(orders, report)
    rows = rows_of(response.content)
    later = await file_of(orders, await begun(orders, month="2024-02", months=1))

    assert [one["id"] for one in rows] == ids
    assert {(one["total"], one["currency"], one["status"]) for one in rows} == {("10.50", "USD", "delivered")}
    assert {one["product_name"] for one in rows} == {"'=HYPERLINK(1)"}
    assert rows[0]["created"] == "2024-01-01T12:00:00Z"
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"] == 'attachment; filename="orders-2024-01-12.csv"'
    assert (job["progress"], job["total"], job["result"]["rows"]) == (34, 34, 34)
    assert job["started"].endswith("Z")
    assert parts_of(database_url) == 1 + 4 + 1
    assert rows_of(later.content) == [], "orders of another month"


async def test_pdf_sums_up_by_month_state_and_currency_and_lasts(
    orders: httpx.AsyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "PORTION_ROWS", 10)
    add_orders(database_url, 34)
    report = await begun(orders, format="pdf", months=2)
    response = await file_of(orders, report)
    text = " ".join(text_of(response.content).split())

    assert "Orders January 2024 to February 2024 (UTC)" in text
    assert "2024-01 delivered 34 357.00 USD" in text
    assert "In all Number Total Currency 34 357.00 USD" in text
    assert archive_faults(response.content, title="Orders, January 2024 to February 2024") == []
    assert {"H1", "H2", "Table", "THead", "TBody", "TH", "TD"} <= tags_of(response.content)
    assert response.headers["content-type"] == "application/pdf"


async def test_report_about_invoices_has_their_numbers_but_adds_no_credit_notes_to_them(
    orders: httpx.AsyncClient,
) -> None:
    me, month = bearer(token()), f"{now():%Y-%m}"
    order = (await buy(orders, me, (await add_product(orders, 2), 1))).json()["id"]
    await step(orders, order, "confirmed")
    invoice = (await orders.post(f"/orders/{order}/invoice", headers=me)).json()
    await step(orders, order, "cancelled")
    note = (await orders.post(f"/orders/{order}/credit-note", headers=me)).json()
    wanted = {"kind": "invoices", "month": month, "months": 1}
    rows = rows_of((await file_of(orders, await begun(orders, **wanted))).content)
    pdf = text_of((await file_of(orders, await begun(orders, **wanted, format="pdf"))).content)

    assert [(one["number"], one["kind"], one["total"]) for one in rows] == [
        (invoice["number"], "invoice", "9.99"),
        (note["number"], "credit_note", "9.99"),
    ]
    assert "credit note" in " ".join(pdf.split())
    assert "In all" not in pdf
    assert "as far as it had passed" in " ".join(pdf.split())


async def test_only_admins_start_and_download_reports_and_bad_months_are_refused(
    orders: httpx.AsyncClient,
) -> None:
    me = bearer(token())
    report = await begun(orders)
    await ended(orders, report)
    narrow = bearer(token(ADMIN_ID, role="admin", scope="orders:read"))

    for who, status in ((me, 403), ({}, 401), (narrow, 403)):
        assert (await orders.post("/reports", json=YEAR, headers=who)).status_code == status
        assert (await orders.get(f"/reports/{report}/file", headers=who)).status_code == status
    assert (await orders.get(f"/reports/jobs/{report}", headers=me)).status_code == 404
    assert (await orders.get(f"/reports/{new_id()}/file", headers=ADMIN)).status_code == 404
    for wrong in ({"month": "2024-13"}, {"months": 13}, {"months": 0}, {"kind": "users"}, {"format": "exe"}):
        refused = await orders.post("/reports", json={**YEAR, **wrong}, headers=ADMIN)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, next(iter(wrong)))


async def test_report_that_is_too_large_or_not_done_has_no_file(
    orders: httpx.AsyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "ROWS_MAX", 5)
    monkeypatch.setattr(reports, "REPORTS_DAILY", 2)
    add_orders(database_url, 6)
    report = await begun(orders)
    job = await ended(orders, report)
    file = await orders.get(f"/reports/{report}/file", headers=ADMIN)
    await begun(orders)
    third = await orders.post("/reports", json=YEAR, headers=ADMIN)

    assert (job["state"], job["error"]) == ("failed", "It has more than 5 rows. Choose fewer months.")
    assert (file.status_code, file.json()["code"], file.json()["state"]) == (
        409,
        "report_not_ready",
        "failed",
    )
    assert third.status_code == 429


async def test_file_is_deleted_when_it_expires_and_with_its_job_when_the_admin_is_deleted(
    orders: httpx.AsyncClient, database_url: str
) -> None:
    old, fresh = await begun(orders), await begun(orders)
    for one in (old, fresh):
        await file_of(orders, one)
    aged = first_id(now(), -timedelta(days=7, seconds=1))
    with closing(Database(database_url, pool_size=1)) as database:
        with database.transaction() as session:
            for column in (WORK.jobs.c.id, REPORT_PARTS.c.report_id):
                aging = update(column.table).where(column == old)
                session.connection().execute(aging.values({column: aged}))
        expired = await orders.get(f"/reports/{aged}/file", headers=ADMIN)
        Files(REPORT_PARTS).delete_expired(database, timedelta(days=7), lambda: False)
    gone = Sealed("auth", AccountDeleted(account_id=ADMIN_ID, deleted=now())).body
    headers = bearer(internal_token("orders", issuer="auth")) | {"Content-Type": "application/json"}
    before = await orders.get(f"/reports/{fresh}/file", headers=ADMIN)
    told = await orders.post("/internal/events", content=f'{{"events":[{gone}]}}', headers=headers)
    after = await orders.get(f"/reports/{fresh}/file", headers=ADMIN)

    assert (expired.status_code, expired.json()["code"]) == (410, "report_expired")
    assert parts_of(database_url) == 1, "only of the fresh one"
    assert (before.status_code, told.status_code, after.status_code) == (200, 204, 404)


async def test_workbook_has_the_rows_of_the_csv_with_amounts_as_numbers(
    orders: httpx.AsyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "PORTION_ROWS", 10)
    add_orders(database_url, 34, product_name="=HYPERLINK(1)")
    report = await begun(orders, format="xlsx")
    response = await file_of(orders, report)
    header, *rows = workbook(response.content)
    text = rows_of((await file_of(orders, await begun(orders))).content)

    assert header == list(text[0])
    assert [row[0] for row in rows] == [one["id"] for one in text]
    assert {row[header.index("total")] for row in rows} == {"n:10.50"}
    assert {row[header.index("product_name")] for row in rows} == {"=HYPERLINK(1)"}, "a text, no formula"
    assert response.headers["content-type"].endswith("spreadsheetml.sheet")
    assert response.headers["content-disposition"] == 'attachment; filename="orders-2024-01-12.xlsx"'


async def test_report_of_a_killed_worker_is_continued_without_a_gap_or_a_double(
    shop: Shop, database_url: str
) -> None:
    ids = add_orders(database_url, 4 * source.PORTION_ROWS + 1)
    victim, other = shop.replicas
    victim.start(dies_at="job: stepped")
    other.start(BACKGROUND="off")  # it accepts requests, and leaves the work to the victim
    async with httpx.AsyncClient(base_url=other.url, timeout=30) as client:
        report, book = await begun(client), await begun(client, format="xlsx")
    victim.wait_until_killed()
    other.close()
    other.start()
    async with httpx.AsyncClient(base_url=other.url, timeout=30) as client:
        rows = rows_of((await file_of(client, report)).content)
        job = await ended(client, report)
        cells = workbook((await file_of(client, book)).content)
    other.close()

    assert [one["id"] for one in rows] == ids
    assert [row[0] for row in cells[1:]] == ids
    assert job["attempts"] == 2
    assert parts_of(database_url) == 1 + 5 + (1 + 5 + 1)
