"""Settings of the users service."""

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from shared.data.sealed import SealingSettings

Url = Annotated[str, StringConstraints(pattern=r"^https?://[^/?#\s]+/?$")]


class Settings(SealingSettings):
    service: ClassVar[str] = "users"

    port: int = Field(default=8081, ge=1, le=65535)
    auth_url: Url = "http://127.0.0.1:8083"
    # For the dashboard.
    orders_url: Url = "http://127.0.0.1:8082"
    files_url: Url = "http://127.0.0.1:8084"
    audit_url: Url = "http://127.0.0.1:8085"
    inventory_url: Url = "http://127.0.0.1:8086"
    terminal_url: Url = "http://127.0.0.1:8087"
    notifications_url: Url = "http://127.0.0.1:8088"
    support_url: Url = "http://127.0.0.1:8089"
