"""The request and response bodies of the endpoints for personal access tokens."""

from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, Field, field_validator

from services.auth.clients.scopes import OF_KEYS
from shared.clock import now
from shared.http.schemas import Input, Output, Text, example

_KEY = {
    "id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
    "name": "nightly report",
    "scopes": ["orders:read"],
    "created": "2026-01-31T12:00:00Z",
    "expires": "2030-01-31T12:00:00Z",
    "used": None,
}


class CreateAccessKey(Input):
    model_config = example(
        {
            "name": "nightly report",
            "scopes": ["orders:read"],
            "expires": "2030-01-31T12:00:00Z",
        }
    )

    name: Annotated[Text, Field(max_length=100)]
    scopes: list[str] = Field(min_length=1, max_length=50)
    expires: Annotated[
        AwareDatetime | None, Field(strict=False, description="Without it, the token does not expire.")
    ] = None

    @field_validator("scopes")
    @classmethod
    def _known(cls, scopes: list[str]) -> list[str]:
        if not set(scopes) <= set(OF_KEYS):
            raise ValueError(f"must be any of {', '.join(OF_KEYS)}")
        return sorted(set(scopes))

    @field_validator("expires")
    @classmethod
    def _later(cls, expires: datetime | None) -> datetime | None:
        if expires is not None and expires <= now():
            raise ValueError("must be in the future")
        return expires and expires.astimezone(UTC)


class ExchangeCredential(Input):
    """A session cookie or a personal access token."""

    credential: str = Field(min_length=1, max_length=200)


class ExchangedOut(Output):
    token: str
    expires_in: int


class AccessKeyOut(Output):
    model_config = example(_KEY)

    id: str
    name: str
    scopes: list[str]
    created: datetime
    expires: datetime | None
    used: datetime | None = Field(description="When it was last used, accurate to about 15 minutes.")

    @classmethod
    def of(cls, row: dict[str, Any]) -> Self:
        return cls.unchecked(row, scopes=row["scopes"].split())


class NewAccessKeyOut(AccessKeyOut):
    """A new personal access token. `token` is shown only now."""

    model_config = example(
        {
            **_KEY,
            "token": "gatehouse_pat_0198c0de4b207c319000a7d8e9f01234_T3ZlciB0aGUgaGlsbHMgYW5kIGZhciBhd2F5",
        }
    )

    token: str
