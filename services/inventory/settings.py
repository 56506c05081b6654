"""The inventory service's settings."""

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from shared.data.sealed import SealingSettings

CallsPerSecond = Annotated[float, Field(gt=0, le=1000)]


class Settings(SealingSettings):
    service: ClassVar[str] = "inventory"

    port: int = Field(default=8086, ge=1, le=65535)
    aws_access_key_id: str = ""
    aws_secret_access_key: SecretStr = SecretStr("")
    aws_endpoint_override: Literal["auto", "on", "off"] = "auto"
    sync_by: Literal["admins", "all"] = "admins"
    sync_every_minutes: float = Field(default=360.0, ge=0)
    export_rows_max: int = Field(default=100_000, ge=1, le=1_000_000)
    workspaces_rate: CallsPerSecond = 2.0
    tagging_rate: CallsPerSecond = 5.0
    billing_days: int = Field(default=30, ge=1, le=365)
    ce_requests_per_day: int = Field(default=10, ge=0, le=10_000)
    cloudtrail_rate: CallsPerSecond = 1.8
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

    @property
    def may_override_endpoint(self) -> bool:
        """Whether an account may set its own `endpoint_url`."""
        if self.aws_endpoint_override == "auto":
            return self.environment == "development"
        return self.aws_endpoint_override == "on"
