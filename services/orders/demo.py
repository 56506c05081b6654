"""The orders of the demo company: dated over months, and removed. `gatehouse demo` runs this."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlmodel import Session

from contracts.demo import MARK
from services.orders.events import BY_US, tell_deleted
from services.orders.models import INVOICES, LINES, MOVES, ORDERS, PDFS, PRODUCTS, STEPS, Order, OrderStatus
from services.orders.products import catalogue
from services.orders.stock import moves, reservations
from shared.clock import now
from shared.http.preconditions import IfMatch

STEP = timedelta(hours=19)


def move_back(session: Session, owners: Sequence[str], days: int) -> int:
    """Spread the orders of these accounts that were placed today over the last days; return their number."""
    moment = now()
    run = session.connection().execute
    fresh = select(ORDERS.c.id).where(
        ORDERS.c.user_id.in_(owners), ORDERS.c.created > moment - timedelta(days=1)
    )
    ids = run(fresh.order_by(ORDERS.c.id)).scalars().all()
    for number, order_id in enumerate(ids):
        placed = moment - timedelta(days=days) * (len(ids) - number) / (len(ids) + 1)
        last = placed
        steps = (
            run(select(STEPS.c.id).where(STEPS.c.order_id == order_id).order_by(STEPS.c.id)).scalars().all()
        )
        for count, step_id in enumerate(steps):
            last = _between(placed, count, moment)
            run(update(STEPS).where(STEPS.c.id == step_id).values(timestamp=last))
        run(update(ORDERS).where(ORDERS.c.id == order_id).values(created=placed, updated=last))
    return len(ids)


def _between(placed: datetime, count: int, latest: datetime) -> datetime:
    return min(placed + count * STEP, latest)


def remove(session: Session, owners: Sequence[str], skus: Sequence[str]) -> int:
    """Delete the orders of these accounts with their papers, and the marked products with these SKUs.

    A product that others have ordered is archived, with its stock.
    """
    run = session.connection().execute
    mine = select(ORDERS.c.id).where(ORDERS.c.user_id.in_(owners))
    papers = select(INVOICES.c.id).where(INVOICES.c.order_id.in_(mine))
    held = []  # pieces, also of products that are not removed
    for order in session.scalars(select(Order).where(ORDERS.c.user_id.in_(owners))):
        tell_deleted(session, order)
        if order.line_count:
            held.append(order.id)
    reservations.follow(session, held, OrderStatus.CANCELLED, BY_US)
    run(delete(PDFS).where(PDFS.c.invoice_id.in_(papers)))
    run(delete(INVOICES).where(INVOICES.c.order_id.in_(mine)))
    removed = run(delete(ORDERS).where(ORDERS.c.user_id.in_(owners))).rowcount
    found = (
        select(PRODUCTS.c.id, PRODUCTS.c.attributes).where(PRODUCTS.c.sku.in_(skus)).order_by(PRODUCTS.c.id)
    )
    for product_id, attributes in run(found).all():
        if MARK.items() <= json.loads(attributes).items():
            _remove_product(session, product_id)
    return int(removed)


def _remove_product(session: Session, product_id: str) -> None:
    moves.lock_level(session, product_id)  # nobody orders it from here on
    run = session.connection().execute
    if run(select(LINES.c.id).where(LINES.c.product_id == product_id).limit(1)).first() is None:
        run(delete(MOVES).where(MOVES.c.product_id == product_id))
    catalogue.remove(session, product_id, IfMatch(None))
