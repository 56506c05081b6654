"""Settings of the files service."""

import re
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from services.files.storage.store import KEY
from shared.process.settings import Seconds, ServiceSettings
from shared.process.stored import StoredBucket, StoredFolder

BLOBS_FOLDER = "blobs"
MIB = 1 << 20
GIB = 1 << 30


class Settings(ServiceSettings):
    service: ClassVar[str] = "files"
    alone: ClassVar[bool] = True  # tidies the uploads at its start

    port: int = Field(default=8084, ge=1, le=65535)
    storage_type: Literal["local", "s3"] = "local"
    storage_path: Path | None = None
    s3_bucket: str = ""
    s3_prefix: str = ""
    s3_region: str = "us-east-1"
    s3_endpoint_url: str | None = None
    s3_access_key: str | None = None
    s3_secret_key: SecretStr | None = None
    s3_link_seconds: int = Field(default=0, ge=0, le=604_800)
    max_file_size: int = Field(default=50 * MIB, ge=1)
    clamav_address: str = ""
    resumable_max_size: int = Field(default=5 * GIB, ge=1)
    resumable_hours: float = Field(default=24.0, gt=0)
    quota_bytes: int = Field(default=GIB, ge=0)
    quota_files: int = Field(default=100_000, ge=0)
    trash_days: float = Field(default=30.0, ge=0)
    lease_seconds: Seconds = 600.0
    sweep_seconds: Seconds = 60.0
    compare_hours: float = Field(default=24.0, gt=0)
    orphan_seconds: float = Field(default=3600.0, ge=0)

    @field_validator("s3_bucket")
    @classmethod
    def _where_to(cls, bucket: str, info: ValidationInfo) -> str:
        if info.data.get("storage_type") == "s3" and not bucket:
            raise ValueError("must name the bucket, because STORAGE_TYPE is s3")
        return bucket

    @field_validator("clamav_address")
    @classmethod
    def _an_address(cls, address: str) -> str:
        if address and "/" not in address and not re.fullmatch(r"[^:]+:\d{1,5}", address):
            raise ValueError("must be host:port or the path of a socket")
        return address

    @field_validator("storage_path")
    @classmethod
    def _under_the_data_folder(cls, path: Path | None, info: ValidationInfo) -> Path:
        return path or Path(info.data.get("data_dir", "data")) / "files"

    def stored_folders(self) -> tuple[StoredFolder, ...]:
        assert self.storage_path is not None  # never None: the validator fills in a default
        folder = StoredFolder("files", self.storage_path.absolute())
        return (folder,) if self.storage_type == "local" else ()

    def stored_buckets(self) -> tuple[StoredBucket, ...]:
        return (self.bucket(),) if self.storage_type == "s3" else ()

    def bucket(self) -> StoredBucket:
        secret = self.s3_secret_key
        return StoredBucket(
            "files",
            self.s3_bucket,
            self.s3_prefix,
            self.s3_region,
            self.s3_endpoint_url,
            self.s3_access_key,
            secret.get_secret_value() if secret else None,
            KEY,
            BLOBS_FOLDER,
        )
