"""Settings of the users service."""

from typing import ClassVar

from pydantic import Field

from shared.data.sealed import SealingSettings


class Settings(SealingSettings):
    service: ClassVar[str] = "users"

    port: int = Field(default=8081, ge=1, le=65535)
    auth_url: str = Field(default="http://127.0.0.1:8083", pattern=r"^https?://[^/?#\s]+/?$")
