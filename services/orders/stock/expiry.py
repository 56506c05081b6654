"""Cancels pending orders whose reservations have expired, so that others can buy the pieces."""

from datetime import datetime

import structlog
from sqlalchemy import select
from sqlmodel import Session

from services.orders.events import BY_US, tell_changed
from services.orders.models import ORDERS, Order, OrderStatus
from services.orders.stock import reservations
from shared.clock import now
from shared.data.database import Database
from shared.work.duties import IsStopping

EXPIRE_SECONDS = 30.0
ORDERS_PER_RUN = 1_000

log = structlog.get_logger(__name__)


def expire(database: Database, is_stopping: IsStopping) -> None:
    """Cancel what is due, one order per transaction: an order that fails does not hold up the others."""
    moment = now()
    with database.transaction(write=False) as session:
        due = _due(session, moment)
    for order_id in due:
        if is_stopping():
            return
        try:
            with database.transaction() as session:
                expire_order(session, order_id, moment)
        except Exception:
            log.exception("order_not_expired", order_id=order_id)


def _due(session: Session, moment: datetime) -> list[str]:
    until = ORDERS.c.reserved_until
    due = select(ORDERS.c.id).where(until <= moment).order_by(until).limit(ORDERS_PER_RUN)
    return list(session.connection().execute(due).scalars())


def expire_order(session: Session, order_id: str, moment: datetime) -> None:
    """Cancel the order, unless somebody else changed it meanwhile."""
    order = session.get(Order, order_id, with_for_update=True)
    if order is None or order.reserved_until is None or order.reserved_until > moment:
        return
    status_before = order.status
    session.add(order.take_step(OrderStatus.CANCELLED, by=BY_US))
    order.touch()
    reservations.follow(session, [order.id], OrderStatus.CANCELLED, BY_US)
    tell_changed(session, order.model_dump(), status_before)
