"""The settings of the auth service."""

import ipaddress
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, SecretStr, StringConstraints, ValidationInfo, field_validator, model_validator
from pydantic_settings import NoDecode

from contracts.ports import PORTS_PER_USER
from services.auth.fields import PASSWORD_CHARACTERS_MAX, PASSWORD_CHARACTERS_MIN, Email, Username
from services.auth.provider_settings import Provider, faults_together, made, read_providers
from shared.peers.outbound import OutboundSettings
from shared.process.guessable import is_guessable
from shared.process.settings import is_placeholder, strong_or_made
from shared.words import pattern

MINUTE = 60
DAY = 24 * 60 * MINUTE
DEFAULT_ADMIN_PASSWORD = "admin123"  # noqa: S105 - public, so accepted only on loopback
ADMIN_PASSWORD_CHARACTERS_MIN = 12
DUO_SKEY_CHARACTERS = 40
_ROLES = pattern(r"^((user|admin)( (user|admin))?)?$", "must be user, admin or both, separated by a space")
_DUO_IKEY = pattern(r"^([A-Za-z0-9]{20})?$", "must be 20 letters and digits")
_DUO_HOST = pattern(
    r"^([a-z0-9.-]+(:[0-9]{1,5})?)?$", "must be a host name like api-1234abcd.duosecurity.com"
)


