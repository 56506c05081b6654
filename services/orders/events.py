"""The events that the orders service emits, and how it handles those of other services."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlmodel import Session

from contracts.events import AccountDeleted, OrderChanged, OrderDeleted, OrderPlaced
from contracts.exports import exporting, section, table_section
from contracts.invoices import InvoiceIssued
from services.orders.models import INVOICES, LINES, MOVES, ORDERS, STEPS, WORK, Order, OrderStatus
from services.orders.stock import reservations
from shared.events import Consumers, emit
from shared.work.jobs import Jobs

BY_US = "gatehouse"


def tell_placed(session: Session, order: Mapping[str, Any]) -> None:
    emit(session, OrderPlaced(order_id=order["id"], **order))


def tell_changed(session: Session, order: Mapping[str, Any], status_before: str) -> None:
    emit(session, OrderChanged(order_id=order["id"], **order, status_before=status_before))


def tell_deleted(session: Session, order: Order) -> None:
    emit(session, OrderDeleted(order_id=order.id, user_id=order.user_id))


def tell_issued(session: Session, invoice: Mapping[str, Any]) -> None:
    emit(session, InvoiceIssued(invoice_id=invoice["id"], **invoice))


def cancel_pending_orders(session: Session, events: Sequence[AccountDeleted]) -> None:
    """Cancel the pending orders of deleted accounts. Other orders stay: they contain only the person's id.

    Invoices stay with the buyer's name and address, because the law requires the seller to keep them.
    """
    gone = [event.account_id for event in events]
    pending = select(Order).where(ORDERS.c.user_id.in_(gone), ORDERS.c.status == OrderStatus.PENDING)
    with_lines = []
    for order in session.scalars(pending.with_for_update()):
        if order.line_count:
            with_lines.append(order.id)
        session.add(order.take_step(OrderStatus.CANCELLED, by=BY_US))
        order.touch()
        tell_changed(session, order.model_dump(), OrderStatus.PENDING)
    reservations.follow(session, with_lines, OrderStatus.CANCELLED, BY_US)


def forget_people(session: Session, events: Sequence[AccountDeleted]) -> None:
    """Cancel the pending orders of deleted accounts, and delete their reports."""
    cancel_pending_orders(session, events)
    jobs = Jobs(WORK, {})
    for event in events:
        jobs.forget(session, event.account_id)


EXPORTED = [
    table_section("orders", ORDERS, "user_id", without=("user_id",)),
    section("order_history", select(STEPS).join(ORDERS), ORDERS.c.user_id, STEPS.c.id),
    section("order_lines", select(LINES).join(ORDERS), ORDERS.c.user_id, LINES.c.id),
    table_section("invoices", INVOICES, "user_id", without=("user_id",)),
    table_section("stock_moves", MOVES, "by", without=("by",)),
]
CONSUMES: Consumers = {AccountDeleted: forget_people, **exporting("orders", EXPORTED)}
