"""Input and output models of stock."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from services.orders.models import MAIN, MoveKind
from shared.http.schemas import Input, Output, Text, example
from shared.words import pattern

Location = Annotated[
    str,
    Field(
        max_length=40,
        pattern=pattern(
            r"^[a-z0-9][a-z0-9._-]*$",
            "must begin with a small letter or digit and contain only those and . _ -",
        ),
    ),
]


class MoveStock(Input):
    """Pieces that arrived (`receive`), or a correction (`adjust`), which may be negative."""

    model_config = example(
        {"kind": "receive", "quantity": 100, "location": "main", "reason": "delivery 4711"}
    )

    kind: Literal[MoveKind.RECEIVE, MoveKind.ADJUST]
    quantity: int = Field(ge=-1_000_000_000, le=1_000_000_000)
    location: Location = MAIN
    reason: Annotated[Text, Field(max_length=200)] | None = None

    @field_validator("quantity")
    @classmethod
    def _moves_something(cls, quantity: int, info: ValidationInfo) -> int:
        if quantity == 0:
            raise ValueError("must not be 0")
        if quantity < 0 and info.data.get("kind") == MoveKind.RECEIVE:
            raise ValueError("must be positive; use `adjust` to take pieces away")
        return quantity


class MoveOut(Output):
    """One change of stock. `reserve`, `release`, `ship` and `return` belong to the order `order_id`."""

    model_config = example(
        {
            "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "product_id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
            "location": "main",
            "kind": "receive",
            "quantity": 100,
            "order_id": None,
            "reason": "delivery 4711",
            "by": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
            "timestamp": "2026-01-31T12:00:00Z",
        }
    )

    id: str
    product_id: str
    location: str
    kind: str
    quantity: int
    order_id: str | None
    reason: str | None
    by: str
    timestamp: datetime


class PlaceOut(Output):
    """The stock at one location."""

    model_config = example({"location": "main", "on_hand": 50, "reserved": 8, "available": 42})

    location: str
    on_hand: int
    reserved: int
    available: int


class StockOut(Output):
    """The stock of a product, over all locations and at each. `available` may be negative with backorders."""

    model_config = example(
        {
            "product_id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "on_hand": 50,
            "reserved": 8,
            "available": 42,
            "locations": [{"location": "main", "on_hand": 50, "reserved": 8, "available": 42}],
        }
    )

    product_id: str
    on_hand: int
    reserved: int
    available: int
    locations: list[PlaceOut]
