"""What an invoice states: seller, buyer, lines and sums, as they were when it was issued."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from services.orders.errors import SellerNotSet
from services.orders.settings import Settings

_DEVELOPMENT = {
    "name": "Example Company",
    "address": "1 Example Street\n10000 Example City",
    "tax_id": "EX-000",
}
_REQUIRED = ("name", "address", "tax_id")


class Party(BaseModel):
    name: str
    address: str | None = None
    tax_id: str | None = None


class Line(BaseModel):
    name: str
    sku: str | None
    quantity: int
    unit_minor: int | None  # None if the price of an order without lines is not a multiple of its quantity
    tax_basis_points: int
    net_minor: int
    tax_minor: int
    total_minor: int


class TaxSum(BaseModel):
    tax_basis_points: int
    net_minor: int
    tax_minor: int


class Snapshot(BaseModel):
    seller: Party
    note: str
    buyer: Party
    lines: list[Line]
    taxes: list[TaxSum]
    net_minor: int
    tax_minor: int
    total_minor: int
    currency: str
    corrects: str | None = None  # the number of the invoice that a credit note takes back


def seller_of(settings: Settings) -> Party:
    """Return the seller; in development an example, in production a refusal, if the settings are not set."""
    given = {
        "name": settings.seller_name,
        "address": "\n".join(part.strip() for part in settings.seller_address.split("|")),
        "tax_id": settings.seller_tax_id,
    }
    if all(given[name] for name in _REQUIRED):
        return Party(**given)
    if settings.environment == "production":
        raise SellerNotSet
    return Party(**{name: given[name] or _DEVELOPMENT[name] for name in _REQUIRED})


def snapshot_of(
    order: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], seller: Party, buyer: Party, note: str
) -> Snapshot:
    stated = [_line(line) for line in lines] or [_only_line(order)]
    return Snapshot(
        seller=seller,
        note=note,
        buyer=buyer,
        lines=stated,
        taxes=tax_sums(stated),
        net_minor=sum(line.net_minor for line in stated),
        tax_minor=sum(line.tax_minor for line in stated),
        total_minor=sum(line.total_minor for line in stated),
        currency=order["currency"],
    )


def tax_sums(lines: Sequence[Line]) -> list[TaxSum]:
    """Sum up net and tax for each rate, lowest rate first."""
    sums: dict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for line in lines:
        net, tax = sums[line.tax_basis_points]
        sums[line.tax_basis_points] = net + line.net_minor, tax + line.tax_minor
    return [
        TaxSum(tax_basis_points=rate, net_minor=net, tax_minor=tax)
        for rate, (net, tax) in sorted(sums.items())
    ]


def _line(row: Mapping[str, Any]) -> Line:
    return Line.model_validate({**row, "net_minor": row["total_minor"] - row["tax_minor"]})


def _only_line(order: Mapping[str, Any]) -> Line:
    """Return the line of an order in the simple form, whose price states no tax."""
    total, quantity = order["total_minor"], order["quantity"]
    unit, rest = divmod(total, quantity)
    return Line(
        name=order["product_name"],
        sku=None,
        quantity=quantity,
        unit_minor=None if rest else unit,
        tax_basis_points=0,
        net_minor=total,
        tax_minor=0,
        total_minor=total,
    )