class Settings(OutboundSettings):
    service: ClassVar[str] = "auth"

    port: int = Field(default=8083, ge=1, le=65535)
    access_token_seconds: int = Field(default=15 * MINUTE, ge=MINUTE, le=DAY)
    refresh_idle_seconds: int = Field(default=14 * DAY, ge=MINUTE, le=365 * DAY)
    refresh_absolute_seconds: int = Field(default=90 * DAY, ge=MINUTE, le=3650 * DAY)
    refresh_grace_seconds: int = Field(default=10, ge=0, le=5 * MINUTE)
    browser_idle_seconds: int = Field(default=12 * 60 * MINUTE, ge=MINUTE, le=30 * DAY)
    browser_absolute_seconds: int = Field(default=14 * DAY, ge=MINUTE, le=365 * DAY)
    oauth_resources: str = Field(default="", max_length=10_000)
    bcrypt_cost: int = Field(default=12, ge=4, le=16)
    key_secret: SecretStr = SecretStr("")
    password_min: int = Field(default=PASSWORD_CHARACTERS_MIN, ge=PASSWORD_CHARACTERS_MIN, le=64)
    common_passwords: bool | None = None  # whether to accept them; by default not in production
    registration: Literal["open", "verified", "closed"] = "open"
    admins_need_second_factor: bool = False
    impersonation_seconds: int = Field(default=0, ge=0, le=60 * MINUTE)  # 0: off
    impersonation_mails: bool = True  # whether the owner of the account is notified
    exports_per_day: int = Field(default=2, ge=1, le=100)
    export_hours: int = Field(default=72, ge=24, le=30 * 24)
    admin_username: Username = "admin"
    admin_email: Email = "admin@example.com"
    admin_password: SecretStr | None = None
    providers: Annotated[tuple[Provider, ...], NoDecode] = ()
    google_client_id: str = Field(default="", max_length=300)
    google_client_secret: SecretStr | None = None
    github_client_id: str = Field(default="", max_length=300)
    github_client_secret: SecretStr | None = None
    ports_per_user: int = Field(default=PORTS_PER_USER, ge=1, le=100)
    frontend_url: str = Field(default="", max_length=500)
    duo_ikey: Annotated[str, StringConstraints(pattern=_DUO_IKEY)] = ""
    duo_skey: SecretStr | None = None
    duo_api_hostname: Annotated[str, StringConstraints(pattern=_DUO_HOST, max_length=253)] = ""
    duo_open_roles: Annotated[str, StringConstraints(pattern=_ROLES)] = ""

    @field_validator("providers", mode="before")
    @classmethod
    def _from_a_document(cls, value: object) -> object:
        return read_providers(value) if isinstance(value, str) else value

    @field_validator("frontend_url")
    @classmethod
    def _of_a_front_end(cls, url: str) -> str:
        return cls._of_the_web(url)

    @model_validator(mode="after")
    def _providers_fit_together(self) -> Self:
        for name in ("google", "github"):
            client_id, secret = self._client_of(name)
            if bool(client_id) != bool(secret and secret.get_secret_value()):
                raise ValueError(f"{name.upper()}_CLIENT_ID and {name.upper()}_CLIENT_SECRET go together")
        providers = self.identity_providers
        fault = faults_together(providers, production=self.environment == "production")
        if providers and not self.link_origin:
            fault = "providers need OAUTH_ISSUER or PUBLIC_URL, which their callback URLs begin with"
        if fault is not None:
            raise ValueError(f"PROVIDERS: {fault}")
        return self

    @field_validator("key_secret")
    @classmethod
    def _key_secret_made_in_development(cls, secret: SecretStr, info: ValidationInfo) -> SecretStr:
        return strong_or_made(secret, "key_secret", info.data)

    @field_validator("admin_password")
    @classmethod
    def _hard_to_guess_where_others_can_try(
        cls, secret: SecretStr | None, info: ValidationInfo
    ) -> SecretStr | None:
        if secret is None:
            return None
        password = secret.get_secret_value()
        shortest = PASSWORD_CHARACTERS_MIN if only_this_machine(info.data) else ADMIN_PASSWORD_CHARACTERS_MIN
        if not shortest <= len(password) <= PASSWORD_CHARACTERS_MAX:
            raise ValueError(f"needs {shortest} to {PASSWORD_CHARACTERS_MAX} characters")
        if not only_this_machine(info.data) and is_placeholder(password):
            raise ValueError("is a placeholder; leave it out to have a random one printed once")
        if not only_this_machine(info.data) and is_guessable(password):
            raise ValueError("is easy to guess; leave it out to have a random one printed once")
        return secret

    @model_validator(mode="after")
    def _duo_is_complete(self) -> Self:
        secret = self.duo_skey.get_secret_value() if self.duo_skey else ""
        if len({bool(self.duo_ikey), bool(secret), bool(self.duo_api_hostname)}) > 1:
            raise ValueError("DUO_IKEY, DUO_SKEY and DUO_API_HOSTNAME go together")
        if secret and (len(secret) != DUO_SKEY_CHARACTERS or not secret.isascii()):
            raise ValueError(f"DUO_SKEY must have {DUO_SKEY_CHARACTERS} ASCII characters")
        if secret and not self.link_origin:
            raise ValueError("DUO_IKEY needs OAUTH_ISSUER or PUBLIC_URL, where Duo sends browsers back to")
        return self

    @property
    def has_duo(self) -> bool:
        return bool(self.duo_ikey)

    @property
    def roles_without_duo(self) -> frozenset[str]:
        """The roles that sign in without Duo while it cannot be reached."""
        return frozenset(self.duo_open_roles.split())

    @property
    def identity_providers(self) -> tuple[Provider, ...]:
        """The providers that users can sign in with; those of PROVIDERS first."""
        found = {one.name: one for one in self.providers}
        for name in ("google", "github"):
            client_id, secret = self._client_of(name)
            if client_id and secret is not None and name not in found:
                fields = {"client_id": client_id, "client_secret": secret, "short_callback": name == "google"}
                found[name] = made(name, fields)
        return tuple(found.values())

    @property
    def home(self) -> str:
        """Where browsers go after signing in without `next`."""
        return self.frontend_url or "/auth/signin"

    def _client_of(self, name: str) -> tuple[str, SecretStr | None]:
        client_id: str = getattr(self, f"{name}_client_id")
        secret: SecretStr | None = getattr(self, f"{name}_client_secret")
        return client_id, secret

    @property
    def link_origin(self) -> str:
        """The origin of links in mails, never taken from a request. Without one no mails are sent."""
        return self.public_url or self.oauth_issuer

    @property
    def refuses_common_passwords(self) -> bool:
        return (
            self.environment == "production" if self.common_passwords is None else not self.common_passwords
        )

    @property
    def resources(self) -> frozenset[str]:
        """Servers outside this suite that clients may get tokens for (RFC 8707)."""
        return frozenset(self.oauth_resources.split())

    def first_admin_password(self) -> str | None:
        """The password of the first admin; None to generate a random one."""
        if self.admin_password is not None:
            return self.admin_password.get_secret_value()
        return DEFAULT_ADMIN_PASSWORD if only_this_machine(dict(self)) else None

    def notice(self) -> str | None:
        if self.admin_password is not None or not only_this_machine(dict(self)):
            return None
        return f"admin login: {self.admin_username} / {DEFAULT_ADMIN_PASSWORD} (development only)"


def only_this_machine(settings: dict[str, Any]) -> bool:
    """Whether this is development and the port is reachable from this machine alone."""
    return settings.get("environment") == "development" and is_loopback(str(settings.get("host")))


def is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback
    except ValueError:
        return False
