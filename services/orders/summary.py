"""What the dashboard shows of orders."""

from sqlalchemy import select

from contracts.summaries import Rows
from services.orders.models import ORDERS, OrderStatus


def rows_of(user_id: str | None) -> Rows:
    """Return what is counted: the orders of a person, or all."""
    mine = select(ORDERS.c.id) if user_id is None else select(ORDERS.c.id).where(ORDERS.c.user_id == user_id)
    states = (OrderStatus.PENDING, OrderStatus.CONFIRMED, OrderStatus.SHIPPED)
    return {"total": mine, **{str(one): mine.where(ORDERS.c.status == str(one)) for one in states}}
