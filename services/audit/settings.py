"""Settings of the audit service."""

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from services.audit.proofs import Key, NotAnExport
from shared.process.settings import ServiceSettings, strong, strong_or_made


class Settings(ServiceSettings):
    service: ClassVar[str] = "audit"
    alone: ClassVar[bool] = True  # signs the log

    port: int = Field(default=8085, ge=1, le=65535)
    key_secret: SecretStr = SecretStr("")
    key_secret_previous: SecretStr | None = None
    old_keys: str = ""
    log_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._/-]{1,100}$")] = "gatehouse/audit"
    checkpoint_seconds: float = Field(default=10.0, ge=0.1, le=3600)
    anchor_file: Path | None = None
    retention_months: int = Field(default=13, ge=0, le=1200)

    @field_validator("key_secret")
    @classmethod
    def _key_secret_made_in_development(cls, secret: SecretStr, info: ValidationInfo) -> SecretStr:
        return strong_or_made(secret, "audit_key_secret", info.data)

    @field_validator("old_keys")
    @classmethod
    def _readable(cls, keys: str) -> str:
        try:
            for key in keys.split():
                Key.parse(key)
        except NotAnExport as error:
            raise ValueError(f"{error}; take them from GET /audit/key, with spaces between them") from error
        return keys

    @field_validator("key_secret_previous")
    @classmethod
    def _strong_if_set(cls, secret: SecretStr | None) -> SecretStr | None:
        return secret and strong(secret, is_old=True)
