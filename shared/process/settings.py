"""Settings, read once from the environment into a frozen object; all faults are reported together."""

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
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from shared.process.guessable import is_guessable
from shared.process.proxies import Networks
from shared.process.stored import StoredBucket, StoredFolder
from shared.tracing import setup
from shared.words import words_of

SECRET_CHARACTERS_MIN = 32
_PLACEHOLDER = re.compile(r"change.?me|your.?(?:very|secret|jwt)|placeholder|example|^(.)\1+$", re.IGNORECASE)

_DATABASE_URL = re.compile(r"(sqlite|postgres(ql)?(\+psycopg)?)://")
_SEVERAL_PORTS = re.compile(r"postgres[^:]*://[^/]*:\d+,")  # libpq allows it, SQLAlchemy does not

_PUBLIC_URL = re.compile(r"https?://[A-Za-z0-9._-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?")

DEVELOPMENT_ISSUER = "http://127.0.0.1:8000"

Seconds = Annotated[float, Field(gt=0)]


class SettingsError(Exception):
    """The environment is not usable for this process; the message lists every fault."""


class SettingsFaults(SettingsError):
    """The faults in the settings, each prefixed with its variable."""

    def __init__(self, faults: Sequence[str], service: str = "") -> None:
        self.faults = faults
        begin = f"{service}: the settings are invalid:" if service else "The settings are invalid:"
        super().__init__("\n".join([begin, *(f"  {fault}" for fault in faults)]))


