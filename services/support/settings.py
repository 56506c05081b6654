"""The settings of the support service."""

import re
from datetime import timedelta
from typing import ClassVar, Self

from pydantic import Field, field_validator, model_validator

from services.support.hours import Hours, hours_of
from shared.process.settings import ServiceSettings

EVERYTHING = "*"


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
    # Empty: at any time.
    support_hours: str = Field(default="", max_length=500)
    support_timezone: str = Field(default="UTC", max_length=64)
    support_holidays: str = Field(default="", max_length=3000)
    overdue_seconds: float = Field(default=60, ge=1, le=86_400)
    reopen_days: int = Field(default=14, ge=0, le=3650)
    edit_minutes: int = Field(default=15, ge=0, le=1440)
    open_tickets_max: int = Field(default=50, ge=1, le=10_000)
    tickets_daily: int = Field(default=100, ge=1, le=10_000)
    reviews_daily: int = Field(default=20, ge=1, le=10_000)
    reports_hide: int = Field(default=5, ge=1, le=1000)
    review_types: str = Field(default="*", max_length=1000)
    reviews_auto_approve: bool = False
    report_days: int = Field(default=7, ge=1, le=30)

    @field_validator("review_types")
    @classmethod
    def _kinds(cls, types: str) -> str:
        kinds = [one.strip() for one in types.split(",")]
        if types != EVERYTHING and not all(re.fullmatch("[a-z][a-z0-9_]{0,19}", one) for one in kinds):
            raise ValueError("must be lower-case words such as product,course, or * for everything")
        return ",".join(kinds)

    @model_validator(mode="after")
    def _check_hours(self) -> Self:
        _ = self.hours  # refused at the start, and not with the first ticket
        return self

    @property
    def hours(self) -> Hours:
        """When staff work; due times are counted in these hours."""
        return hours_of(self.support_hours, self.support_timezone, self.support_holidays)

    def may_review(self, resource_type: str) -> bool:
        return self.review_types == EVERYTHING or resource_type in self.review_types.split(",")

    @property
    def report_time(self) -> timedelta:
        """How long the file of a report about tickets is kept."""
        return timedelta(days=self.report_days)

    def due_times(self, priority: str) -> tuple[timedelta, timedelta]:
        """Return the time until the first reply, and until the solution."""
        first, solution = str(getattr(self, f"due_minutes_{priority}")).split("/")
        return timedelta(minutes=int(first)), timedelta(minutes=int(solution))
