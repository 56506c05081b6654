"""The request and response bodies of the endpoints for OAuth clients."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from services.auth.clients.redirect_uris import URI_CHARACTERS_MAX, registrable
from services.auth.clients.scopes import OF_PERSONS, SCOPES
from shared.http.schemas import Input, Output, Text, example

DAY = 24 * 60 * 60
_CLIENT = {
    "id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
    "client_id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
    "name": "Ledgerline",
    "description": None,
    "is_public": False,
    "is_first_party": False,
    "is_active": True,
    "redirect_uris": ["https://ledgerline.example/callback"],
    "post_logout_redirect_uris": ["https://ledgerline.example/"],
    "scopes": ["openid", "email"],
    "grant_types": ["authorization_code", "refresh_token"],
    "created_by": "0198c0de-4b20-7c31-9000-a7d8e9f04321",
    "created": "2026-01-31T12:00:00Z",
    "updated": "2026-01-31T12:00:00Z",
    "previous_secret_expires": None,
}


class GrantType(StrEnum):
    CODE = "authorization_code"
    REFRESH = "refresh_token"
    CLIENT = "client_credentials"
    DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


ClientName = Annotated[Text, Field(max_length=100)]
Description = Annotated[Text, Field(max_length=500)]
RedirectUris = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=URI_CHARACTERS_MAX)]], Field(max_length=20)
]
Scopes = Annotated[list[str], Field(max_length=50)]
GrantTypes = Annotated[list[Annotated[GrantType, Field(strict=False)]], Field(min_length=1, max_length=4)]


class ChangeClient(Input):
    """All fields of the client; a field that is left out is reset to its default."""

    model_config = example(
        {
            "name": "Ledgerline",
            "redirect_uris": ["https://ledgerline.example/callback"],
            "scopes": ["openid", "email"],
            "grant_types": ["authorization_code", "refresh_token"],
        }
    )

    name: ClientName
    description: Description | None = None
    redirect_uris: RedirectUris = Field(default_factory=list)
    post_logout_redirect_uris: RedirectUris = Field(
        default_factory=list, description="Where people may be redirected after signing out."
    )
    scopes: Scopes = Field(default_factory=list)
    grant_types: GrantTypes
    is_first_party: bool = Field(default=False, description="Users are not asked for consent.")

    @model_validator(mode="after")
    def _known_scopes(self) -> Self:
        unknown = sorted(set(self.scopes) - SCOPES.keys())
        if unknown:
            raise ValueError(f"unknown scope {unknown[0][:50]}; known scopes are {', '.join(SCOPES)}")
        if GrantType.CODE in self.grant_types and not self.redirect_uris:
            raise ValueError("authorization_code needs a redirect URI")
        if not {GrantType.CODE, GrantType.DEVICE} & set(self.grant_types):
            if GrantType.REFRESH in self.grant_types:
                raise ValueError("refresh_token needs authorization_code or the device code grant")
            if set(self.scopes) & OF_PERSONS:
                listed = ", ".join(sorted(OF_PERSONS))
                raise ValueError(f"the scopes {listed} need authorization_code or the device code grant")
        return self

    def refuse_for(self, *, is_public: bool) -> None:
        """Raise ValueError if these fields do not suit this kind of client."""
        for uri in (*self.redirect_uris, *self.post_logout_redirect_uris):
            registrable(uri, is_public=is_public)
        if is_public and GrantType.CLIENT in self.grant_types:
            raise ValueError("a public client has no secret, so it cannot use client_credentials")


class CreateClient(ChangeClient):
    is_public: bool = Field(
        default=False,
        description="Cannot keep a secret, for example in a browser or on a phone, and so has none.",
    )

    @model_validator(mode="after")
    def _of_this_kind(self) -> Self:
        self.refuse_for(is_public=self.is_public)
        return self


class ClientStatus(Input):
    model_config = example(
        {
            "is_active": False,
        }
    )

    is_active: bool


class NewSecret(Input):
    model_config = example(
        {
            "overlap_seconds": 86400,
        }
    )

    overlap_seconds: int = Field(
        default=DAY, ge=0, le=30 * DAY, description="How long the previous secret stays valid."
    )


class ClientOut(Output):
    model_config = example(_CLIENT)

    id: str
    client_id: str
    name: str
    description: str | None
    is_public: bool
    is_first_party: bool
    is_active: bool
    redirect_uris: list[str]
    post_logout_redirect_uris: list[str]
    scopes: list[str]
    grant_types: list[str]
    created_by: str | None
    created: datetime
    updated: datetime
    previous_secret_expires: datetime | None

    @classmethod
    def of(cls, row: dict[str, Any]) -> Self:
        names = ("redirect_uris", "post_logout_redirect_uris", "scopes", "grant_types")
        lists = {name: row[name].split() for name in names}
        return cls.unchecked(row, client_id=row["id"], **lists)


class SecretOut(Output):
    model_config = example(
        {
            "client_secret": "gatehouse_secret_T3ZlciB0aGUgaGlsbHMgYW5kIGZhciBhd2F5",
            "previous_secret_expires": "2026-02-01T12:00:00Z",
        }
    )

    client_secret: str
    previous_secret_expires: datetime | None


class NewClientOut(ClientOut):
    """A new client. `client_secret` is shown only now, and is null for a public client."""

    model_config = example(
        {
            **_CLIENT,
            "client_secret": "gatehouse_secret_T3ZlciB0aGUgaGlsbHMgYW5kIGZhciBhd2F5",
        }
    )

    client_secret: str | None
