"""Issues invoices and credit notes: the rules, the number and the row, in one transaction."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, select
from sqlmodel import Session

from services.orders.errors import (
    AlreadyInvoiced,
    NotInvoiced,
    OrderInvoiced,
    OrderNotBillable,
    OrderNotCancelled,
    OrderNotConfirmed,
    OtherCurrency,
)
from services.orders.events import tell_issued
from services.orders.invoices import numbers
from services.orders.invoices.snapshots import Party, Snapshot, seller_of, snapshot_of
from services.orders.models import INVOICES, InvoiceKind, Order, OrderStatus
from services.orders.settings import Settings
from shared.data.statements import Rows, insert_row

TEMPLATE_VERSION = 1  # a changed template is a new file, because issued invoices must not change
BILLABLE = (OrderStatus.CONFIRMED, OrderStatus.SHIPPED, OrderStatus.DELIVERED)
CREDITABLE = (OrderStatus.CANCELLED, OrderStatus.RETURNED)
_OF_ORDER = Rows(
    select(INVOICES).where(INVOICES.c.order_id == bindparam("order_id"), INVOICES.c.kind == bindparam("kind"))
)
_BY_ID = Rows(select(INVOICES).where(INVOICES.c.id == bindparam("id")))


def find_by_id(session: Session, invoice_id: str) -> dict[str, Any] | None:
    return _BY_ID.one(session, id=invoice_id)


def find(session: Session, order_id: str, kind: InvoiceKind) -> dict[str, Any] | None:
    return _OF_ORDER.one(session, order_id=order_id, kind=kind)


def require_no_invoice(session: Session, order_id: str) -> None:
    if find(session, order_id, InvoiceKind.INVOICE) is not None:
        raise OrderInvoiced


def issue_invoice(
    session: Session,
    order: Order,
    lines: Sequence[Mapping[str, Any]],
    buyer: Party,
    by: str,
    settings: Settings,
) -> dict[str, Any]:
    """Issue the invoice of an order, which the caller has locked."""
    _require_none(session, order, InvoiceKind.INVOICE)
    if order.status == OrderStatus.PENDING:
        raise OrderNotConfirmed
    if order.status not in BILLABLE:
        raise OrderNotBillable
    seller = seller_of(settings)
    if settings.seller_currency not in ("", order.currency):
        raise OtherCurrency(currency=settings.seller_currency)
    snapshot = snapshot_of(order.model_dump(), lines, seller, buyer, settings.seller_note)
    return _issue(session, order, InvoiceKind.INVOICE, snapshot, by)


def issue_credit_note(session: Session, order: Order, by: str) -> dict[str, Any]:
    """Issue the credit note that takes back the invoice of an order, which the caller has locked."""
    _require_none(session, order, InvoiceKind.CREDIT_NOTE)
    invoice = find(session, order.id, InvoiceKind.INVOICE)
    if invoice is None:
        raise NotInvoiced
    if order.status not in CREDITABLE:
        raise OrderNotCancelled
    snapshot = Snapshot.model_validate_json(invoice["snapshot"])
    corrected = snapshot.model_copy(update={"corrects": invoice["number"]})
    return _issue(session, order, InvoiceKind.CREDIT_NOTE, corrected, by)


def _require_none(session: Session, order: Order, kind: InvoiceKind) -> None:
    found = find(session, order.id, kind)
    if found is not None:
        raise AlreadyInvoiced(number=found["number"])


def _issue(session: Session, order: Order, kind: InvoiceKind, snapshot: Snapshot, by: str) -> dict[str, Any]:
    taken = numbers.take(session, kind)
    invoice = insert_row(
        session,
        INVOICES,
        **taken._asdict(),
        order_id=order.id,
        user_id=order.user_id,
        kind=kind,
        total_minor=snapshot.total_minor,
        currency=snapshot.currency,
        snapshot=snapshot.model_dump_json(),
        template_version=TEMPLATE_VERSION,
        by=by,
    )
    tell_issued(session, invoice)
    return invoice
