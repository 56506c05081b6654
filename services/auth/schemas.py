"""The request and response bodies of the auth service."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import (
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from services.auth.fields import (
    AnyPassword,
    Email,
    FactorCode,
    LoginName,
    MfaToken,
    Name,
    NewPassword,
    RefreshTokenText,
    Username,
)
from services.auth.models import Role
from shared.http.schemas import Input, Output, Query, WithHeaders, example

# Examples for the documentation, not real tokens.
_TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIuLi4ifQ.c2lnbmF0dXJl"  # noqa: S105
_REFRESH_TOKEN = "Zm9yLWEtc2Vzc2lvbi1vZi10aGlydHktZGF5cw"  # noqa: S105
_USER = {
    "id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
    "email": "user@example.com",
    "email_verified": True,
    "username": "testuser",
    "role": "user",
    "status": "active",
    "first_name": "Jane",
    "last_name": "Doe",
    "created": "2026-01-31T12:00:00Z",
    "updated": "2026-01-31T12:00:00Z",
}


def is_a_name_of(password: str, *names: str | None) -> bool:
    """Whether the password is one of the account's names, which would be guessed first."""
    return password.casefold() in {name.casefold() for name in names if name}


class Register(Input):
    model_config = example(
        {
            "email": "user@example.com",
            "password": "password123",
            "username": "testuser",
        }
    )

    email: Email
    username: Username | None = None
    first_name: Name | None = None
    last_name: Name | None = None
    password: NewPassword  # after the names, because its validator compares it with them

    @field_validator("password")
    @classmethod
    def _not_a_name(cls, password: str, info: ValidationInfo) -> str:
        if is_a_name_of(password, info.data.get("email"), info.data.get("username")):
            raise ValueError("must not be the e-mail address or the username")
        return password


class CreateAccount(Register):
    role: Role = Role.USER


class Login(Input):
    """The e-mail address or the username, and the password.

    If the password was set by somebody else, `new_password` replaces it; otherwise it is ignored.
    """

    # JSON Schema alone cannot express that exactly one is required.
    model_config = example(
        {
            "email": "user@example.com",
            "password": "password123",
        }
    )

    email: LoginName | None = None
    username: LoginName | None = None
    password: AnyPassword
    new_password: NewPassword | None = None

    @model_validator(mode="after")
    def _one_name(self) -> Self:
        if (self.email is None) == (self.username is None):
            raise ValueError("give email or username, and only one of them")
        return self

    @property
    def name(self) -> str:
        return (self.email or self.username or "").lower()


class Refresh(Input):
    model_config = example(
        {
            "refresh_token": _REFRESH_TOKEN,
        }
    )

    refresh_token: RefreshTokenText


class Logout(Input):
    model_config = example(
        {
            "refresh_token": _REFRESH_TOKEN,
        }
    )

    refresh_token: RefreshTokenText | None = None


class VerifyMfa(Input):
    """The `mfa_token` and a `code`. In a browser the cookie of the sign-in may replace the token.

    Clients of older systems send `username` and `passcode` instead.
    """

    model_config = example(
        {
            "mfa_token": "VG8gYmUgc2hvd24gd2l0aCBhIGNvZGUgb2YgdGhlIGFwcA",
            "code": "123456",
        }
    )

    mfa_token: MfaToken | None = None
    username: LoginName | None = None
    code: FactorCode | None = None
    passcode: FactorCode | None = None

    @model_validator(mode="after")
    def _one_code(self) -> Self:
        if (self.code is None) == (self.passcode is None):
            raise ValueError("give code or passcode, and only one of them")
        return self

    @property
    def typed(self) -> str:
        return self.code or self.passcode or ""


class CurrentPassword(Input):
    model_config = example(
        {
            "current_password": "password123",
        }
    )

    current_password: AnyPassword


class ConfirmFactor(Input):
    model_config = example(
        {
            "code": "123456",
        }
    )

    code: FactorCode


class ChangePassword(Input):
    model_config = example(
        {
            "current_password": "password123",
            "new_password": "correct horse battery",
        }
    )

    current_password: AnyPassword
    new_password: NewPassword


class ChangeAccount(Input):
    """The fields to change; none may be null."""

    model_config = example(
        {
            "status": "disabled",
        }
    )

    email: Email | None = None
    username: Username | None = None
    role: Role | None = None
    status: Literal["active", "suspended", "disabled"] | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set or None in [getattr(self, name) for name in self.model_fields_set]:
            raise ValueError("give at least one field to change, and no nulls")
        return self


class FollowRevocations(Query):
    after: int = Field(default=0, ge=0, le=2**63 - 1, description="`next` of the previous response.")


