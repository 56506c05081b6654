"""Products: finding, adding and changing them, within the caller's transaction."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import BaseModel
from sqlalchemy import Table, bindparam, delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from contracts.events import ProductChanged, ProductDeleted
from services.orders.errors import PiecesOwed, SkuTaken
from services.orders.models import (
    LEVELS,
    LINES,
    MOVES,
    PRODUCTS,
    SEARCH,
    Product,
    ProductStatus,
    searched_text,
)
from services.orders.products.schemas import ListProducts, ProductOut, product_columns
from services.orders.stock import moves
from shared.caller import Caller
from shared.data.bulk import one_of
from shared.data.money import from_minor
from shared.data.statements import Rows, insert_row
from shared.errors import FieldFault, Invalid, NotFound
from shared.events import emit
from shared.http.preconditions import IfMatch
from shared.http.schemas import Page, unchecked
from shared.lists.pagination import Walk, paginate
from shared.lists.search import Search, find_page, searchable


class Found(BaseModel):
    """A row of a list, before its free pieces are known."""

    row: dict[str, Any]

    @classmethod
    def of(cls, row: dict[str, Any]) -> Self:
        return unchecked(cls, {"row": row})


_BY_ID = Rows(select(PRODUCTS).where(PRODUCTS.c.id == bindparam("id")))


def find(session: Session, query: ListProducts, caller: Caller) -> Page[ProductOut]:
    """Return one page, newest first. Only admins see products that are not active."""
    statuses = list(ProductStatus) if caller.is_admin else [ProductStatus.ACTIVE]
    if query.status is not None:
        if query.status not in statuses:
            raise NotFound
        statuses = [query.status]
    scopes = [{"status": str(status)} for status in statuses]
    search = Search(scopes, {} if query.search is None else {"search": searchable(query.search)})
    if query.low is None:
        page = find_page(session, SEARCH, search, query, Found.of)
    else:
        page = _by_low(session, search, query, low=query.low)
    return Page(items=_shown(session, [one.row for one in page.items]), next=page.next)


def _by_low(session: Session, search: Search, query: ListProducts, *, low: bool) -> Page[Found]:
    """Walk the few products that are low along their own index; others are checked row by row."""
    walks = [SEARCH.walk(scope, search) for scope in search.scopes]
    checked = SEARCH.conditions(search)
    if low:
        walks = [Walk(walk.statement.where(PRODUCTS.c.low), walk.key) for walk in walks]
    else:
        checked.append(~PRODUCTS.c.low)
    return paginate(session, walks, PRODUCTS.c.id, query, Found.of, checked=checked)


def _shown(session: Session, rows: Sequence[Mapping[str, Any]]) -> list[ProductOut]:
    """Add the free pieces to rows of products whose stock is tracked."""
    ids = [row["id"] for row in rows if row["track_stock"]]
    free: dict[str, int] = {}
    if ids:
        levels = select(LEVELS).where(one_of(session, LEVELS.c.product_id, ids))
        free = {row.product_id: row.on_hand - row.reserved for row in session.connection().execute(levels)}
    return [ProductOut.of(row, free.get(row["id"])) for row in rows]


def require(session: Session, product_id: str) -> dict[str, Any]:
    """Return the row of a product, whatever its status."""
    row = _BY_ID.one(session, id=product_id)
    if row is None:
        raise NotFound
    return row


def show(session: Session, row: Mapping[str, Any]) -> ProductOut:
    return _shown(session, [row])[0]


def add(session: Session, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Add a product, and return its row. It may be low from the beginning, which emits no event."""
    columns = product_columns(fields, fields["currency"])
    low_at = columns["low_at"] if columns["track_stock"] else None
    search = searched_text(columns["sku"], columns["name"])
    try:
        row = insert_row(session, PRODUCTS, **columns, search=search, low=moves.is_low(0, low_at))
    except IntegrityError as error:
        raise SkuTaken from error
    moves.add_level(session, row["id"], low_at, backorder=row["backorder"])
    _tell(session, row)
    return row


def change(
    session: Session, product_id: str, changes: Mapping[str, Any], if_match: IfMatch
) -> dict[str, Any]:
    """Change some fields, and return the new row; nothing is changed if they are refused."""
    level, product = _locked(session, product_id)
    if_match.check(product.version)
    columns = _columns(product.currency, product.price_minor, changes)
    tracked = columns.get("track_stock", product.track_stock)
    low_at = columns.get("low_at", product.low_at) if tracked else None
    _follow(session, level, low_at, backorder=columns.get("backorder", product.backorder))
    for name, value in columns.items():
        setattr(product, name, value)
    product.touch()
    try:
        session.flush()
    except IntegrityError as error:
        raise SkuTaken from error
    moves.set_low(session, product_id, level["on_hand"] - level["reserved"], low_at)
    row = require(session, product_id)
    _tell(session, row)
    return row


def differences(row: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the fields that differ from the row."""
    columns = _columns(row["currency"], row["price_minor"], fields)
    is_other = {name for name, value in columns.items() if row[name] != value}
    names = {"price": "price_minor", "tax_rate": "tax_basis_points"}
    return {name: value for name, value in fields.items() if names.get(name, name) in is_other}


def _columns(currency: str, price_minor: int, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changed columns; price and currency have to fit, even if only one of them changes."""
    fields = dict(changes)
    if "currency" in fields:
        fields.setdefault("price", from_minor(price_minor, currency))
    try:
        return product_columns(fields, fields.get("currency", currency))
    except ValueError as error:
        fault = FieldFault(field="price", code="value_error", message=str(error))
        raise Invalid(errors=[fault]) from error


def _follow(session: Session, level: Mapping[str, Any], low_at: int | None, *, backorder: bool) -> None:
    """Copy the low limit of a product to its level, and whether it may be ordered beyond its stock."""
    if (level["low_at"], level["backorder"]) == (low_at, backorder):
        return
    if not backorder and level["reserved"] > level["on_hand"]:
        raise PiecesOwed(owed=level["reserved"] - level["on_hand"])
    changed = update(LEVELS).where(LEVELS.c.product_id == level["product_id"])
    session.connection().execute(changed.values(low_at=low_at, backorder=backorder))


def remove(session: Session, product_id: str, if_match: IfMatch) -> None:
    """Delete a product that was never ordered and never in stock; archive others."""
    _, product = _locked(session, product_id)
    if_match.check(product.version)
    if not _is_named(session, LINES, product_id) and not _is_named(session, MOVES, product_id):
        session.connection().execute(delete(PRODUCTS).where(PRODUCTS.c.id == product_id))
        emit(session, ProductDeleted(product_id=product_id, sku=product.sku))
    elif product.status != ProductStatus.ARCHIVED:
        product.status = ProductStatus.ARCHIVED
        product.touch()
        session.flush()
        _tell(session, product.model_dump())


def _is_named(session: Session, table: Table, product_id: str) -> bool:
    named = select(table.c.id).where(table.c.product_id == product_id).limit(1)
    return session.connection().execute(named).first() is not None


def _locked(session: Session, product_id: str) -> tuple[dict[str, Any], Product]:
    """Lock the level and the product, in the order in which moves of stock lock them."""
    level = moves.lock_level(session, product_id)
    product = session.get(Product, product_id, with_for_update=True)
    if level is None or product is None:
        raise NotFound
    return level, product


def _tell(session: Session, row: Mapping[str, Any]) -> None:
    emit(session, ProductChanged(product_id=row["id"], **row))
