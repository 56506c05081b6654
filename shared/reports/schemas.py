"""The input of a report, and what its job needs to know."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from shared.http.schemas import Input
from shared.words import pattern

MONTHS_MAX = 12
_MONTH = pattern(r"^20[0-9]{2}-(0[1-9]|1[0-2])$", "must be a month, such as 2026-01")


class ReportFormat(StrEnum):
    """`csv` and `xlsx` have a row for each thing, `pdf` has sums by month."""

    CSV = "csv"
    XLSX = "xlsx"
    PDF = "pdf"


class ReportInput(Input):
    """A report about whole months (UTC). Each service narrows `kind` to its own kinds."""

    kind: str
    month: str = Field(pattern=_MONTH, description="The first month.")
    months: int = Field(default=1, ge=1, le=MONTHS_MAX, description="How many months.")
    format: Annotated[ReportFormat, Field(strict=False)]

    @property
    def begin(self) -> datetime:
        return datetime.strptime(self.month, "%Y-%m").replace(tzinfo=UTC)

    @property
    def end(self) -> datetime:
        """The moment after the last month."""
        years, month = divmod(self.begin.month - 1 + self.months, 12)
        return self.begin.replace(year=self.begin.year + years, month=month + 1)

    @property
    def file_name(self) -> str:
        return f"{self.kind}-{self.month}-{self.months}.{self.format}"
