"""The settings of the notifications service."""

from typing import ClassVar

from pydantic import Field

from shared.process.settings import ServiceSettings


class Settings(ServiceSettings):
    service: ClassVar[str] = "notifications"

    port: int = Field(default=8088, ge=1, le=65535)
    notification_days: int = Field(default=90, ge=1, le=3650)
