"""Input and output models of the orders service."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from services.orders.models import OrderStatus
from shared.data.money import Amount, Currency, from_minor, to_minor
from shared.http.schemas import Id, Input, Output, Text, Versioned, example
from shared.lists.pagination import PageQuery

ProductName = Annotated[Text, Field(max_length=200)]
Quantity = Annotated[int, Field(ge=1, le=1_000_000)]


class PlaceOrder(Input):
    model_config = example(
        {
            "product_name": "Laptop",
            "quantity": 1,
            "total_price": 999.99,
        }
    )

    product_name: ProductName
    quantity: Quantity
    currency: Currency = "USD"  # before total_price, whose validation needs it
    total_price: Amount

    @field_validator("total_price")
    @classmethod
    def _payable(cls, amount: Decimal, info: ValidationInfo) -> Decimal:
        to_minor(amount, info.data.get("currency", "USD"))
        return amount


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


class OrderOut(Versioned):
    model_config = example(
        {
            "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "user_id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
            "product_name": "Laptop",
            "quantity": 1,
            "total_price": 999.99,
            "currency": "USD",
            "status": "pending",
            "created": "2026-01-31T12:00:00Z",
            "updated": "2026-01-31T12:00:00Z",
            "version": 1,
        }
    )

    id: str
    user_id: str
    product_name: str
    quantity: int
    total_price: Amount
    currency: str
    status: str
    created: datetime
    updated: datetime

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Build from the columns of a row."""
        return cls.unchecked(row, total_price=from_minor(row["total_minor"], row["currency"]))


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
