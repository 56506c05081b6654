"""Handler of purchases: whether somebody has bought a product."""

from sqlalchemy import exists, literal, select
from sqlmodel import Session

from services.orders.models import LINES, ORDERS, OrderStatus
from services.orders.schemas import PurchaseOut
from shared.caller import Caller
from shared.data.database import one_row
from shared.errors import NotFound
from shared.http.schemas import Id

BOUGHT = (OrderStatus.CONFIRMED, OrderStatus.SHIPPED, OrderStatus.DELIVERED, OrderStatus.RETURNED)
ORDERS_MAX = 5_000  # the newest of the caller


def show_purchase(product_id: Id, caller: Caller, session: Session) -> PurchaseOut:
    """Show your newest order that contains this product and was confirmed; 404 if there is none.

    Only your newest 5,000 orders count.
    """
    # Begin with the caller's orders, and look each one up among the lines: a popular product has more lines
    # than anyone has orders. Without statistics a join would begin with the lines.
    mine = select(ORDERS.c.id, ORDERS.c.status).where(ORDERS.c.user_id == caller.id)
    newest = mine.order_by(ORDERS.c.id.desc()).limit(ORDERS_MAX).subquery()
    has_product = exists().where(LINES.c.product_id == product_id, LINES.c.order_id == newest.c.id)
    found = select(
        literal(product_id).label("product_id"), newest.c.id.label("order_id"), newest.c.status
    ).where(newest.c.status.in_(BOUGHT), has_product)
    row = one_row(session, found.order_by(newest.c.id.desc()).limit(1))
    if row is None:
        raise NotFound
    return PurchaseOut.unchecked(row)