class AccountOut(Output):
    model_config = example(_USER)

    id: str
    email: str | None
    email_verified: bool
    username: str | None
    role: str
    status: str
    first_name: str | None
    last_name: str | None
    created: datetime
    updated: datetime


class ImpersonatorOut(Output):
    """The admin who impersonates the account."""

    model_config = example({"id": "0198c0de-4b20-7c31-9000-a7d8e9f01234", "username": "admin"})

    id: str
    username: str | None


class MeOut(AccountOut):
    """The account, who impersonates it, and the ports that it may lease for its boxes."""

    model_config = example({**_USER, "impersonated_by": None, "port_start": 3000, "port_end": 3009})

    impersonated_by: ImpersonatorOut | None
    port_start: int
    port_end: int


class MfaNeededOut(WithHeaders):
    """The password is correct; send a second factor within five minutes.

    Send codes to /auth/mfa/verify and passkeys to /auth/mfa/passkey; /auth/mfa/duo leads to Duo.
    """

    model_config = example(
        {
            "requires_mfa": True,
            "mfa_token": "VG8gYmUgc2hvd24gd2l0aCBhIGNvZGUgb2YgdGhlIGFwcA",
            "methods": ["totp", "recovery_code"],
            "expires_in": 300,
        }
    )

    requires_mfa: Literal[True] = True
    mfa_token: str
    methods: list[str] = Field(description="Any of totp, duo, passkey and recovery_code.")
    expires_in: int


class FactorOut(Output):
    """A secret for an authenticator app, which takes effect once a code has confirmed it."""

    model_config = example(
        {
            "secret": "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP",
            "uri": "otpauth://totp/Gatehouse:user%40example.com?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=Gatehouse",
            "qr_svg": '<svg xmlns="http://www.w3.org/2000/svg"></svg>',
        }
    )

    secret: str
    uri: str
    qr_svg: str


class RecoveryCodesOut(Output):
    """Codes that replace the authenticator app, each valid once. They are shown only now."""

    model_config = example(
        {
            "recovery_codes": ["k3m9x2pqwe7rt5yz"],
        }
    )

    recovery_codes: list[str]


class SessionOut(Output):
    """A session of the caller."""

    model_config = example(
        {
            "id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
            "created": "2026-01-31T12:00:00Z",
            "refreshed": "2026-01-31T12:15:00Z",
            "expires": "2026-02-14T12:15:00Z",
            "device": "Firefox on Linux",
            "amr": ["pwd", "otp"],
            "is_current": True,
            "impersonated_by": None,
        }
    )

    id: str
    created: datetime
    refreshed: datetime | None
    expires: datetime
    device: str | None = Field(description="The browser or program, as it calls itself.")
    amr: list[str]
    is_current: bool
    impersonated_by: str | None = Field(
        description="The id of the admin who impersonates you in this session."
    )

    @classmethod
    def of(cls, row: dict[str, Any], current_id: str | None) -> Self:
        admin_id = row["impersonator_id"]
        how = [] if admin_id else (row["amr"] or "pwd").split()
        is_current = row["id"] == current_id
        return cls.unchecked(
            row, refreshed=row["rotated"], amr=how, is_current=is_current, impersonated_by=admin_id
        )


class ConnectedAppOut(Output):
    """An app, and what it is allowed to do."""

    model_config = example(
        {
            "client_id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
            "name": "Ledgerline",
            "scopes": ["email", "openid"],
            "created": "2026-01-31T12:00:00Z",
            "updated": "2026-01-31T12:00:00Z",
        }
    )

    client_id: str
    name: str
    scopes: list[str]
    created: datetime
    updated: datetime

    @classmethod
    def of(cls, row: dict[str, Any]) -> Self:
        return cls.unchecked(row, client_id=row["id"], scopes=row["scope"].split())


class StepUpOut(Output):
    """An access token that counts as a recent sign-in."""

    model_config = example(
        {
            "token": _TOKEN,
            "token_type": "Bearer",
            "expires_in": 900,
        }
    )

    token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - a token type, not a secret
    expires_in: int


_SIGNED_IN = {
    "user": _USER,
    "token": _TOKEN,
    "token_type": "Bearer",
    "expires_in": 900,
    "refresh_token": _REFRESH_TOKEN,
}


class SignedInOut(WithHeaders):
    """An account and its new tokens."""

    model_config = example(_SIGNED_IN)

    user: AccountOut
    token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - a token type, not a secret
    expires_in: int
    refresh_token: str


class ClassicSignedInOut(SignedInOut):
    """The same for the first web interface of the inventory, which expects `role` in capitals."""

    model_config = example({**_SIGNED_IN, "user": {**_USER, "role": "USER"}, "requires_mfa": False})

    requires_mfa: Literal[False] = False
