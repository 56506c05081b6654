"""Orders that must not change until the transaction ends."""

from sqlmodel import Session

from services.orders.models import Order
from shared.caller import Caller
from shared.errors import NotFound


def locked(session: Session, caller: Caller, order_id: str) -> Order:
    """Read and lock an order of the caller, or any order for admins, until this transaction ends."""
    order = session.get(Order, order_id, with_for_update=True)
    if order is None or not caller.owns(order.user_id):
        raise NotFound
    return order
