"""Reserves pieces of several products with a few statements, however many products there are.

One UPDATE takes the pieces of all levels that have enough. Before it, PostgreSQL locks these rows in the
order of the product ids, which all transactions keep to, so none deadlock. That is a statement of its own,
because the UPDATE must see what others have committed while it waited. As with single moves, whoever locks a
level may also change the rows of the product's locations.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlmodel import Session

from services.orders.driver import run
from services.orders.models import MOVES, MoveKind
from services.orders.stock import moves
from services.orders.stock.moves import Cause
from shared.clock import now
from shared.data.bulk import insert_rows
from shared.data.database import execute_in_driver
from shared.data.statements import insert_row
from shared.ids import new_id

_LOCK_LEVELS = "SELECT FROM stock_levels WHERE product_id = ANY(%s) ORDER BY product_id FOR UPDATE"
_LEVEL = ("product_id", "on_hand", "reserved", "low_at", "backorder")
_TAKE_LEVELS = {
    "sqlite": """
        UPDATE stock_levels SET reserved = reserved + wanted.value
        FROM json_each(?) AS wanted
        WHERE product_id = wanted.key AND (backorder OR on_hand - reserved >= wanted.value)
        RETURNING product_id, on_hand, reserved, low_at, backorder""",
    "postgresql": """
        UPDATE stock_levels AS level SET reserved = level.reserved + wanted.pieces
        FROM unnest(%s::text[], %s::bigint[]) AS wanted (product_id, pieces)
        WHERE level.product_id = wanted.product_id
          AND (level.backorder OR level.on_hand - level.reserved >= wanted.pieces)
        RETURNING level.product_id, level.on_hand, level.reserved, level.low_at, level.backorder""",
}
_READ_PLACES = {
    "sqlite": "SELECT product_id, location, on_hand, reserved FROM stock"
    " WHERE product_id IN (SELECT value FROM json_each(?))",
    "postgresql": "SELECT product_id, location, on_hand, reserved FROM stock WHERE product_id = ANY(%s)",
}
_TAKE_PLACES = {
    "sqlite": """
        UPDATE stock SET reserved = reserved + json_extract(wanted.value, '$[2]')
        FROM json_each(?) AS wanted
        WHERE product_id = json_extract(wanted.value, '$[0]')
          AND location = json_extract(wanted.value, '$[1]')
          AND on_hand - reserved >= json_extract(wanted.value, '$[2]')""",
    "postgresql": """
        UPDATE stock SET reserved = stock.reserved + wanted.pieces
        FROM unnest(%s::text[], %s::text[], %s::bigint[]) AS wanted (product_id, location, pieces)
        WHERE stock.product_id = wanted.product_id AND stock.location = wanted.location
          AND stock.on_hand - stock.reserved >= wanted.pieces""",
}


class _Taken(NamedTuple):
    """Pieces of one product taken from one location."""

    product_id: str
    location: str
    quantity: int


def reserve(session: Session, wanted: Mapping[str, int], cause: Cause) -> list[str]:
    """Reserve pieces wherever they are; return the products of which there are too few."""
    levels = _take_levels(session, wanted)
    places = _places(session, levels)
    taken: list[_Taken] = []
    for product_id in sorted(levels):
        level, quantity = levels[product_id], wanted[product_id]
        moves.tell(session, level, -quantity)
        free = {row["location"]: row["on_hand"] - row["reserved"] for row in places[product_id]}
        for portion in moves.spread(places[product_id], quantity):
            if free.get(portion.location, 0) >= portion.quantity:
                taken.append(_Taken(product_id, portion.location, portion.quantity))
            else:  # owed, as the product may be ordered beyond its stock
                moves.move_at(session, level, MoveKind.RESERVE, portion, cause)
    _take_places(session, taken)
    _record(session, taken, cause)
    return sorted(wanted.keys() - levels)


def _take_levels(session: Session, wanted: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """Change and lock the levels that have enough pieces; return them as they are then, by product."""
    connection = session.connection()
    if len(wanted) > 1 and connection.dialect.name == "postgresql":
        execute_in_driver(connection, _LOCK_LEVELS, ([*wanted],))
    columns: list[list[Any]] = [[*wanted], [*wanted.values()]]
    rows = run(session, _TAKE_LEVELS, wanted, columns).fetchall()
    levels = (dict(zip(_LEVEL, row, strict=True)) for row in rows)
    return {level["product_id"]: {**level, "backorder": bool(level["backorder"])} for level in levels}


def _places(session: Session, products: Mapping[str, Any]) -> Mapping[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    rows = run(session, _READ_PLACES, [*products], [[*products]]).fetchall()
    for product_id, location, on_hand, reserved in rows:
        found[product_id].append({"location": location, "on_hand": on_hand, "reserved": reserved})
    return found


def _take_places(session: Session, taken: Sequence[_Taken]) -> None:
    if not taken:
        return
    columns = [list(column) for column in zip(*taken, strict=True)]
    changed = run(session, _TAKE_PLACES, taken, columns).rowcount
    if changed != len(taken):  # the level of a product locks its locations
        raise AssertionError(f"{len(taken) - changed} locations have changed despite the lock")


def _record(session: Session, taken: Sequence[_Taken], cause: Cause) -> None:
    if len(taken) == 1:
        insert_row(session, MOVES, **_move(*taken[0], cause))
        return
    rows = [{"id": new_id(), "timestamp": now(), **_move(*one, cause)} for one in taken]
    insert_rows(session, MOVES, rows)


def _move(product_id: str, location: str, quantity: int, cause: Cause) -> dict[str, Any]:
    return {
        "product_id": product_id,
        "location": location,
        "kind": MoveKind.RESERVE,
        "quantity": quantity,
        "order_id": cause.order_id,
        "reason": cause.reason,
        "by": cause.by,
    }
