"""Settings of the orders service."""

from datetime import timedelta
from typing import ClassVar

from pydantic import Field

from shared.process.settings import ServiceSettings


class Settings(ServiceSettings):
    service: ClassVar[str] = "orders"

    port: int = Field(default=8082, ge=1, le=65535)
    reservation_hours: float = Field(default=24.0, ge=0, le=8760)

    @property
    def reservation_time(self) -> timedelta | None:
        """How long a pending order keeps its pieces; None means forever."""
        return timedelta(hours=self.reservation_hours) or None
