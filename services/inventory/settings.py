"""The inventory service's settings."""

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from shared.data.sealed import SealingSettings
from shared.peers.outbound import BadAddress, OutboundSettings, read_url
from shared.work.cron import Cron, CronSetting

CallsPerSecond = Annotated[float, Field(gt=0, le=1000)]


class Settings(SealingSettings, OutboundSettings):
    service: ClassVar[str] = "inventory"

    port: int = Field(default=8086, ge=1, le=65535)
    aws_access_key_id: str = ""
    aws_secret_access_key: SecretStr = SecretStr("")
    aws_endpoint_override: Literal["auto", "on", "off"] = "auto"
    sync_by: Literal["admins", "all"] = "admins"
    sync_every_minutes: float = Field(default=360.0, ge=0)
    sync_schedule: CronSetting = ""
    export_rows_max: int = Field(default=100_000, ge=1, le=1_000_000)
    workspaces_rate: CallsPerSecond = 2.0
    tagging_rate: CallsPerSecond = 5.0
    billing_days: int = Field(default=30, ge=1, le=365)
    ce_requests_per_day: int = Field(default=10, ge=0, le=10_000)
    cloudtrail_rate: CallsPerSecond = 1.8
    cloudwatch_rate: CallsPerSecond = 10.0
    usage_days: int = Field(default=62, ge=1, le=62)
    unused_days: int = Field(default=30, ge=1, le=3650)
    ai_url: str = ""
    ai_service_url: str = ""  # another name for `ai_url`
    ai_model: str = Field(default="", max_length=200)
    ai_key: SecretStr = SecretStr("")
    aws_attempts: int = Field(default=8, ge=1, le=20)
    aws_retry_seconds: float = Field(default=0.5, ge=0, le=60)

    @field_validator("aws_access_key_id")
    @classmethod
    def _a_key_id(cls, key_id: str) -> str:
        if key_id and not re.fullmatch(r"[A-Za-z0-9]{16,128}", key_id):
            raise ValueError("must be an access key id of 16 to 128 letters and digits")
        return key_id

    @field_validator("aws_secret_access_key")
    @classmethod
    def _with_its_id(cls, secret: SecretStr, info: ValidationInfo) -> SecretStr:
        if bool(secret) != bool(info.data.get("aws_access_key_id")):
            raise ValueError("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be set together")
        return secret

    @field_validator("ai_url", "ai_service_url")
    @classmethod
    def _a_url(cls, url: str) -> str:
        if url:
            try:
                read_url(url)
            except BadAddress as error:
                raise ValueError(str(error)) from error
        return url.rstrip("/")

    @property
    def sync_times(self) -> Cron | float | None:
        """When syncs of everything start: at these times, else so many seconds apart, or never."""
        if self.sync_schedule:
            return Cron(self.sync_schedule)
        return self.sync_every_minutes * 60 or None

    @property
    def model_url(self) -> str:
        """The URL for questions that the grammar does not understand; empty if they are not sent."""
        return self.ai_url or self.ai_service_url

    @property
    def may_override_endpoint(self) -> bool:
        """Whether an account may set its own `endpoint_url`."""
        if self.aws_endpoint_override == "auto":
            return self.environment == "development"
        return self.aws_endpoint_override == "on"
