"""What the gateway reads from the environment."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from shared.proxies import Networks
from shared.settings import ProcessSettings, Seconds


class Settings(ProcessSettings):
    """The gateway's own settings, beside those of every process."""

    service: ClassVar[str] = "gateway"

    port: int = Field(default=8000, ge=1, le=65535)
    routes_file: Path = Path("routes.yaml")
    workers: int = Field(default=1, ge=1, le=64)
    admin_host: str = "127.0.0.1"
    admin_port: int = Field(default=8010, ge=0, le=65535)  # 0: no admin listener
    drain_notice_seconds: float = Field(default=5.0, ge=0, le=300)
    trusted_proxies: Networks = ()
    # How slow clients may be, and how many; each worker counts for itself.
    head_seconds: Seconds = 15.0
    body_idle_seconds: Seconds = 30.0
    body_grace_seconds: Seconds = 10.0
    bytes_per_second_min: int = Field(default=500, ge=1)
    write_idle_seconds: Seconds = 60.0
    keep_alive_seconds: Seconds = 75.0
    connections_max: int = Field(default=10_000, ge=1)
    connections_per_address_max: int = Field(default=1000, ge=1)

    def notice(self) -> str | None:
        return f"all endpoints, to read and to try: http://{self.host}:{self.port}/docs"
