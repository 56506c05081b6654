"""Handlers of the orders service's endpoints."""

from decimal import Decimal

from sqlalchemy import bindparam, delete, select
from sqlmodel import Session

from services.orders.errors import StepNeedsAdmin
from services.orders.events import tell_changed, tell_deleted, tell_placed
from services.orders.models import ORDERS, STEPS, Order, OrderStatus
from services.orders.schemas import ChangeOrder, ListOrders, OrderOut, PlaceOrder, StepOut
from shared.caller import Caller
from shared.data.money import from_minor, to_minor
from shared.data.statements import Rows, insert_row
from shared.errors import FieldFault, Invalid, NotFound
from shared.events import Trail
from shared.http.preconditions import IfMatch
from shared.http.schemas import Id, Page
from shared.lists.pagination import PageQuery, paginate_equal

STEPS_MAX = 100
ORDER_BY_ID = Rows(select(ORDERS).where(ORDERS.c.id == bindparam("id")))


def list_orders(query: ListOrders, caller: Caller, session: Session) -> Page[OrderOut]:
    """List your orders, newest first; admins see everybody's."""
    owner = query.user_id or (None if caller.is_admin else caller.id)
    return _page(session, query, caller, owner, query.status)


def list_orders_of_user(user_id: Id, query: PageQuery, caller: Caller, session: Session) -> Page[OrderOut]:
    """List the orders of one account."""
    return _page(session, query, caller, user_id, None)


def _page(
    session: Session, query: PageQuery, caller: Caller, owner: str | None, status: OrderStatus | None
) -> Page[OrderOut]:
    wanted: dict[str, str] = {}
    if owner is not None:
        if not caller.owns(owner):
            raise NotFound
        wanted["user_id"] = owner
    if status is not None:
        wanted["status"] = status
    return paginate_equal(session, ORDERS, wanted, query, OrderOut.of)


def place_order(body: PlaceOrder, caller: Caller, session: Session) -> OrderOut:
    """Place an order for yourself."""
    order = insert_row(
        session,
        ORDERS,
        user_id=caller.id,
        product_name=body.product_name,
        quantity=body.quantity,
        total_minor=to_minor(body.total_price, body.currency),
        currency=body.currency,
    )
    insert_row(session, STEPS, order_id=order["id"], status=order["status"], by=caller.id)
    tell_placed(session, order)
    return OrderOut.of(order)


def show_order(order_id: Id, caller: Caller, session: Session) -> OrderOut:
    """Show one order."""
    row = ORDER_BY_ID.one(session, id=order_id)
    if row is None or not caller.owns(row["user_id"]):
        raise NotFound
    return OrderOut.of(row)


def change_order(
    order_id: Id, body: ChangeOrder, caller: Caller, if_match: IfMatch, session: Session, trail: Trail
) -> OrderOut:
    """Change a pending order, or take it one step further.

    The owner may change the content while the order is pending, and cancel it. All other steps need an admin:
    pending → confirmed → shipped → delivered → returned.
    """
    order = _locked(session, caller, order_id)
    if_match.check(order.version)
    changes, status_before = body.changes(), order.status
    trail.add(fields=sorted(changes))
    status = changes.pop("status", None)
    if changes:
        order.require_pending()
        _change_content(order, changes)
    if status is not None:
        if not caller.is_admin and status != OrderStatus.CANCELLED:
            raise StepNeedsAdmin
        session.add(order.take_step(status, by=caller.id))
        trail.add(status={"before": status_before, "after": status})
    order.touch()
    changed = order.model_dump()
    tell_changed(session, changed, status_before)
    return OrderOut.of(changed)


def delete_order(order_id: Id, caller: Caller, if_match: IfMatch, session: Session) -> None:
    """Delete a pending or cancelled order."""
    order = _locked(session, caller, order_id)
    if_match.check(order.version)
    order.require_deletable()
    session.connection().execute(delete(ORDERS).where(ORDERS.c.id == order.id))
    tell_deleted(session, order)


def list_history(order_id: Id, caller: Caller, session: Session) -> list[StepOut]:
    """List the steps an order has taken, oldest first."""
    show_order(order_id, caller, session)
    steps = select(STEPS).where(STEPS.c.order_id == order_id).order_by(STEPS.c.id).limit(STEPS_MAX)
    return [StepOut.model_validate(row) for row in session.connection().execute(steps)]


def _locked(session: Session, caller: Caller, order_id: str) -> Order:
    """Read and lock the order until this transaction ends."""
    order = session.get(Order, order_id, with_for_update=True)
    if order is None or not caller.owns(order.user_id):
        raise NotFound
    return order


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
