"""Moves of stock, each in the transaction of what causes it.

A move changes the level of the product first, by one UPDATE with a condition, so no piece is taken twice.
This row stays locked until the transaction ends, so the rows of the product's locations, which are changed
next, have one writer at a time. A transaction that moves several products does so in the order of their ids,
because two transactions that lock the same rows in opposite orders would deadlock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Table, bindparam, or_, select, update
from sqlmodel import Session

from contracts.events import StockChanged, StockLow
from services.orders.errors import NotEnoughStock, TooManyLocations
from services.orders.models import EFFECTS, LEVELS, MAIN, MOVES, PRODUCTS, STOCK, MoveKind
from shared.data.statements import Rows, insert_row
from shared.errors import NotFound
from shared.events import emit

LOCATIONS_MAX = 100
LOCATIONS = Rows(
    select(STOCK).where(STOCK.c.product_id == bindparam("product_id")).order_by(STOCK.c.location)
)
_LEVEL = Rows(select(LEVELS).where(LEVELS.c.product_id == bindparam("product_id")))


@dataclass(frozen=True, slots=True)
class Cause:
    """Why stock moves: by whom, and for which order or reason."""

    by: str
    order_id: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Portion:
    """Some pieces at one location."""

    location: str
    quantity: int


def move(
    session: Session, product_id: str, kind: MoveKind, portions: Sequence[Portion], cause: Cause
) -> dict[str, Any]:
    """Move pieces of one product at known locations; return the new level.

    Raise NotEnoughStock if pieces are missing, and NotFound if the product has no level.
    """
    level = change_level(session, product_id, kind, sum(one.quantity for one in portions))
    if level is None:
        found = _LEVEL.one(session, product_id=product_id)
        if found is None:
            raise NotFound
        raise NotEnoughStock(available=max(found["on_hand"] - found["reserved"], 0))
    for portion in portions:
        move_at(session, level, kind, portion, cause)
    return level


def available(session: Session, product_id: str) -> int:
    found = _LEVEL.one(session, product_id=product_id)
    return 0 if found is None else max(found["on_hand"] - found["reserved"], 0)


def spread(rows: Sequence[Mapping[str, Any]], quantity: int) -> list[Portion]:
    """Choose the locations to take pieces from: one if possible, the main one first.

    If all locations together have too few, the main one reserves more than it has: a backorder, which the
    level has permitted.
    """
    free = {row["location"]: row["on_hand"] - row["reserved"] for row in rows}
    by_preference = sorted(free, key=lambda location: (location != MAIN, location))
    for location in by_preference:
        if free[location] >= quantity:
            return [Portion(location, quantity)]
    taken: dict[str, int] = {}
    for location in by_preference:
        piece = min(max(free[location], 0), quantity - sum(taken.values()))
        if piece:
            taken[location] = piece
    owed = quantity - sum(taken.values())
    if owed:
        taken[MAIN] = taken.get(MAIN, 0) + owed
    return [Portion(location, pieces) for location, pieces in taken.items()]


def change_level(session: Session, product_id: str, kind: MoveKind, quantity: int) -> dict[str, Any] | None:
    """Change and lock the level in one statement; None if there are too few pieces."""
    on_hand, reserved = (sign * quantity for sign in EFFECTS[kind])
    changed = (
        update(LEVELS)
        .where(LEVELS.c.product_id == product_id, *_possible(LEVELS, on_hand, reserved, LEVELS.c.backorder))
        .values(on_hand=LEVELS.c.on_hand + on_hand, reserved=LEVELS.c.reserved + reserved)
        .returning(*LEVELS.c)
    )
    row = session.connection().execute(changed).one_or_none()
    if row is None:
        return None
    level = row._asdict()
    tell(session, level, on_hand - reserved)
    return level


def move_at(
    session: Session, level: Mapping[str, Any], kind: MoveKind, portion: Portion, cause: Cause
) -> None:
    """Change the stock of a location whose level has been changed, and record the move."""
    product_id, quantity = level["product_id"], portion.quantity
    on_hand, reserved = (sign * quantity for sign in EFFECTS[kind])
    changed = (
        update(STOCK)
        .where(
            STOCK.c.product_id == product_id,
            STOCK.c.location == portion.location,
            *_possible(STOCK, on_hand, reserved, level["backorder"]),
        )
        .values(on_hand=STOCK.c.on_hand + on_hand, reserved=STOCK.c.reserved + reserved)
    )
    if session.connection().execute(changed).rowcount == 0:
        places = {row["location"]: row for row in LOCATIONS.rows(session, product_id=product_id)}
        place = places.get(portion.location)
        if place is not None or min(on_hand, reserved) < 0 or (reserved and not level["backorder"]):
            free = 0 if place is None else max(place["on_hand"] - place["reserved"], 0)
            raise NotEnoughStock(available=free)
        if len(places) >= LOCATIONS_MAX:
            raise TooManyLocations
        row = {"product_id": product_id, "location": portion.location}
        insert_row(session, STOCK, **row, on_hand=on_hand, reserved=reserved)
    insert_row(
        session,
        MOVES,
        product_id=product_id,
        location=portion.location,
        kind=kind,
        quantity=quantity,
        order_id=cause.order_id,
        reason=cause.reason,
        by=cause.by,
    )


def _possible(table: Table, on_hand: int, reserved: int, backorder: Any) -> list[ColumnElement[bool]]:
    """Return the conditions under which this change of a row is allowed."""
    columns, conditions = table.c, []
    if on_hand < 0:
        conditions.append(columns.on_hand >= -on_hand)
    if reserved < 0:
        conditions.append(columns.reserved >= -reserved)
    if on_hand < reserved:  # fewer free pieces than before
        is_free = columns.on_hand - columns.reserved >= reserved - on_hand
        if backorder is True:
            return conditions
        conditions.append(is_free if backorder is False else or_(backorder, is_free))
    return conditions


def tell(session: Session, level: Mapping[str, Any], change: int) -> None:
    """Emit the new level, and note when it crosses the limit of the product in either direction."""
    product_id, now = level["product_id"], level["on_hand"] - level["reserved"]
    emit(
        session,
        StockChanged(product_id=product_id, on_hand=level["on_hand"], reserved=level["reserved"]),
    )
    if level["low_at"] is None or is_low(now, level["low_at"]) == is_low(now - change, level["low_at"]):
        return
    set_low(session, product_id, now, level["low_at"])


def is_low(free: int, low_at: int | None) -> bool:
    return low_at is not None and free <= low_at


def set_low(session: Session, product_id: str, free: int, low_at: int | None) -> None:
    """Note whether the product is low, and emit that it has become so. Its level must be locked."""
    low = is_low(free, low_at)
    changed = (
        update(PRODUCTS)
        .where(PRODUCTS.c.id == product_id, PRODUCTS.c.low == (not low))
        .values(low=low)
        .returning(PRODUCTS.c.sku, PRODUCTS.c.name)
    )
    row = session.connection().execute(changed).one_or_none()
    if row is not None and low and low_at is not None:
        emit(
            session,
            StockLow(product_id=product_id, sku=row.sku, name=row.name, available=free, low_at=low_at),
        )


def lock_level(session: Session, product_id: str) -> dict[str, Any] | None:
    """Read the level and lock it until this transaction ends."""
    locked = select(LEVELS).where(LEVELS.c.product_id == product_id).with_for_update()
    row = session.connection().execute(locked).one_or_none()
    return None if row is None else row._asdict()


def add_level(session: Session, product_id: str, low_at: int | None, *, backorder: bool) -> None:
    insert_row(session, LEVELS, product_id=product_id, low_at=low_at, backorder=backorder)
