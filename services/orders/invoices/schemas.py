"""Input and output models of invoices."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import Field

from services.orders.invoices.snapshots import Line, Party, Snapshot, TaxSum
from services.orders.models import InvoiceKind
from services.orders.schemas import TaxRate, percent
from shared.data.money import Amount, from_minor
from shared.http.schemas import Id, Input, Output, Text, example
from shared.lists.pagination import PageQuery

_BUYER = {"name": "Ann Example", "address": "2 Example Road\n20000 Example Town", "tax_id": None}
_SELLER = {"name": "Example Company", "address": "1 Example Street\n10000 Example City", "tax_id": "EX-000"}


class Buyer(Input):
    """Whom the invoice is addressed to."""

    model_config = example({"name": "Ann Example", "address": "2 Example Road\n20000 Example Town"})

    name: Annotated[Text, Field(max_length=200)]
    address: Annotated[Text, Field(max_length=500)] | None = None
    tax_id: Annotated[Text, Field(max_length=40)] | None = None


class IssueInvoice(Input):
    """What the invoice states beyond the order. Without a buyer it names only the account."""

    model_config = example({"buyer": _BUYER})

    buyer: Buyer | None = None


class ListInvoices(PageQuery):
    year: int | None = Field(
        default=None, ge=2000, le=9998, description="Only those issued in this year (UTC)."
    )
    kind: InvoiceKind | None = Field(default=None, description="Only invoices, or only credit notes.")
    user_id: Id | None = Field(default=None, description="Only those of this account; for admins.")


class PartyOut(Output):
    model_config = example(_SELLER)

    name: str
    address: str | None
    tax_id: str | None

    @classmethod
    def of(cls, party: Party) -> Self:
        return cls.unchecked(party.model_dump())


class InvoiceLineOut(Output):
    """One line. `net` is without tax and `total` includes it; `unit_price` is null if it is not exact."""

    model_config = example(
        {
            "name": "Laptop",
            "sku": "LAPTOP-14",
            "quantity": 2,
            "unit_price": 999.99,
            "tax_rate": 24,
            "net": 1999.98,
            "tax": 480,
            "total": 2479.98,
        }
    )

    name: str
    sku: str | None
    quantity: int
    unit_price: Amount | None
    tax_rate: TaxRate
    net: Amount
    tax: Amount
    total: Amount

    @classmethod
    def of(cls, line: Line, currency: str) -> Self:
        return cls.unchecked(
            line.model_dump(),
            unit_price=None if line.unit_minor is None else from_minor(line.unit_minor, currency),
            tax_rate=percent(line.tax_basis_points),
            net=from_minor(line.net_minor, currency),
            tax=from_minor(line.tax_minor, currency),
            total=from_minor(line.total_minor, currency),
        )


class TaxOut(Output):
    """The sums of one tax rate."""

    model_config = example({"tax_rate": 24, "net": 1999.98, "tax": 480})

    tax_rate: TaxRate
    net: Amount
    tax: Amount

    @classmethod
    def of(cls, sums: TaxSum, currency: str) -> Self:
        return cls.unchecked(
            {},
            tax_rate=percent(sums.tax_basis_points),
            net=from_minor(sums.net_minor, currency),
            tax=from_minor(sums.tax_minor, currency),
        )


_INVOICE = {
    "id": "0198c0de-7f00-7a10-8000-3f2b8c1de04c",
    "order_id": "0198c0de-6f00-7a10-8000-3f2b8c1de04b",
    "user_id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
    "kind": "invoice",
    "number": "INV-2026-000001",
    "total": 2479.98,
    "currency": "USD",
    "issued": "2026-01-31T12:00:00Z",
}


class InvoiceOut(Output):
    """An invoice or a credit note. The total of a credit note is what the buyer gets back."""

    model_config = example(_INVOICE)

    id: str
    order_id: str
    user_id: str
    kind: str
    number: str
    total: Amount
    currency: str
    issued: datetime

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        return cls.unchecked(row, total=from_minor(row["total_minor"], row["currency"]))


class InvoiceWithLines(InvoiceOut):
    """Everything that the document states. `corrects` is the number of the invoice that is credited."""

    model_config = example(
        {
            **_INVOICE,
            "corrects": None,
            "seller": _SELLER,
            "buyer": _BUYER,
            "lines": [],
            "taxes": [],
            "net": 1999.98,
            "tax": 480,
        }
    )

    corrects: str | None
    seller: PartyOut
    buyer: PartyOut
    lines: list[InvoiceLineOut]
    taxes: list[TaxOut]
    net: Amount
    tax: Amount

    @classmethod
    def with_lines(cls, row: Mapping[str, Any]) -> Self:
        snapshot = Snapshot.model_validate_json(row["snapshot"])
        currency = snapshot.currency
        return cls.unchecked(
            row,
            total=from_minor(row["total_minor"], currency),
            corrects=snapshot.corrects,
            seller=PartyOut.of(snapshot.seller),
            buyer=PartyOut.of(snapshot.buyer),
            lines=[InvoiceLineOut.of(line, currency) for line in snapshot.lines],
            taxes=[TaxOut.of(sums, currency) for sums in snapshot.taxes],
            net=from_minor(snapshot.net_minor, currency),
            tax=from_minor(snapshot.tax_minor, currency),
        )
