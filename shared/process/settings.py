"""Settings: read once from the environment into one frozen object, all faults reported together."""

import inspect
import os
import re
import secrets
import sys
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path
from tempfile import mkstemp
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.process.guessable import is_guessable
from shared.process.proxies import Networks
from shared.words import words_of

SECRET_CHARACTERS_MIN = 32
_PLACEHOLDER = re.compile(r"change.?me|your.?(?:very|secret|jwt)|placeholder|example|^(.)\1+$", re.IGNORECASE)

_DATABASE_URL = re.compile(r"(sqlite|postgres(ql)?(\+psycopg)?)://")

_PUBLIC_URL = re.compile(r"https?://[A-Za-z0-9._-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?")

DEVELOPMENT_ISSUER = "http://127.0.0.1:8000"

Seconds = Annotated[float, Field(gt=0)]


class SettingsError(Exception):
    """The environment lacks what this process needs; the message lists every fault."""


class SettingsFaults(SettingsError):
    """The faults in the settings, each beginning with its variable."""

    def __init__(self, faults: Sequence[str], service: str = "") -> None:
        self.faults = faults
        begin = f"{service}: the settings are not usable:" if service else "The settings are not usable:"
        super().__init__("\n".join([begin, *(f"  {fault}" for fault in faults)]))


