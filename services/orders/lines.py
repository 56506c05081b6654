"""Orders of products: their lines, which take name, price and tax from the catalogue."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import bindparam, select
from sqlmodel import Session

from services.orders.driver import run
from services.orders.models import LINES, ORDERS, ProductStatus
from services.orders.schemas import LineIn
from services.orders.stock import reservations
from shared.clock import now
from shared.data.bulk import insert_rows
from shared.data.money import MINOR_UNITS_MAX
from shared.data.statements import Rows, insert_row
from shared.errors import FieldFault, Invalid
from shared.ids import new_id

NAME_CHARACTERS_MAX = 200
_WHOLE = 10_000  # basis points
_COPIED = ("id", "sku", "name", "price_minor", "currency", "tax_basis_points", "status", "track_stock")
_BY_ID = {
    "sqlite": "SELECT id, sku, name, price_minor, currency, tax_basis_points, status, track_stock"
    " FROM products WHERE id IN (SELECT value FROM json_each(?))",
    "postgresql": "SELECT id, sku, name, price_minor, currency, tax_basis_points, status, track_stock"
    " FROM products WHERE id = ANY(%s)",
}
_OF_ORDER = Rows(select(LINES).where(LINES.c.order_id == bindparam("order_id")).order_by(LINES.c.line))


def of_order(session: Session, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the lines of an order; those in the simple form have none."""
    return _OF_ORDER.rows(session, order_id=row["id"]) if row["line_count"] else []


def place(
    session: Session, wanted: Sequence[LineIn], user_id: str, kept_for: timedelta | None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Insert an order of these products with its lines, and reserve the pieces; return both."""
    products = _products(session, wanted)
    order_id = new_id()
    lines = [
        {
            "id": new_id(),
            "order_id": order_id,
            "line": number,
            **priced(products[one.product_id], one.quantity),
        }
        for number, one in enumerate(wanted, 1)
    ]
    total = sum(line["total_minor"] for line in lines)
    if total > MINOR_UNITS_MAX:
        raise _fault("lines", "too_large", "together cost more than an order may")
    tracked = {one.product_id: one.quantity for one in wanted if products[one.product_id]["track_stock"]}
    order = insert_row(
        session,
        ORDERS,
        id=order_id,
        user_id=user_id,
        product_name=summary([line["name"] for line in lines]),
        quantity=sum(line["quantity"] for line in lines),
        total_minor=total,
        currency=products[wanted[0].product_id]["currency"],
        line_count=len(lines),
        reserved_until=now() + kept_for if tracked and kept_for else None,
    )
    insert_rows(session, LINES, lines)
    reservations.reserve(session, order_id, tracked, user_id)
    return order, lines


def priced(product: Mapping[str, Any], quantity: int) -> dict[str, Any]:
    """Return the columns of a line; its total includes the tax."""
    net = product["price_minor"] * quantity
    tax = tax_of(net, product["tax_basis_points"])
    return {
        "product_id": product["id"],
        "sku": product["sku"],
        "name": product["name"],
        "quantity": quantity,
        "unit_minor": product["price_minor"],
        "tax_basis_points": product["tax_basis_points"],
        "tax_minor": tax,
        "total_minor": net + tax,
    }


def tax_of(net: int, basis_points: int) -> int:
    """Return the tax in minor units; halves go to the even unit, so that sums do not drift."""
    tax, rest = divmod(net * basis_points, _WHOLE)
    return tax + (rest * 2 > _WHOLE or (rest * 2 == _WHOLE and tax % 2 == 1))


def summary(names: Sequence[str]) -> str:
    """Return the name of the whole order, for clients that know orders of one product only."""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0][: NAME_CHARACTERS_MAX - len(more)]}{more}"


def _products(session: Session, wanted: Sequence[LineIn]) -> dict[str, dict[str, Any]]:
    """Return the products by id, or refuse lines that cannot be ordered together."""
    ids = [one.product_id for one in wanted]
    found = (dict(zip(_COPIED, row, strict=True)) for row in run(session, _BY_ID, ids, [ids]).fetchall())
    products = {row["id"]: row for row in found if row["status"] == ProductStatus.ACTIVE}
    faults: list[FieldFault] = []
    currencies = [products[one]["currency"] for one in ids if one in products]
    for number, product_id in enumerate(ids):
        if product_id not in products:
            code, message = "unknown_product", "there is no such product to order"
        elif product_id in ids[:number]:
            code, message = "repeated", "must be in one line only"
        elif products[product_id]["currency"] != currencies[0]:
            code, message = "other_currency", f"is not sold in {currencies[0]}, unlike the first product"
        else:
            continue
        faults.append(FieldFault(field=f"lines.{number}.product_id", code=code, message=message))
    if faults:
        raise Invalid(errors=faults)
    return products


def _fault(field: str, code: str, message: str) -> Invalid:
    return Invalid(errors=[FieldFault(field=field, code=code, message=message)])
