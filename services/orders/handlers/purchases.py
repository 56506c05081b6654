"""Handler of purchases: whether somebody has bought a product."""

from sqlalchemy import select
from sqlmodel import Session

from services.orders.models import LINES, ORDERS, OrderStatus
from services.orders.schemas import PurchaseOut
from shared.caller import Caller
from shared.data.database import one_row
from shared.errors import NotFound
from shared.http.schemas import Id

BOUGHT = (OrderStatus.CONFIRMED, OrderStatus.SHIPPED, OrderStatus.DELIVERED, OrderStatus.RETURNED)


def show_purchase(product_id: Id, caller: Caller, session: Session) -> PurchaseOut:
    """Show the newest order of yours that has this product and was confirmed; 404 if there is none."""
    mine = (ORDERS.c.user_id == caller.id, ORDERS.c.status.in_(BOUGHT))
    found = select(LINES.c.product_id, LINES.c.order_id, ORDERS.c.status).join(ORDERS)
    newest = found.where(*mine, LINES.c.product_id == product_id).order_by(LINES.c.order_id.desc()).limit(1)
    row = one_row(session, newest)
    if row is None:
        raise NotFound
    return PurchaseOut.unchecked(row)
