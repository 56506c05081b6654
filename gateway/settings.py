"""What the gateway reads from the environment."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from shared.settings import ProcessSettings

Network = IPv4Network | IPv6Network


class Settings(ProcessSettings):
    """The gateway's own settings, beside those of every process."""

    service: ClassVar[str] = "gateway"

    port: int = Field(default=8000, ge=1, le=65535)
    routes_file: Path = Path("routes.yaml")
    workers: int = Field(default=1, ge=1, le=64)
    admin_host: str = "127.0.0.1"
    admin_port: int = Field(default=8010, ge=0, le=65535)  # 0: no admin listener
    drain_notice_seconds: float = Field(default=5.0, ge=0, le=300)
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = ()

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _comma_separated(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(ip_network(part.strip()) for part in value.split(",") if part.strip())

    def notice(self) -> str | None:
        return f"all endpoints, to read and to try: http://{self.host}:{self.port}/docs"
