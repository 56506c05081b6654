"""What the gateway reads from the environment."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from shared.proxies import Networks
from shared.settings import ProcessSettings


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

    def notice(self) -> str | None:
        return f"all endpoints, to read and to try: http://{self.host}:{self.port}/docs"
