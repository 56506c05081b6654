"""Input of reports about orders and invoices."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from shared.http.schemas import example
from shared.reports.schemas import ReportInput


class ReportKind(StrEnum):
    """What a report lists or sums up."""

    ORDERS = "orders"
    INVOICES = "invoices"


class StartReport(ReportInput):
    """A report about whole months (UTC): those in which the orders were placed, or the invoices issued."""

    model_config = example({"kind": "orders", "month": "2026-01", "months": 3, "format": "csv"})

    kind: Annotated[ReportKind, Field(strict=False)]
