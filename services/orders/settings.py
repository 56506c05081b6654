"""Settings of the orders service."""

from typing import ClassVar

from pydantic import Field

from shared.process.settings import ServiceSettings


class Settings(ServiceSettings):
    service: ClassVar[str] = "orders"

    port: int = Field(default=8082, ge=1, le=65535)