class ProcessSettings(BaseSettings):
    """The settings of every process, gateway and services alike."""

    model_config = SettingsConfigDict(
        frozen=True, env_ignore_empty=True, extra="ignore", hide_input_in_errors=True, validate_default=True
    )
    service: ClassVar[str]

    environment: Literal["development", "production"] = "development"
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=1, le=65535)
    data_dir: Path = Path("data")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "console"] = "auto"
    drain_seconds: Seconds = 20.0
    jwt_issuer: str = "gatehouse"
    jwt_audience: str = "gatehouse"
    oauth_issuer: str = ""
    jwt_secret: SecretStr | None = None
    auth_url: str = "http://127.0.0.1:8083"
    jwks_url: str = ""
    internal_secret: SecretStr = SecretStr("")
    internal_secret_previous: SecretStr | None = None  # accepted as well, never signed with
    revocation_mode: Literal["available", "strict"] = "available"

    @field_validator("log_level", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("oauth_issuer")
    @classmethod
    def _of_the_oauth_server(cls, url: str, info: ValidationInfo) -> str:
        """The address that OAuth clients know the suite by; without one, the OAuth server is off."""
        if url and _PUBLIC_URL.fullmatch(url) is None:
            raise ValueError("must be an address like https://api.example.com, without query or fragment")
        if url.startswith("http://") and info.data.get("environment") == "production":
            raise ValueError("must begin with https:// in production")
        issuer = str(info.data.get("jwt_issuer", ""))
        if not url and issuer.startswith("https://") and _PUBLIC_URL.fullmatch(issuer):
            return issuer
        is_development = info.data.get("environment") == "development"
        return url.rstrip("/") or (DEVELOPMENT_ISSUER if is_development else "")

    @field_validator("jwks_url")
    @classmethod
    def _of_the_issuer(cls, url: str, info: ValidationInfo) -> str:
        return url or f"{str(info.data.get('auth_url', '')).rstrip('/')}/.well-known/jwks.json"

    @field_validator("jwt_secret", "internal_secret_previous")
    @classmethod
    def _strong_if_set(cls, secret: SecretStr | None) -> SecretStr | None:
        return secret and strong(secret)

    @field_validator("internal_secret")
    @classmethod
    def _made_in_development(cls, secret: SecretStr, info: ValidationInfo) -> SecretStr:
        return strong_or_made(secret, "internal_secret", info.data)

    @model_validator(mode="after")
    def _each_secret_its_own(self) -> Self:
        """Refuse one value for several secrets: a leak of one must not reveal the others."""
        found: dict[str, str] = {}
        for name, value in self if self.environment == "production" else ():
            secret = value.get_secret_value() if isinstance(value, SecretStr) else ""
            first = found.setdefault(secret, name)
            if secret and first != name:
                raise ValueError(
                    f"{first.upper()} and {name.upper()} have the same value; "
                    "make one for each with: openssl rand -hex 32"
                )
        return self

    @classmethod
    def load(cls) -> Self:
        """Read the environment; `NAME_FILE` names a file that holds the value of `NAME`."""
        values, faults = _values_from_files(cls)
        try:
            settings = cls(**values)
        except ValidationError as error:
            faults += [f"{_variable(fault['loc'])}: {words_of(fault)}" for fault in error.errors()]
        if faults:
            raise SettingsFaults(faults, cls.service)
        return settings

    @property
    def issuers(self) -> tuple[str, ...]:
        """Whom tokens may name as their issuer: auth signs for itself, and as the OAuth server."""
        return tuple(dict.fromkeys(filter(None, (self.jwt_issuer, self.oauth_issuer))))

    @property
    def session_cookie(self) -> str:
        """The cookie of a browser's session. Browsers take the prefix over https only."""
        is_secure = self.oauth_issuer.startswith("https://") or self.environment == "production"
        return "__Host-session" if is_secure else "session"

    @property
    def internal_secrets(self) -> tuple[str, ...]:
        """The secrets accepted in signatures; the first one signs here."""
        previous = self.internal_secret_previous
        accepted = (self.internal_secret, *([previous] if previous else []))
        return tuple(one.get_secret_value() for one in accepted)

    def masked(self) -> dict[str, str]:
        """The settings as they may be printed: secrets and passwords in URLs hidden."""
        return {name: mask(str(value)) for name, value in self if value is not None}

    def notice(self) -> str | None:
        """Lines for the operator, printed once everything is ready."""
        return None


class ServiceSettings(ProcessSettings):
    """The additional settings of a service with a database."""

    database_url: str = ""
    database_pool: int | None = Field(default=None, ge=1, le=200)  # by kind of database
    database_wait_seconds: float = Field(default=60.0, ge=0)  # for a server that is not up yet
    disk_reserve: int | None = Field(default=None, ge=0)
    redis_url: SecretStr | None = None
    public_url: str = ""  # what clients write before a path; by default what they wrote in this request
    trusted_proxies: Networks = (ip_network("127.0.0.0/8"), ip_network("::1"))

    @field_validator("database_url")
    @classmethod
    def _a_file_by_default(cls, url: str, info: ValidationInfo) -> str:
        if url and _DATABASE_URL.match(url) is None:
            raise ValueError("must be postgresql://user:password@host/database or sqlite:///folder/file.db")
        return url or f"sqlite:///{info.data.get('data_dir', Path('data'))}/{cls.service}.db"

    @field_validator("public_url")
    @classmethod
    def _of_the_web(cls, url: str) -> str:
        if url and _PUBLIC_URL.fullmatch(url) is None:
            raise ValueError("must be an address like https://api.example.com, without query or fragment")
        return url.rstrip("/")

    def sqlite_file(self) -> Path | None:
        """The file of the database, if it is one."""
        kind, _, place = self.database_url.partition(":///")
        file = place.partition("?")[0]
        return Path(file).absolute() if kind == "sqlite" and file not in ("", ":memory:") else None

    @classmethod
    def migrations(cls) -> Path:
        """The folder of migrations, beside the settings of the service."""
        return Path(inspect.getfile(cls)).parent / "migrations"


def strong(secret: SecretStr, *, is_old: bool = False) -> SecretStr:
    """Refuse a secret that is short, taken from an example or, unless it is being replaced, guessable."""
    value = secret.get_secret_value()
    is_weak = is_guessable(value) and not is_old
    if len(value) < SECRET_CHARACTERS_MIN or is_placeholder(value) or is_weak:
        raise ValueError(
            f"needs at least {SECRET_CHARACTERS_MIN} random characters, no placeholder, no well-known words; "
            "make one with: openssl rand -hex 32"
        )
    return secret


def strong_or_made(secret: SecretStr, name: str, settings: dict[str, Any]) -> SecretStr:
    """The secret that was set, if it is strong; in development, when none was set, one that is made."""
    if not secret and "environment" not in settings:
        return secret  # ENVIRONMENT is at fault; whether a secret is missing shows when that is mended
    return strong(secret or development_secret(name, settings))


def is_placeholder(text: str) -> bool:
    """Whether it is a placeholder from an example."""
    return _PLACEHOLDER.search(text) is not None


def development_secret(name: str, settings: dict[str, Any]) -> SecretStr:
    """In development, a random secret kept in a file that all processes share; in production, nothing."""
    if settings.get("environment") != "development" or "data_dir" not in settings:
        return SecretStr("")
    file = Path(settings["data_dir"]) / "secrets" / name
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not file.exists():
            _create_once(file, secrets.token_hex(32))
        return SecretStr(file.read_text().strip())
    except OSError as error:
        raise ValueError(
            f"could not be kept under DATA_DIR ({error.filename}: {error.strerror}); "
            "set DATA_DIR to a folder that can be written"
        ) from error


def _create_once(file: Path, text: str) -> None:
    # Processes start side by side. Each writes its own draft and the first link wins, so that nobody
    # ever reads a file that is only half written, and all read the same secret.
    descriptor, name = mkstemp(dir=file.parent, prefix=file.name)  # readable by its owner alone
    draft = Path(name)
    with os.fdopen(descriptor, "w") as handle:
        handle.write(text)
    try:
        os.link(draft, file)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def mask(text: str) -> str:
    """Mask the password of a URL; when in doubt, mask too much."""
    text = re.sub(r"(?<=://)([^:/@\s]*):\S*@", r"\1:***@", text)
    return re.sub(r"(?<=[?&]password=)[^&\s]*", "***", text)


def exit_on_bad_settings(error: SettingsError) -> None:
    sys.stderr.write(f"{error}\n")
    sys.exit(2)


def _values_from_files(cls: type[ProcessSettings]) -> tuple[dict[str, Any], list[str]]:
    values, faults = {}, []
    for name in cls.model_fields:
        variable = f"{name.upper()}_FILE"
        file = os.environ.get(variable)
        try:
            if file:
                values[name] = Path(file).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            faults.append(f"{variable}: cannot be read: {error}")
    return values, faults


def _variable(location: tuple[int | str, ...]) -> str:
    return str(location[0]).upper() if location else "environment"
