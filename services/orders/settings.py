"""Settings of the orders service."""

from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from pydantic import Field, field_validator

from shared.data.money import CURRENCIES
from shared.process.settings import ServiceSettings


class Settings(ServiceSettings):
    service: ClassVar[str] = "orders"

    port: int = Field(default=8082, ge=1, le=65535)
    reservation_hours: float = Field(default=24.0, ge=0, le=8760)

    report_days: int = Field(default=7, ge=1, le=30)

    seller_name: str = Field(default="", max_length=200)
    seller_address: str = Field(default="", max_length=500)  # lines separated by `|`
    seller_tax_id: str = Field(default="", max_length=40)
    seller_note: str = Field(default="", max_length=500)
    seller_currency: str = ""
    pdf_fonts: Path | None = None

    @field_validator("seller_currency")
    @classmethod
    def _known_or_any(cls, currency: str) -> str:
        if currency and currency not in CURRENCIES:
            raise ValueError("must be an ISO 4217 currency code in capitals, for example USD")
        return currency

    @field_validator("pdf_fonts")
    @classmethod
    def _folder(cls, folder: Path | None) -> Path | None:
        if folder is not None and not folder.is_dir():
            raise ValueError("must be a folder with fonts")
        return folder

    @property
    def report_time(self) -> timedelta:
        """How long the file of a report is kept."""
        return timedelta(days=self.report_days)

    @property
    def reservation_time(self) -> timedelta | None:
        """How long a pending order keeps its pieces; None means forever."""
        return timedelta(hours=self.reservation_hours) or None
