"""Input and output models of products."""

import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from services.orders.models import ProductStatus
from services.orders.schemas import CURRENCY, STORABLE, ProductName, TaxRate, percent
from shared.data.money import Amount, Currency, from_minor, to_minor
from shared.http.schemas import Input, Output, Query, Versioned, example
from shared.lists.pagination import PageQuery
from shared.words import pattern

Pieces = Annotated[int, Field(ge=0, le=1_000_000_000)]
Sku = Annotated[
    str,
    Field(
        max_length=64,
        pattern=pattern(
            r"^[A-Za-z0-9][A-Za-z0-9._/-]*$",
            "must begin with a letter or digit and contain only those and . _ / -",
        ),
    ),
]
Attributes = Annotated[
    dict[
        Annotated[str, Field(min_length=1, max_length=50, pattern=STORABLE)],
        Annotated[str, Field(max_length=200, pattern=STORABLE)],
    ],
    Field(max_length=30),
]
Description = Annotated[str, Field(max_length=5_000, pattern=STORABLE)]


class CreateProduct(Input):
    model_config = example({"sku": "LAPTOP-14", "name": "Laptop", "price": 999.99, "status": "active"})

    sku: Sku
    name: ProductName
    currency: Currency = CURRENCY  # before price, whose validation needs it
    price: Amount
    description: Description = ""
    tax_rate: TaxRate = Decimal(0)
    status: ProductStatus = ProductStatus.DRAFT
    track_stock: bool = Field(default=True, description="Whether orders reserve pieces of it.")
    backorder: bool = Field(default=False, description="Whether it can be ordered if too few are free.")
    low_at: Pieces | None = Field(
        default=None, description="The number of free pieces at or below which its stock is low."
    )
    attributes: Attributes = Field(default_factory=dict)

    @field_validator("price")
    @classmethod
    def _payable(cls, amount: Decimal, info: ValidationInfo) -> Decimal:
        to_minor(amount, info.data.get("currency", CURRENCY))
        return amount


class ChangeProduct(Input):
    """Any of the fields; those left out stay as they are."""

    model_config = example({"price": 899.99, "low_at": 10})

    sku: Sku | None = None
    name: ProductName | None = None
    description: Description | None = None
    currency: Currency | None = None
    price: Amount | None = None
    tax_rate: TaxRate | None = None
    status: ProductStatus | None = None
    track_stock: bool | None = None
    backorder: bool | None = None
    low_at: Pieces | None = None
    attributes: Attributes | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        changes = self.changes()
        if not changes or None in [value for name, value in changes.items() if name != "low_at"]:
            raise ValueError("give at least one field to change, and no nulls except for low_at")
        return self

    def changes(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.model_fields_set}


class ListProducts(PageQuery):
    status: ProductStatus | None = Field(default=None, description="For admins; others see active ones.")
    low: bool | None = Field(
        default=None, description="Only products whose stock is low (true) or is not low (false)."
    )
    search: str | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="Part of the SKU or the name, in any case.",
    )


class ProductOut(Versioned):
    model_config = example(
        {
            "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "sku": "LAPTOP-14",
            "name": "Laptop",
            "description": "",
            "price": 999.99,
            "currency": "USD",
            "tax_rate": 24,
            "status": "active",
            "track_stock": True,
            "backorder": False,
            "low_at": 10,
            "low": False,
            "available": 42,
            "attributes": {"colour": "silver"},
            "created": "2026-01-31T12:00:00Z",
            "updated": "2026-01-31T12:00:00Z",
            "version": 1,
        }
    )

    id: str
    sku: str
    name: str
    description: str
    price: Amount
    currency: str
    tax_rate: TaxRate
    status: str
    track_stock: bool
    backorder: bool
    low_at: int | None
    low: bool
    available: int | None = Field(description="Free pieces; null if its stock is not tracked.")
    attributes: dict[str, str]
    created: datetime
    updated: datetime

    @classmethod
    def of(cls, row: Mapping[str, Any], available: int | None) -> Self:
        """Build from the columns of a row and the number of free pieces."""
        return cls.unchecked(
            row,
            price=from_minor(row["price_minor"], row["currency"]),
            tax_rate=percent(row["tax_basis_points"]),
            available=available,
            attributes=json.loads(row["attributes"]),
        )


class ImportProducts(Query):
    dry_run: bool = Field(default=True, description="Only check the file; nothing is stored.")


class RowFault(Output):
    """What is wrong with one row of an imported file; the header is row 1."""

    model_config = example(
        {"row": 7, "field": "price", "code": "decimal_parsing", "message": "must be a number"}
    )

    row: int
    field: str
    code: str
    message: str


class ImportOut(Output):
    """What an import did, or would do. Rows with faults are skipped; `faults` lists the first 1,000."""

    model_config = example(
        {
            "dry_run": True,
            "rows": 3,
            "created": 1,
            "changed": 1,
            "unchanged": 0,
            "invalid": 1,
            "faults": [
                {"row": 4, "field": "price", "code": "decimal_parsing", "message": "must be a number"}
            ],
        }
    )

    dry_run: bool
    rows: int
    created: int
    changed: int
    unchanged: int
    invalid: int
    faults: list[RowFault]


def product_columns(fields: Mapping[str, Any], currency: str) -> dict[str, Any]:
    """Return the columns for these fields of a product."""
    columns = dict(fields)
    if "price" in columns:
        columns["price_minor"] = to_minor(columns.pop("price"), currency)
    if "tax_rate" in columns:
        columns["tax_basis_points"] = int(columns.pop("tax_rate") * 100)
    if "attributes" in columns:
        columns["attributes"] = json.dumps(columns["attributes"], ensure_ascii=False, sort_keys=True)
    return columns
