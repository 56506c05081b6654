"""The settings of the gateway."""

import re
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from gateway.http.headers import PASS, request_rule
from gateway.policies.rate_limit_store import TAKE_SECONDS
from shared.process.proxies import Networks
from shared.process.settings import ProcessSettings, Seconds, strong
from shared.words import pattern

_REDIS_URL = re.compile(r"(?:rediss?://[^/]|redis\+sentinel://[^/]+/[^/])")

_HEADER_NAME = pattern(
    r"^[A-Za-z][A-Za-z0-9-]{0,63}$", "must be a header name of at most 64 characters, for example X-API-Key"
)


class Settings(ProcessSettings):
    """The settings of the gateway, in addition to those of every process."""

    service: ClassVar[str] = "gateway"
    alone: ClassVar[bool] = True  # has further ports

    port: int = Field(default=8000, ge=1, le=65535)
    routes_file: Path = Path("routes.yaml")
    api_keys_file: Path | None = None
    api_key_header: str = Field(default="X-API-Key", pattern=_HEADER_NAME)
    auth_failures_per_second: int = Field(default=10, ge=0, le=100_000)  # per network; 0: unlimited
    tls_cert: Path | None = None  # the whole chain; with tls_key, HTTPS is served on tls_port
    tls_key: Path | None = None
    tls_port: int = Field(default=8443, ge=1, le=65535)
    workers: int = Field(default=1, ge=1, le=64)
    metrics_token: SecretStr | None = None  # required to read /metrics on the public port
    admin_host: str = "127.0.0.1"
    admin_port: int = Field(default=8010, ge=0, le=65535)  # 0: no admin listener
    backup_dir: Path | None = None  # whose newest backup /metrics shows
    drain_notice_seconds: float = Field(default=5.0, ge=0, le=300)
    trusted_proxies: Networks = ()
    redis_url: SecretStr | None = None  # where several gateways share rate limits
    limit_store_seconds: Seconds = TAKE_SECONDS  # how long a request waits for Redis
    # Limits on slow clients and connections; each worker counts separately.
    head_seconds: Seconds = 15.0
    body_idle_seconds: Seconds = 30.0
    body_grace_seconds: Seconds = 10.0
    bytes_per_second_min: int = Field(default=500, ge=1)
    write_idle_seconds: Seconds = 60.0
    keep_alive_seconds: Seconds = 75.0
    connections_max: int = Field(default=10_000, ge=1)
    connections_per_address_max: int = Field(default=1000, ge=1)

    @field_validator("redis_url")
    @classmethod
    def _of_redis(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and _REDIS_URL.match(url.get_secret_value()) is None:
            raise ValueError(
                "must be redis://host:6379/0, rediss://host:6379/0 or redis+sentinel://host:26379/name/0"
            )
        return url

    @field_validator("metrics_token")
    @classmethod
    def _hard_to_guess(cls, token: SecretStr | None) -> SecretStr | None:
        return token and strong(token)

    @field_validator("api_key_header")
    @classmethod
    def _free(cls, name: str) -> str:
        if request_rule(name.lower().encode()) != PASS:
            raise ValueError(f"must not be {name}, which already has a meaning")
        return name

    @model_validator(mode="after")
    def _in_pairs(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("TLS_CERT and TLS_KEY belong together: set both, or neither")
        return self

    def notice(self) -> str | None:
        return f"API reference with all endpoints: http://{self.host}:{self.port}/docs"
