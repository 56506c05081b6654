"""The request and response bodies of the older form."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints

from services.auth.clients.schemas import ChangeClient, CreateClient, Description, RedirectUris, Scopes
from services.auth.fields import AnyPassword, LoginName, Name, NewPassword, RefreshTokenText
from services.auth.models import Client, Status
from services.auth.oauth.schemas import Required, Value
from services.auth.schemas import AccountOut, Register, SignedInOut
from shared.http.schemas import Input, Output, WithHeaders, example
from shared.lists.numbered import Numbered
from shared.words import pattern

OldStatus = Literal["active", "inactive", "suspended"]
_OLD_STATUS = {str(Status.DISABLED): "inactive"}
_TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIuLi4ifQ.c2lnbmF0dXJl"  # noqa: S105 - an example
_USER = {
    "id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
    "email": "user@example.com",
    "first_name": "Jane",
    "last_name": "Doe",
    "role": "user",
    "status": "active",
    "email_verified": False,
    "phone_verified": False,
    "created_at": "2026-01-31T12:00:00Z",
    "updated_at": "2026-01-31T12:00:00Z",
}
_CLIENT = {
    "id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
    "client_id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
    "name": "Ledgerline",
    "description": None,
    "redirect_uris": ["https://ledgerline.example/callback"],
    "scopes": ["openid", "email"],
    "grant_types": ["authorization_code", "refresh_token"],
    "is_public": False,
    "is_active": True,
    "created_by": "0198c0de-4b20-7c31-9000-a7d8e9f04321",
    "created_at": "2026-01-31T12:00:00Z",
    "updated_at": "2026-01-31T12:00:00Z",
}
_SECRET = "gatehouse_secret_T3ZlciB0aGUgaGlsbHMgYW5kIGZhciBhd2F5"  # noqa: S105 - an example


class OldRegister(Register):
    model_config = example(
        {
            "email": "user@example.com",
            "password": "password123",
            "first_name": "Jane",
            "last_name": "Doe",
        }
    )

    first_name: Name
    last_name: Name


class OldLogin(Input):
    """If the password was set by somebody else, `new_password` replaces it; otherwise it is ignored."""

    model_config = example({"email": "user@example.com", "password": "password123"})

    email: LoginName
    password: AnyPassword
    new_password: NewPassword | None = None


class OldChangePassword(Input):
    model_config = example({"old_password": "password123", "new_password": "correct horse battery"})

    old_password: AnyPassword
    new_password: NewPassword


class OldAccount(Output):
    """An account; its phone number and picture are in its profile, `/classic/users/me`."""

    model_config = example(_USER)

    id: str
    email: str | None
    first_name: str | None
    last_name: str | None
    role: str
    status: OldStatus
    email_verified: bool
    phone_verified: Annotated[bool, Field(description="Always false.")]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, account: AccountOut) -> Self:
        return cls.unchecked(
            vars(account),
            status=_OLD_STATUS.get(account.status, account.status),
            phone_verified=False,
            created_at=account.created,
            updated_at=account.updated,
        )


class OldRegisteredOut(WithHeaders):
    model_config = example({"user": _USER})

    user: OldAccount


class OldSignedInOut(WithHeaders):
    """An account and its new tokens."""

    model_config = example(
        {
            "access_token": _TOKEN,
            "refresh_token": "Zm9yLWEtc2Vzc2lvbi1vZi10aGlydHktZGF5cw",
            "token_type": "Bearer",
            "expires_in": 900,
            "user": _USER,
        }
    )

    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - a token type, not a secret
    expires_in: int
    user: OldAccount

    @classmethod
    def of(cls, answer: SignedInOut) -> Self:
        made = cls(
            access_token=answer.token,
            refresh_token=answer.refresh_token,
            expires_in=answer.expires_in,
            user=OldAccount.of(answer.user),
        )
        for name, value in answer.headers:
            made = made.with_header(name, value)
        return made


class OldAuthorize(Input):
    """An authorization request; PKCE with S256 is required."""

    model_config = example(
        {
            "client_id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
            "redirect_uri": "https://ledgerline.example/callback",
            "response_type": "code",
            "scope": "openid email",
            "state": "af0ifjsldkj",
            "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
            "code_challenge_method": "S256",
        }
    )

    client_id: Required
    redirect_uri: Required
    response_type: Literal["code"]
    scope: Value | None = None
    state: Annotated[str, Field(max_length=2000)] | None = None
    code_challenge: Annotated[
        str, StringConstraints(pattern=pattern("^[A-Za-z0-9_-]{43}$", "must be 43 characters of base64url"))
    ]
    code_challenge_method: Literal["S256"]


class OldCodeOut(Output):
    model_config = example({"code": "c3BlY2lhbCBkZWxpdmVyeQ", "state": "af0ifjsldkj"})

    code: str
    state: str | None


class OldToken(Input):
    """A token of yours: an access token or a refresh token, also one that an app holds."""

    model_config = example({"token": _TOKEN})

    token: Annotated[str, Field(min_length=1, max_length=8 * 1024)]
    token_type_hint: Value | None = None


class OldTokenState(Output):
    """The state of a token; for one that is unknown or of somebody else, only `active` is not null."""

    model_config = example(
        {
            "active": True,
            "scope": "openid email",
            "client_id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
            "user_id": "0198c0de-4b20-7c31-9000-a7d8e9f04321",
            "token_type": "Bearer",
            "exp": 1769861700,
            "iat": 1769860800,
        }
    )

    active: bool
    scope: str | None = None
    client_id: str | None = None
    user_id: str | None = None
    token_type: str | None = None
    exp: int | None = None
    iat: int | None = None


class OldLogout(Input):
    model_config = example({"refresh_token": "Zm9yLWEtc2Vzc2lvbi1vZi10aGlydHktZGF5cw"})

    refresh_token: RefreshTokenText | None = None


OldDescription = Description | Literal[""]
_CHANGED = {name: _CLIENT[name] for name in ("name", "redirect_uris", "scopes", "grant_types")}


class AddOldClient(CreateClient):
    """A new client; an empty description is none."""

    model_config = example(_CHANGED)

    redirect_uris: RedirectUris
    scopes: Scopes
    description: OldDescription | None = None

    def native(self) -> CreateClient:
        return self.model_copy(update={"description": self.description or None})


class ChangeOldClient(ChangeClient):
    """Replaces the client; what this form did not know stays as it is unless it is given."""

    model_config = example(_CHANGED)

    redirect_uris: RedirectUris
    scopes: Scopes
    description: OldDescription | None = None

    def native(self, client: Client) -> ChangeClient:
        kept = {
            "post_logout_redirect_uris": client.post_logout_redirect_uris.split(),
            "is_first_party": client.is_first_party,
        }
        kept = {name: value for name, value in kept.items() if name not in self.model_fields_set}
        return self.model_copy(update={**kept, "description": self.description or None})


class OldClientStatus(Input):
    model_config = example({"is_active": False})

    is_active: bool


class OldClientStatusOut(Output):
    model_config = example({"is_active": False})

    is_active: bool


class OldClient(Output):
    model_config = example(_CLIENT)

    id: str
    client_id: str
    name: str
    description: str | None
    redirect_uris: list[str]
    scopes: list[str]
    grant_types: list[str]
    is_public: bool
    is_active: bool
    created_by: str | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Mapping[str, Any], **more: Any) -> Self:
        lists = {name: row[name].split() for name in ("redirect_uris", "scopes", "grant_types")}
        times = {"created_at": row["created"], "updated_at": row["updated"]}
        return cls.unchecked(row, client_id=row["id"], **lists, **times, **more)


class NewOldClient(OldClient):
    """A new client. `client_secret` is shown only now, and is null for a public client."""

    model_config = example({**_CLIENT, "client_secret": _SECRET})

    client_secret: str | None


class OldSecretOut(Output):
    """The new secret, shown only now. The previous one is no longer valid."""

    model_config = example({"client_secret": _SECRET})

    client_secret: str


class OldClientPage(Numbered):
    model_config = example({"clients": [_CLIENT], "total": 1, "page": 1, "limit": 20, "total_pages": 1})

    clients: list[OldClient]
