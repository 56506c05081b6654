"""Handlers of products."""

from sqlmodel import Session
from starlette.requests import Request

from services.orders.models import ProductStatus
from services.orders.products import catalogue
from services.orders.products.importing import BYTES_MAX, Import
from services.orders.products.schemas import (
    ChangeProduct,
    CreateProduct,
    ImportOut,
    ImportProducts,
    ListProducts,
    ProductOut,
)
from shared.caller import Caller
from shared.data.database import Database
from shared.errors import FieldFault, NotFound, UnsupportedMediaType
from shared.events import Trail
from shared.http.inputs import read_body
from shared.http.preconditions import IfMatch
from shared.http.schemas import Id, Page

CSV = "text/csv"


def list_products(query: ListProducts, caller: Caller, session: Session) -> Page[ProductOut]:
    """List the products on sale, newest first; admins see drafts and archived ones as well."""
    return catalogue.find(session, query, caller)


def create_product(body: CreateProduct, session: Session) -> ProductOut:
    """Add a product, without stock."""
    return catalogue.show(session, catalogue.add(session, body.model_dump()))


def show_product(product_id: Id, caller: Caller, session: Session) -> ProductOut:
    """Show one product."""
    row = catalogue.require(session, product_id)
    if row["status"] != ProductStatus.ACTIVE and not caller.is_admin:
        raise NotFound
    return catalogue.show(session, row)


def change_product(
    product_id: Id, body: ChangeProduct, if_match: IfMatch, session: Session, trail: Trail
) -> ProductOut:
    """Change a product. Orders keep the name and the price that they were placed with."""
    changes = body.changes()
    trail.add(fields=sorted(changes))
    return catalogue.show(session, catalogue.change(session, product_id, changes, if_match))


def delete_product(product_id: Id, if_match: IfMatch, session: Session) -> None:
    """Delete a product; one that was ordered or had stock is archived instead."""
    catalogue.remove(session, product_id, if_match)


async def import_products(
    query: ImportProducts, request: Request, database: Database, trail: Trail
) -> ImportOut:
    """Add or change products by SKU from a CSV file with a header line.

    Columns are those of a product except `attributes`; `sku`, `name` and `price` are required. Empty cells
    leave a product as it is. Rows with faults are skipped and reported; the others are stored unless
    `dry_run` is true, as it is by default. Repeating an import changes nothing.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != CSV:
        fault = FieldFault(field="Content-Type", code="wrong", message=f"must be {CSV}")
        raise UnsupportedMediaType(f"The body must be CSV: send `Content-Type: {CSV}`.", errors=[fault])
    content = await read_body(request, BYTES_MAX)
    work = Import(content, dry_run=query.dry_run)
    result = await database.in_background(work.run, database)
    trail.add(**result.model_dump(exclude={"faults"}))
    return result
