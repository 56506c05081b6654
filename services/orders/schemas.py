"""Input and output models of the orders service."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import Field, PlainSerializer, ValidationInfo, field_validator, model_validator

from services.orders.models import OrderStatus
from shared.data.money import Amount, Currency, from_minor, to_minor
from shared.errors import FieldFault, Invalid
from shared.http.schemas import Id, Input, Output, Text, Versioned, example
from shared.lists.pagination import PageQuery
from shared.words import pattern

STORABLE = pattern(r"^[^\x00]*$", "must not contain the character U+0000")
ProductName = Annotated[Text, Field(max_length=200)]
Quantity = Annotated[int, Field(ge=1, le=1_000_000)]
TaxRate = Annotated[
    Decimal,
    Field(
        ge=0,
        le=100,
        max_digits=5,
        decimal_places=2,
        description="Percent of the price; added to it.",
        json_schema_extra={"type": "number"},
    ),
    PlainSerializer(float, return_type=float, when_used="json"),
]
CURRENCY = "USD"
LINES_MAX = 50
SIMPLE = ("product_name", "quantity", "total_price")


class LineIn(Input):
    """One product to order."""

    model_config = example({"product_id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a", "quantity": 2})

    product_id: Id
    quantity: Quantity


class PlaceOrder(Input):
    """An order in the simple form, with a name and a price, or with `lines` of products."""

    model_config = example(
        {
            "product_name": "Laptop",
            "quantity": 1,
            "total_price": 999.99,
        }
    )

    product_name: ProductName | None = None
    quantity: Quantity | None = None
    currency: Currency | None = None  # before total_price, whose validation needs it
    total_price: Amount | None = None
    lines: list[LineIn] | None = Field(default=None, min_length=1, max_length=LINES_MAX)

    @field_validator("total_price")
    @classmethod
    def _payable(cls, amount: Decimal | None, info: ValidationInfo) -> Decimal | None:
        if amount is not None:
            to_minor(amount, info.data.get("currency") or CURRENCY)
        return amount

    def simple(self) -> tuple[str, int, Decimal, str]:
        """Return name, quantity, price and currency of an order in the simple form."""
        name, quantity, price = self.product_name, self.quantity, self.total_price
        nulls = {one for one in self.model_fields_set if getattr(self, one) is None}
        if name is None or quantity is None or price is None or nulls:
            lacking = nulls | {one for one in SIMPLE if getattr(self, one) is None}
            raise _faults(lacking, "missing", "is required, unless there are `lines`, and must not be null")
        return name, quantity, price, self.currency or CURRENCY

    @property
    def is_simple(self) -> bool:
        """Whether placing the order only adds rows, rather than reserve pieces."""
        return self.lines is None

    def require_lines_only(self) -> None:
        """Refuse other fields together with `lines`: name and price are those of the products."""
        others = self.model_fields_set - {"lines"}
        if others:
            raise _faults(
                others,
                "extra",
                "must be left out if there are `lines`, because products have names and prices",
            )


class ChangeOrder(Input):
    """Changes to a pending order, or its next step."""

    model_config = example(
        {
            "status": "confirmed",
        }
    )

    product_name: ProductName | None = None
    quantity: Quantity | None = None
    total_price: Amount | None = None
    currency: Currency | None = None
    status: OrderStatus | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set or None in self.changes().values():
            raise ValueError("give at least one field to change, and no nulls")
        return self

    def changes(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.model_fields_set}


class ListOrders(PageQuery):
    status: OrderStatus | None = Field(default=None, description="Only orders in this state.")
    user_id: Id | None = Field(default=None, description="Only orders of this account; for admins.")


_ORDER = {
    "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
    "user_id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
    "product_name": "Laptop",
    "quantity": 1,
    "total_price": 999.99,
    "currency": "USD",
    "status": "pending",
    "created": "2026-01-31T12:00:00Z",
    "updated": "2026-01-31T12:00:00Z",
    "line_count": 0,
    "version": 1,
}


class OrderOut(Versioned):
    model_config = example(_ORDER)

    id: str
    user_id: str
    product_name: str
    quantity: int
    total_price: Amount
    currency: str
    status: str
    created: datetime
    updated: datetime
    line_count: int

    @classmethod
    def of(cls, row: dict[str, Any]) -> Self:
        """Build from the columns of a row that is not used elsewhere, because it becomes the response."""
        return cls.taking(row, total_price=from_minor(row["total_minor"], row["currency"]))


class LineOut(Output):
    """A product in an order, as it was when it was ordered. `total` includes the tax."""

    model_config = example(
        {
            "product_id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "sku": "LAPTOP-14",
            "name": "Laptop",
            "quantity": 2,
            "unit_price": 999.99,
            "tax_rate": 24,
            "tax": 480,
            "total": 2479.98,
        }
    )

    product_id: str
    sku: str
    name: str
    quantity: int
    unit_price: Amount
    tax_rate: TaxRate
    tax: Amount
    total: Amount

    @classmethod
    def of(cls, row: Mapping[str, Any], currency: str) -> Self:
        return cls.unchecked(
            row,
            unit_price=from_minor(row["unit_minor"], currency),
            tax_rate=percent(row["tax_basis_points"]),
            tax=from_minor(row["tax_minor"], currency),
            total=from_minor(row["total_minor"], currency),
        )


class OrderWithLines(OrderOut):
    """An order, and its lines if it was placed with some."""

    model_config = example({**_ORDER, "lines": []})

    lines: list[LineOut]

    @classmethod
    def with_lines(cls, row: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> Self:
        currency = row["currency"]
        return cls.unchecked(
            row,
            total_price=from_minor(row["total_minor"], currency),
            lines=[LineOut.of(line, currency) for line in lines],
        )


class PurchaseOut(Output):
    """An order in which the caller bought the product."""

    model_config = example(
        {
            "product_id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "order_id": "0198c0de-6f00-7a10-8000-3f2b8c1de04b",
            "status": "delivered",
        }
    )

    product_id: str
    order_id: str
    status: str


class StepOut(Output):
    model_config = example(
        {
            "status": "confirmed",
            "from_status": "pending",
            "by": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
            "timestamp": "2026-01-31T12:00:00Z",
        }
    )

    status: str
    from_status: str | None
    by: str
    timestamp: datetime


def percent(basis_points: int) -> Decimal:
    return Decimal(basis_points).scaleb(-2)


def _faults(fields: Iterable[str], code: str, message: str) -> Invalid:
    return Invalid(errors=[FieldFault(field=one, code=code, message=message) for one in sorted(fields)])
