"""Users as providers describe them, and the interface of a provider."""

from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import TypeAdapter, ValidationError

from services.auth.fields import Email, Name
from services.auth.provider_settings import Provider

_EMAIL: TypeAdapter[str] = TypeAdapter(Email)
_NAME: TypeAdapter[str] = TypeAdapter(Name)


@dataclass(frozen=True, slots=True)
class Person:
    """A user of a provider. The address counts only if the provider calls it verified."""

    issuer: str
    subject: str
    email: str | None
    is_email_verified: bool
    is_authoritative: bool  # whether only the owner of the address can get it verified there
    domain: str | None
    first_name: str | None = None
    last_name: str | None = None

    @property
    def verified_email(self) -> str | None:
        return self.email if self.is_email_verified else None


@dataclass(frozen=True, slots=True)
class Secrets:
    """The values that bind a response to its request. Nonce and verifier derive from the state."""

    state: str
    nonce: str
    verifier: str  # of PKCE


@dataclass(frozen=True, slots=True)
class Response:
    """The parameters of a successful callback."""

    code: str
    issuer: str | None


class SignInAtProvider(Protocol):
    """One provider. Its methods raise `Refused`."""

    settings: Provider

    async def url(self, secrets: Secrets, redirect_uri: str) -> str:
        """Return the URL to redirect the browser to."""

    async def require_sender(self, issuer: str | None) -> None:
        """Refuse a response of another issuer (RFC 9207)."""

    async def person(self, response: Response, secrets: Secrets, redirect_uri: str) -> Person:
        """Exchange the code and return the user."""


def email_of(value: Any) -> str | None:
    """Return the value if it is a valid e-mail address."""
    try:
        return _EMAIL.validate_python(value)
    except ValidationError:
        return None


def name_of(value: Any) -> str | None:
    """Return the value if it is a valid name."""
    try:
        return _NAME.validate_python(value)
    except ValidationError:
        return None
