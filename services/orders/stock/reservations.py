"""What the life of an order does to stock: placing it reserves pieces, and its steps release or ship them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from sqlalchemy import func, select
from sqlmodel import Session

from services.orders.errors import NotEnoughStock, NotOnHand, OutOfStock
from services.orders.models import MOVES, MoveKind, OrderStatus
from services.orders.stock import bulk, moves
from services.orders.stock.moves import Cause, Portion
from shared.data.bulk import one_of

# The move that a step causes, and the signs of the moves that add up to the pieces it can move.
_BY_STEP: dict[OrderStatus, MoveKind] = {
    OrderStatus.CANCELLED: MoveKind.RELEASE,
    OrderStatus.SHIPPED: MoveKind.SHIP,
    OrderStatus.RETURNED: MoveKind.RETURN,
}
_RESERVED = {MoveKind.RESERVE: 1, MoveKind.RELEASE: -1, MoveKind.SHIP: -1}
_SHIPPED = {MoveKind.SHIP: 1, MoveKind.RETURN: -1}

Key = tuple[str, str]  # product and order


def reserve(session: Session, order_id: str, wanted: Mapping[str, int], by: str) -> None:
    """Reserve these quantities by product, all or none."""
    if not wanted:
        return
    short = bulk.reserve(session, wanted, Cause(by, order_id))
    if short:
        raise OutOfStock(
            lines=[
                {"product_id": one, "quantity": wanted[one], "available": moves.available(session, one)}
                for one in short
            ]
        )


def follow(session: Session, order_ids: Sequence[str], step: OrderStatus, by: str) -> None:
    """Move the pieces of orders that have taken this step.

    Several orders are handled together, in the order of their products, so that locks are taken in the order
    that all transactions keep to.
    """
    kind = _BY_STEP.get(step)
    if kind is None or not order_ids:
        return
    pieces = _pieces(session, order_ids, _SHIPPED if kind is MoveKind.RETURN else _RESERVED)
    for product_id, order_id in sorted(pieces):
        portions = pieces[product_id, order_id]
        try:
            moves.move(session, product_id, kind, portions, Cause(by, order_id))
        except NotEnoughStock as error:
            quantity = sum(one.quantity for one in portions)
            raise NotOnHand(lines=[{"product_id": product_id, "quantity": quantity}]) from error


def _pieces(
    session: Session, order_ids: Sequence[str], signs: Mapping[MoveKind, int]
) -> dict[Key, list[Portion]]:
    """Sum the moves of the orders by product and order, to find the pieces that can be moved."""
    columns = (MOVES.c.product_id, MOVES.c.order_id, MOVES.c.location)
    sums = (
        select(*columns, MOVES.c.kind, func.sum(MOVES.c.quantity))
        .where(one_of(session, MOVES.c.order_id, order_ids), MOVES.c.order_id.is_not(None))
        .group_by(*columns, MOVES.c.kind)
    )
    totals: dict[tuple[str, str, str], int] = defaultdict(int)
    for product_id, order_id, location, kind, quantity in session.connection().execute(sums):
        totals[product_id, order_id, location] += int(quantity) * signs.get(MoveKind(kind), 0)
    found: dict[Key, list[Portion]] = defaultdict(list)
    for (product_id, order_id, location), quantity in sorted(totals.items()):
        if quantity > 0:
            found[product_id, order_id].append(Portion(location, quantity))
    return found
