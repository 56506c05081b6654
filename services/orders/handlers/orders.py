"""Handlers of orders."""

from decimal import Decimal
from typing import Any

from sqlalchemy import bindparam, delete, select
from sqlmodel import Session

from services.orders import lines
from services.orders.errors import StepNeedsAdmin
from services.orders.events import tell_changed, tell_deleted, tell_placed
from services.orders.invoices import issuing
from services.orders.locking import locked
from services.orders.models import ORDERS, STEPS, Order, OrderStatus
from services.orders.schemas import (
    ChangeOrder,
    ListOrders,
    OrderOut,
    OrderWithLines,
    PlaceOrder,
    StepOut,
)
from services.orders.settings import Settings
from services.orders.stock import reservations
from shared.caller import Caller
from shared.data.money import from_minor, to_minor
from shared.data.reading import Reader
from shared.data.statements import Rows, insert_row_at_end
from shared.errors import FieldFault, Invalid, NotFound
from shared.events import Trail
from shared.http.preconditions import IfMatch
from shared.http.schemas import Id, Page
from shared.lists.pagination import PageQuery, paginate_equal

STEPS_MAX = 100
ORDER_BY_ID = Rows(select(ORDERS).where(ORDERS.c.id == bindparam("id")))


def list_orders(query: ListOrders, caller: Caller, session: Reader) -> Page[OrderOut]:
    """List your orders, newest first; admins see all orders."""
    owner = query.user_id or (None if caller.is_admin else caller.id)
    return _page(session, query, caller, owner, query.status)


def list_orders_of_user(user_id: Id, query: PageQuery, caller: Caller, session: Reader) -> Page[OrderOut]:
    """List the orders of one account."""
    return _page(session, query, caller, user_id, None)


def _page(
    session: Reader, query: PageQuery, caller: Caller, owner: str | None, status: OrderStatus | None
) -> Page[OrderOut]:
    wanted: dict[str, str] = {}
    if owner is not None:
        if not caller.owns(owner):
            raise NotFound
        wanted["user_id"] = owner
    if status is not None:
        wanted["status"] = status
    return paginate_equal(session, ORDERS, wanted, query, OrderOut.of)


def place_order(body: PlaceOrder, caller: Caller, session: Session, settings: Settings) -> OrderWithLines:
    """Place an order for yourself, with a name and a price, or with `lines` of products.

    Lines take name, price and tax from the products, and reserve the pieces: all of them, or none (409
    `out_of_stock`). An order that stays pending is cancelled after a while, which releases the pieces.
    """
    placed: list[dict[str, Any]] = []
    if body.lines is None:
        name, quantity, price, currency = body.simple()
        order = insert_row_at_end(
            session,
            ORDERS,
            user_id=caller.id,
            product_name=name,
            quantity=quantity,
            total_minor=to_minor(price, currency),
            currency=currency,
        )
    else:
        body.require_lines_only()
        order, placed = lines.place(session, body.lines, caller.id, settings.reservation_time)
    insert_row_at_end(session, STEPS, order_id=order["id"], status=order["status"], by=caller.id)
    tell_placed(session, order)
    return OrderWithLines.with_lines(order, placed)


def show_order(order_id: Id, caller: Caller, session: Session) -> OrderWithLines:
    """Show one order with its lines."""
    row = _require(session, caller, order_id)
    return OrderWithLines.with_lines(row, lines.of_order(session, row))


def _require(session: Session, caller: Caller, order_id: str) -> dict[str, Any]:
    row = ORDER_BY_ID.one(session, id=order_id)
    if row is None or not caller.owns(row["user_id"]):
        raise NotFound
    return row


def change_order(
    order_id: Id, body: ChangeOrder, caller: Caller, if_match: IfMatch, session: Session, trail: Trail
) -> OrderWithLines:
    """Change a pending order, or take it one step further.

    The owner may change the content while the order is pending, and cancel it. All other steps need an admin:
    pending → confirmed → shipped → delivered → returned. Cancelling an order of products releases its pieces,
    shipping takes them out of stock, and a return puts them back.
    """
    order = locked(session, caller, order_id)
    if_match.check(order.version)
    changes, status_before = body.changes(), order.status
    trail.add(fields=sorted(changes))
    status = changes.pop("status", None)
    if changes:
        order.require_pending()
        order.require_flat()
        _change_content(order, changes)
    if status is not None:
        if not caller.is_admin and status != OrderStatus.CANCELLED:
            raise StepNeedsAdmin
        session.add(order.take_step(status, by=caller.id))
        trail.add(status={"before": status_before, "after": status})
        if order.line_count:
            reservations.follow(session, [order.id], status, caller.id)
    order.touch()
    changed = order.model_dump()
    tell_changed(session, changed, status_before)
    return OrderWithLines.with_lines(changed, lines.of_order(session, changed))


def delete_order(order_id: Id, caller: Caller, if_match: IfMatch, session: Session) -> None:
    """Delete a pending or cancelled order that has no invoice."""
    order = locked(session, caller, order_id)
    if_match.check(order.version)
    order.require_deletable()
    issuing.require_no_invoice(session, order.id)
    if order.line_count and order.status == OrderStatus.PENDING:
        reservations.follow(session, [order.id], OrderStatus.CANCELLED, caller.id)
    session.connection().execute(delete(ORDERS).where(ORDERS.c.id == order.id))
    tell_deleted(session, order)


def list_history(order_id: Id, caller: Caller, session: Session) -> list[StepOut]:
    """List the steps an order has taken, oldest first."""
    _require(session, caller, order_id)
    steps = select(STEPS).where(STEPS.c.order_id == order_id).order_by(STEPS.c.id).limit(STEPS_MAX)
    return [StepOut.model_validate(row) for row in session.connection().execute(steps)]


def _change_content(order: Order, changes: dict[str, object]) -> None:
    amount = changes.pop("total_price", from_minor(order.total_minor, order.currency))
    currency = str(changes.pop("currency", order.currency))
    assert isinstance(amount, Decimal)
    try:
        order.total_minor = to_minor(amount, currency)
    except ValueError as error:
        fault = FieldFault(field="total_price", code="value_error", message=str(error))
        raise Invalid(errors=[fault]) from error
    order.currency = currency
    for name, value in changes.items():
        setattr(order, name, value)
