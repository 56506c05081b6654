"""Handlers of invoices and credit notes."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, select
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from services.orders import lines
from services.orders.invoices import issuing
from services.orders.invoices.documents import Documents
from services.orders.invoices.media import PDF, prefers_json
from services.orders.invoices.schemas import InvoiceOut, InvoiceWithLines, IssueInvoice, ListInvoices
from services.orders.invoices.snapshots import Party
from services.orders.locking import locked
from services.orders.models import INVOICES, InvoiceKind
from services.orders.settings import Settings
from shared.caller import Caller
from shared.data.database import Database
from shared.errors import NotFound
from shared.events import Trail
from shared.http.downloads import GUARDS, disposition
from shared.http.schemas import Id, Page
from shared.ids import first_id
from shared.lists.pagination import Walk, paginate

_LISTED = select(INVOICES).with_only_columns(*(column for column in INVOICES.c if column.name != "snapshot"))


def issue_invoice(
    order_id: Id,
    body: IssueInvoice | None,
    caller: Caller,
    session: Session,
    settings: Settings,
    trail: Trail,
) -> InvoiceWithLines:
    """Issue the invoice of a confirmed order, for its owner or an admin.

    It takes the next number of the year and states the order as it is now; neither ever changes. Afterwards
    the order can be cancelled or returned, and then credited, but not deleted.
    """
    order = locked(session, caller, order_id)
    given = body.buyer if body is not None else None
    buyer = Party(name=f"Account {order.user_id}") if given is None else Party(**given.model_dump())
    ordered = lines.of_order(session, order.model_dump())
    return _issued(issuing.issue_invoice(session, order, ordered, buyer, caller.id, settings), trail)


def issue_credit_note(order_id: Id, caller: Caller, session: Session, trail: Trail) -> InvoiceWithLines:
    """Issue the credit note for a cancelled or returned order that has an invoice."""
    order = locked(session, caller, order_id)
    return _issued(issuing.issue_credit_note(session, order, caller.id), trail)


async def show_invoice(
    order_id: Id, caller: Caller, request: Request, database: Database, documents: Documents
) -> InvoiceWithLines | Response:
    """Show the invoice of an order: as PDF, or as JSON if `Accept` prefers that."""
    found = await database.in_thread(_find, database, caller, order_id, InvoiceKind.INVOICE)
    return await _shown(found, request, documents)


async def show_credit_note(
    order_id: Id, caller: Caller, request: Request, database: Database, documents: Documents
) -> InvoiceWithLines | Response:
    """Show the credit note of an order: as PDF, or as JSON if `Accept` prefers that."""
    found = await database.in_thread(_find, database, caller, order_id, InvoiceKind.CREDIT_NOTE)
    return await _shown(found, request, documents)


async def open_invoice(invoice_id: Id, database: Database, documents: Documents) -> Response:
    """Return the PDF of an invoice or a credit note, for the mail about it."""
    found = await database.in_thread(_open, database, invoice_id)
    return Response(await documents.pdf_of(found), media_type=PDF, headers={"cache-control": "no-store"})


def list_invoices(query: ListInvoices, caller: Caller, session: Session) -> Page[InvoiceOut]:
    """List your invoices and credit notes, newest first; admins see those of all accounts."""
    owner = query.user_id or (None if caller.is_admin else caller.id)
    if owner is not None and not caller.owns(owner):
        raise NotFound
    return paginate(session, [_walk(query, owner)], INVOICES.c.id, query, InvoiceOut.of)


def _walk(query: ListInvoices, owner: str | None) -> Walk:
    """Return the rows wanted. Ids begin with the time of issue, so a year is a range of ids."""
    wanted: Select[Any] = _LISTED
    if owner is not None:
        wanted = wanted.where(INVOICES.c.user_id == owner)
    if query.kind is not None:
        wanted = wanted.where(INVOICES.c.kind == query.kind)
    if query.year is None:
        return Walk(wanted, INVOICES.c.id)
    before, floor = (first_id(datetime(year, 1, 1, tzinfo=UTC)) for year in (query.year + 1, query.year))
    return Walk(wanted, INVOICES.c.id, before, floor)


def _issued(invoice: dict[str, Any], trail: Trail) -> InvoiceWithLines:
    trail.add(number=invoice["number"])
    return InvoiceWithLines.with_lines(invoice)


async def _shown(
    invoice: dict[str, Any], request: Request, documents: Documents
) -> InvoiceWithLines | Response:
    if prefers_json(request.headers.get("accept", "")):
        return InvoiceWithLines.with_lines(invoice)
    pdf = await documents.pdf_of(invoice)
    saved = disposition(f"{invoice['number']}.pdf", shown=False)
    headers = {**GUARDS, "cache-control": "no-store", "vary": "accept", "content-disposition": saved}
    return Response(pdf, media_type=PDF, headers=headers)


def _find(database: Database, caller: Caller, order_id: str, kind: InvoiceKind) -> dict[str, Any]:
    with database.transaction(write=False) as session:
        found = issuing.find(session, order_id, kind)
    if found is None or not caller.owns(found["user_id"]):
        raise NotFound
    return found


def _open(database: Database, invoice_id: str) -> dict[str, Any]:
    with database.transaction(write=False) as session:
        found = issuing.find_by_id(session, invoice_id)
    if found is None:
        raise NotFound
    return found
