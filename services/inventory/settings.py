"""The inventory service's settings."""

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SecretStr, TypeAdapter, ValidationInfo, field_validator, model_validator

from shared.data.sealed import SealingSettings
from shared.peers.outbound import BadAddress, OutboundSettings, read_url
from shared.work.cron import Cron
from shared.work.cron_setting import CronSetting

DEMO_FILE = "inventory-demo.db"
RESOURCE_DAYS = 14  # how far back AWS gives costs per resource
_SWITCH = TypeAdapter(bool)

CallsPerSecond = Annotated[float, Field(gt=0, le=1000)]
DEMO_NOTICE = "demo: the inventory shows an invented company, and reads nothing from AWS"


class Settings(SealingSettings, OutboundSettings):
    service: ClassVar[str] = "inventory"

    port: int = Field(default=8086, ge=1, le=65535)
    demo: bool = False
    aws_access_key_id: str = ""
    aws_secret_access_key: SecretStr = SecretStr("")
    aws_endpoint_override: Literal["auto", "on", "off"] = "auto"
    aws_changes: bool = False
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
    retention_months: int = Field(default=24, ge=0, le=1200)
    report_days: int = Field(default=7, ge=1, le=30)
    unused_days: int = Field(default=30, ge=1, le=3650)
    ai_url: str = ""
    ai_service_url: str = ""  # another name for `ai_url`
    ai_model: str = Field(default="", max_length=200)
    ai_key: SecretStr = SecretStr("")
    aws_attempts: int = Field(default=8, ge=1, le=20)
    aws_retry_seconds: float = Field(default=0.5, ge=0, le=60)

    @model_validator(mode="before")
    @classmethod
    def _demo_has_its_own_database(cls, given: Any) -> Any:
        """Keep invented data out of the real database."""
        is_mapping = isinstance(given, Mapping)
        if is_mapping and _is_on(given.get("demo")) and not given.get("database_url"):
            return {**given, "database_url": _demo_url(given.get("data_dir", "data"))}
        return given

    @field_validator("demo")
    @classmethod
    def _demo_is_for_development(cls, is_on: bool, info: ValidationInfo) -> bool:
        if is_on and info.data.get("environment") == "production":
            raise ValueError("must be off in production: it shows an invented company")
        expected = _demo_url(info.data.get("data_dir", "data"))
        if is_on and info.data.get("database_url") != expected:
            raise ValueError("needs a database of its own: leave DATABASE_URL out while it is on")
        return is_on

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
    def report_time(self) -> timedelta:
        """How long the file of a report is kept."""
        return timedelta(days=self.report_days)

    @property
    def sync_times(self) -> Cron | float | None:
        """When syncs of everything start: at scheduled times, at an interval in seconds, or never."""
        if self.sync_schedule:
            return Cron(self.sync_schedule)
        return self.sync_every_minutes * 60 or None

    @property
    def resource_days(self) -> int:
        """How far back costs per WorkSpace can be read; the demo's fake AWS keeps them for a year."""
        return self.billing_days + 1 if self.demo else RESOURCE_DAYS

    def notice(self) -> str | None:
        return DEMO_NOTICE if self.demo else None

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


def _demo_url(data_dir: Path | str) -> str:
    return f"sqlite:///{Path(data_dir) / DEMO_FILE}"


def _is_on(value: object) -> bool:
    try:
        return _SWITCH.validate_python(value)
    except ValueError:
        return False  # absent, or refused by the field
