"""The terminal service's settings."""

import os
import re
import shlex
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import NoDecode

from contracts.ports import PORTS_PER_USER
from services.terminal.engine import has_image
from shared.process.settings import Seconds, ServiceSettings
from shared.process.stored import StoredFolder

MIB = 1 << 20
SECRET_CHARACTERS_MIN = 16
LOCAL_PORTS_DOMAIN = "ports.localhost"  # browsers resolve all names below localhost to this machine
HOLDER = Path(__file__).resolve().with_name("holder")
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?")


def _origins(value: object) -> object:
    if not isinstance(value, str):
        return value
    origins = tuple(part.strip() for part in value.split(",") if part.strip())
    if not all(_ORIGIN.fullmatch(one) for one in origins):
        raise ValueError("must be origins separated by commas, for example https://app.example")
    return origins


def _words(value: object) -> object:
    """Split a command into its arguments; it is never given to a shell."""
    return tuple(shlex.split(value)) if isinstance(value, str) else value


class Settings(ServiceSettings):
    service: ClassVar[str] = "terminal"
    alone: ClassVar[bool] = True  # owns the shells

    port: int = Field(default=8087, ge=1, le=65535)
    box_backend: Literal["auto", "docker", "process"] = "auto"
    box_broker: Literal["child", "separate"] = "child"
    broker_client: int | None = Field(default=None, ge=0)
    docker_socket: str = "/var/run/docker.sock"
    box_image: str = Field(default="gatehouse-workspace:1", min_length=1, max_length=200)
    box_network: Literal["none", "internal", "internet"] = "none"
    box_runtime: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,64}$")
    box_cpus: float = Field(default=1.0, gt=0, le=1_000)
    box_memory: int = Field(default=1024 * MIB, ge=64 * MIB)
    box_pids: int = Field(default=256, ge=16, le=100_000)
    box_tmp: int = Field(default=256 * MIB, ge=MIB)
    box_shell: Path = Path("/bin/bash")
    socket_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_origins)] = ()
    ports_domain: str = Field(default="", pattern=r"^([a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+)?$", max_length=180)
    ports_per_user: int = Field(default=PORTS_PER_USER, ge=1, le=100)
    homes_path: Path | None = None
    home_bytes: int = Field(default=5 * 1024 * MIB, ge=MIB)
    home_entries: int = Field(default=200_000, ge=100, le=10_000_000)
    upload_max: int = Field(default=1024 * MIB, ge=MIB)
    github_webhook_secret: SecretStr = SecretStr("")
    deploy_command: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)] = ()
    deploy_branch: str = Field(default="main", min_length=1, max_length=255)
    deploy_seconds: float = Field(default=600.0, gt=0, le=7200)
    measure_seconds: Seconds = 60.0
    trash_days: float = Field(default=7.0, gt=0, le=365)
    boxes_max: int = Field(default=20, ge=1, le=10_000)
    terminals_per_user: int = Field(default=16, ge=1, le=1_000)
    viewers_per_terminal: int = Field(default=8, ge=1, le=100)
    ring_bytes: int = Field(default=2 * MIB, ge=MIB, le=64 * MIB)
    hold_seconds: float = Field(default=30.0, ge=0, le=600)
    idle_seconds: Seconds = 1800.0
    ticket_seconds: float = Field(default=30.0, gt=0, le=600)

    @cached_property
    def backend(self) -> Literal["docker", "process"]:
        """The backend; in development `auto` chooses Docker if an engine has the image at the start."""
        if self.box_backend != "auto":
            return self.box_backend
        if self.environment == "production" or has_image(self.docker_socket, self.box_image):
            return "docker"
        return "process"

    @property
    def ports_host(self) -> str:
        """The domain whose names lead to leased ports; empty if there is none."""
        if self.ports_domain or self.environment == "production":
            return self.ports_domain
        return LOCAL_PORTS_DOMAIN

    @property
    def port_cookie(self) -> str:
        """The name of the cookie that lets a browser into a port."""
        return "__Host-gatehouse-port" if self.session_cookie.startswith("__Host-") else "gatehouse-port"

    @property
    def holder(self) -> Path:
        """The holder's package at a path that the engine knows: a broker in a container puts a copy there."""
        return HOLDER if self.box_broker == "child" else self.root / HOLDER.name

    @property
    def root(self) -> Path:
        return self.data_dir.absolute() / "terminal"

    @property
    def homes(self) -> Path:
        return (self.homes_path or self.root / "homes").absolute()

    def stored_folders(self) -> tuple[StoredFolder, ...]:
        return (StoredFolder("homes", self.homes, is_of_people=True),)

    @model_validator(mode="after")
    def _process_is_for_development(self) -> Self:
        """Refuse the process backend in production and off loopback, as its shells are not isolated."""
        if self.environment == "production" and self.box_backend == "process":
            raise ValueError(
                "BOX_BACKEND=process isolates nothing and is for development only; leave it unset"
            )
        if self.backend == "process" and not _is_loopback(self.host):
            raise ValueError(
                "HOST must be a loopback address such as 127.0.0.1, because shells are not isolated"
            )
        return self

    @model_validator(mode="after")
    def _ports_have_names_of_their_own(self) -> Self:
        """Refuse a domain of ports that contains the suite's own host name."""
        host = urlsplit(self.public_url).hostname or ""
        if self.ports_domain and f".{host}".endswith(f".{self.ports_domain}"):
            raise ValueError("PORTS_DOMAIN must not contain the host of PUBLIC_URL")
        return self

    @model_validator(mode="after")
    def _webhook_has_a_command(self) -> Self:
        secret = self.github_webhook_secret.get_secret_value()
        if secret and len(secret) < SECRET_CHARACTERS_MIN:
            raise ValueError(
                f"GITHUB_WEBHOOK_SECRET must have at least {SECRET_CHARACTERS_MIN} characters; use the "
                "output of openssl rand -hex 32"
            )
        if secret and not self.deploy_command:
            raise ValueError("DEPLOY_COMMAND must be set with GITHUB_WEBHOOK_SECRET")
        return self

    def notice(self) -> str | None:
        if self.backend != "process":
            return None
        return "terminal: shells run as your own user without isolation; only this machine can open them"

    @property
    def shell(self) -> Path:
        return self.box_shell if os.access(self.box_shell, os.X_OK) else Path("/bin/sh")


class BrokerSettings(Settings):
    """The settings of the broker. It has no secrets, and makes none in the directory of the service."""

    @field_validator("internal_secret")
    @classmethod
    def _made_in_development(cls, secret: SecretStr, info: ValidationInfo) -> SecretStr:  # noqa: ARG003
        return secret


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
