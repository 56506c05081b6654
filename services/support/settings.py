"""The settings of the support service."""

from datetime import timedelta
from typing import ClassVar

from pydantic import Field

from shared.process.settings import ServiceSettings


class Settings(ServiceSettings):
    service: ClassVar[str] = "support"

    port: int = Field(default=8089, ge=1, le=65535)
    orders_url: str = "http://127.0.0.1:8082"
    files_url: str = "http://127.0.0.1:8084"
    # Minutes until the first reply and until the solution, by priority.
    due_minutes_urgent: str = Field(default="60/480", pattern=r"^[0-9]{1,6}/[0-9]{1,6}$")
    due_minutes_high: str = Field(default="240/1440", pattern=r"^[0-9]{1,6}/[0-9]{1,6}$")
    due_minutes_medium: str = Field(default="1440/4320", pattern=r"^[0-9]{1,6}/[0-9]{1,6}$")
    due_minutes_low: str = Field(default="2880/10080", pattern=r"^[0-9]{1,6}/[0-9]{1,6}$")
    overdue_seconds: float = Field(default=60, ge=1, le=86_400)
    reopen_days: int = Field(default=14, ge=0, le=3650)
    open_tickets_max: int = Field(default=50, ge=1, le=10_000)
    tickets_daily: int = Field(default=100, ge=1, le=10_000)
    reviews_daily: int = Field(default=20, ge=1, le=10_000)
    reports_hide: int = Field(default=5, ge=1, le=1000)

    def due_times(self, priority: str) -> tuple[timedelta, timedelta]:
        """Return the time until the first reply, and until the solution."""
        first, solution = str(getattr(self, f"due_minutes_{priority}")).split("/")
        return timedelta(minutes=int(first)), timedelta(minutes=int(solution))