class ProcessSettings(BaseSettings):
    """The settings shared by the gateway and all services."""

    model_config = SettingsConfigDict(
        frozen=True, env_ignore_empty=True, extra="ignore", hide_input_in_errors=True, validate_default=True
    )
    service: ClassVar[str]

    # Whether a second process must not run beside the first one, not even while that is replaced.
    alone: ClassVar[bool] = False

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
    internal_secret_previous: SecretStr | None = None  # also accepted, never used for signing
    revocation_mode: Literal["available", "strict"] = "available"

    @field_validator("log_level", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("oauth_issuer")
    @classmethod
    def _of_the_oauth_server(cls, url: str, info: ValidationInfo) -> str:
        """Return the URL by which OAuth clients know the suite; if empty, the OAuth server is off."""
        if url and _PUBLIC_URL.fullmatch(url) is None:
            raise ValueError("must be a URL like https://api.example.com, without query or fragment")
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
        """Refuse to share one value between secrets: a leak of one must not reveal the others."""
        found: dict[str, str] = {}
        for name, value in self if self.environment == "production" else ():
            secret = value.get_secret_value() if isinstance(value, SecretStr) else ""
            first = found.setdefault(secret, name)
            if secret and first != name:
                raise ValueError(
                    f"{first.upper()} and {name.upper()} have the same value; "
                    "generate a separate one for each with: openssl rand -hex 32"
                )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic passes it by name
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic passes it by name
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic passes it by name
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Look into no other sources: `load` reads files of its own, and each source takes milliseconds."""
        return init_settings, env_settings

    @classmethod
    def load(cls) -> Self:
        """Read the environment; `NAME_FILE` is the path of a file with the value of `NAME`."""
        values, faults = _values_from_files(cls)
        try:
            settings = cls(**values)
        except ValidationError as error:
            faults += [f"{_variable(fault['loc'])}: {words_of(fault)}" for fault in error.errors()]
        faults += setup.faults(os.environ)
        if faults:
            raise SettingsFaults(faults, cls.service)
        return settings

    @property
    def issuers(self) -> tuple[str, ...]:
        """The accepted issuers: auth signs as itself and as the OAuth server."""
        return tuple(dict.fromkeys(filter(None, (self.jwt_issuer, self.oauth_issuer))))

    @property
    def session_cookie(self) -> str:
        """The name of the browser session cookie. Browsers accept the `__Host-` prefix over https only."""
        is_secure = self.oauth_issuer.startswith("https://") or self.environment == "production"
        return "__Host-session" if is_secure else "session"

    @property
    def internal_secrets(self) -> tuple[str, ...]:
        """The secrets accepted in signatures; the first one is used for signing."""
        previous = self.internal_secret_previous
        accepted = (self.internal_secret, *([previous] if previous else []))
        return tuple(one.get_secret_value() for one in accepted)

    def masked(self) -> dict[str, str]:
        """Return printable settings: secrets, and passwords in URLs, are masked."""
        return {name: mask(str(value)) for name, value in self if value is not None}

    def notice(self) -> str | None:
        """Return lines for the operator, printed once everything is ready."""
        return None


class ServiceSettings(ProcessSettings):
    """The additional settings of a service with a database."""

    database_url: str = ""
    database_pool: int | None = Field(default=None, ge=1, le=200)  # the default depends on the database
    database_wait_seconds: float = Field(default=60.0, ge=0)  # how long to wait for the server at start
    disk_reserve: int | None = Field(default=None, ge=0)
    redis_url: SecretStr | None = None
    background: Literal["on", "off"] = "on"  # off: a copy to read from, which only responds to requests
    public_url: str = ""  # the base URL of links; by default taken from the request
    trusted_proxies: Networks = (ip_network("127.0.0.0/8"), ip_network("::1"))

    @field_validator("database_url")
    @classmethod
    def _a_file_by_default(cls, url: str, info: ValidationInfo) -> str:
        if url and _DATABASE_URL.match(url) is None:
            raise ValueError("must be postgresql://user:password@host/database or sqlite:///folder/file.db")
        if _SEVERAL_PORTS.match(url):
            raise ValueError("name several servers as postgresql://user:password@/database?host=a,b&port=1,2")
        return url or f"sqlite:///{info.data.get('data_dir', Path('data'))}/{cls.service}.db"

    @field_validator("public_url")
    @classmethod
    def _of_the_web(cls, url: str) -> str:
        if url and _PUBLIC_URL.fullmatch(url) is None:
            raise ValueError("must be a URL like https://api.example.com, without query or fragment")
        return url.rstrip("/")

    def sqlite_file(self) -> Path | None:
        """Return the database file if the database is SQLite."""
        kind, _, place = self.database_url.partition(":///")
        file = place.partition("?")[0]
        return Path(file).absolute() if kind == "sqlite" and file not in ("", ":memory:") else None

    def stored_folders(self) -> tuple[StoredFolder, ...]:
        """Return the folders that belong to the data of this service: backups contain them."""
        return ()

    def stored_buckets(self) -> tuple[StoredBucket, ...]:
        """Return the buckets that belong to the data of this service: backups contain them as well."""
        return ()

    @classmethod
    def migrations(cls) -> Path:
        """Return the migrations folder, next to the service's settings module."""
        return Path(inspect.getfile(cls)).parent / "migrations"


def strong(secret: SecretStr, *, is_old: bool = False) -> SecretStr:
    """Refuse secrets that are short, placeholders or guessable; with `is_old`, guessable ones pass."""
    value = secret.get_secret_value()
    is_weak = is_guessable(value) and not is_old
    if len(value) < SECRET_CHARACTERS_MIN or is_placeholder(value) or is_weak:
        raise ValueError(
            f"needs at least {SECRET_CHARACTERS_MIN} random characters, no placeholder, no well-known words; "
            "generate one with: openssl rand -hex 32"
        )
    return secret


def strong_or_made(secret: SecretStr, name: str, settings: dict[str, Any]) -> SecretStr:
    """Return the secret if it is strong; in development, generate one if none is set."""
    if not secret and "environment" not in settings:
        return secret  # ENVIRONMENT is invalid; a missing secret is reported once that is fixed
    return strong(secret or development_secret(name, settings))


def is_placeholder(text: str) -> bool:
    """Whether the text is a placeholder from an example."""
    return _PLACEHOLDER.search(text) is not None


def development_secret(name: str, settings: dict[str, Any]) -> SecretStr:
    """Return, in development, a random secret from a file that all processes share; otherwise nothing."""
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
            f"could not be stored under DATA_DIR ({error.filename}: {error.strerror}); "
            "set DATA_DIR to a writable directory"
        ) from error


def _create_once(file: Path, text: str) -> None:
    # Processes start concurrently: each writes a temporary file and the first link() wins. So all read the
    # same secret, and none reads a partial file.
    descriptor, name = mkstemp(dir=file.parent, prefix=file.name)  # readable by its owner only
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
    """Mask passwords in URLs; when in doubt, mask too much."""
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
