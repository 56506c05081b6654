"""Handlers of stock."""

from sqlmodel import Session

from services.orders.models import MOVES
from services.orders.products import catalogue
from services.orders.stock import moves
from services.orders.stock.moves import LOCATIONS, Cause, Portion
from services.orders.stock.schemas import MoveOut, MoveStock, PlaceOut, StockOut
from shared.caller import Caller
from shared.events import Trail
from shared.http.schemas import Id, Page
from shared.lists.pagination import PageQuery, paginate_equal


def show_stock(product_id: Id, session: Session) -> StockOut:
    """Show the stock of a product: pieces on hand, reserved and free, over all locations and at each."""
    catalogue.require(session, product_id)
    return _stock(session, product_id)


def move_stock(product_id: Id, body: MoveStock, caller: Caller, session: Session, trail: Trail) -> StockOut:
    """Record pieces that arrived, or correct the number of pieces, at one location."""
    portion = Portion(body.location, body.quantity)
    trail.add(kind=body.kind, quantity=body.quantity, location=body.location)
    moves.move(session, product_id, body.kind, [portion], Cause(caller.id, reason=body.reason))
    return _stock(session, product_id)


def list_moves(product_id: Id, query: PageQuery, session: Session) -> Page[MoveOut]:
    """List all changes of the stock of a product, newest first. Their sum is the stock."""
    catalogue.require(session, product_id)
    return paginate_equal(session, MOVES, {"product_id": product_id}, query, MoveOut.unchecked)


def _stock(session: Session, product_id: str) -> StockOut:
    places = [
        PlaceOut.unchecked({**row, "available": row["on_hand"] - row["reserved"]})
        for row in LOCATIONS.rows(session, product_id=product_id)
    ]
    on_hand, reserved = sum(one.on_hand for one in places), sum(one.reserved for one in places)
    totals = {"on_hand": on_hand, "reserved": reserved, "available": on_hand - reserved}
    return StockOut.unchecked({"product_id": product_id, **totals, "locations": places})
