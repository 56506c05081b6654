"""Input and output models of the users service."""

import math
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    JsonValue,
    RootModel,
    SecretStr,
    StringConstraints,
    field_validator,
    model_serializer,
    model_validator,
)

from services.users.models import Profile, Role, Status
from shared.caller import Caller
from shared.errors import FieldFault, Invalid
from shared.http.schemas import Input, Text, Versioned, example
from shared.lists.pagination import PageQuery
from shared.words import pattern

PREFERENCES_MAX = 100
PREFERENCES_BYTES_MAX = 16 * 1024
BY_ADMIN = frozenset({"email", "username", "role", "status"})
_LEFT_TO_AUTH = "For admins. Auth validates it."


def _web_address(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and url.isprintable()
    except ValueError:
        good = False
    if not good:
        raise ValueError("must be a URL that begins with https:// or http://")
    return url


Name = Annotated[Text, Field(max_length=100)]
Phone = Annotated[
    Text,
    Field(
        max_length=32,
        pattern=pattern(
            r"^\+?[0-9][0-9 ()./-]{2,30}$",
            "must be 3 to 31 digits, spaces or any of ( ) . / - after an optional +: +49 30 123456",
        ),
        examples=["+49 30 123456"],
    ),
]
Biography = Annotated[Text, Field(max_length=1000)]
WebAddress = Annotated[Text, Field(max_length=2048), AfterValidator(_web_address)]
Email = Annotated[
    Text, Field(max_length=254, description=_LEFT_TO_AUTH, json_schema_extra={"format": "email"})
]
Username = Annotated[Text, Field(max_length=32, description=_LEFT_TO_AUTH)]
_KEY = pattern(
    r"^[A-Za-z0-9_.-]{1,64}$",
    "keys have 1 to 64 letters, digits or any of _ . -, for example editor.font-size",
)
PreferenceKey = Annotated[str, StringConstraints(pattern=_KEY)]


class CreateUser(Input):
    model_config = example(
        {
            "email": "jane@example.com",
            "password": "password123",
            "username": "jane_doe",
            "first_name": "Jane",
        }
    )

    email: Email
    password: Annotated[SecretStr, Field(min_length=1, max_length=1024)]
    username: Username | None = None
    role: Role = Role.USER
    first_name: Name | None = None
    last_name: Name | None = None
    phone: Phone | None = None

    def account(self) -> dict[str, Any]:
        """Return the fields for auth."""
        fields = self.model_dump(exclude={"phone", "password"}, exclude_none=True)
        return {**fields, "password": self.password.get_secret_value()}


class ChangeUser(Input):
    """Any part of a profile; null clears a field. Only admins may change fields of the account."""

    model_config = example(
        {
            "first_name": "Jane",
            "last_name": "Doe",
            "phone": "+49 30 123456",
        }
    )

    first_name: Name | None = None
    last_name: Name | None = None
    phone: Phone | None = None
    bio: Biography | None = None
    avatar_url: WebAddress | None = None
    email: Email | None = None
    username: Username | None = None
    role: Annotated[Role, Field(description="For admins.")] | None = None
    status: (
        Annotated[Literal[Status.ACTIVE, Status.SUSPENDED, Status.DISABLED], Field(description="For admins.")]
        | None
    ) = None

    @field_validator("email", "username", "role", "status")
    @classmethod
    def _not_empty(cls, value: Any) -> Any:
        if value is None:
            raise ValueError("cannot be empty; leave it out to keep it")
        return value

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("give at least one field to change")
        return self

    def of_profile(self) -> dict[str, Any]:
        return self.model_dump(include=set(self.model_fields_set - BY_ADMIN))

    def of_account(self, caller: Caller) -> dict[str, Any]:
        """Return the changes for auth; refused unless the caller is an admin."""
        names = self.model_fields_set & BY_ADMIN
        if names and not caller.is_admin:
            message = "Only an admin may change this."
            faults = [FieldFault(field=name, code="admin_only", message=message) for name in sorted(names)]
            raise Invalid(errors=faults)
        return self.model_dump(include=set(names), mode="json")


class ListUsers(PageQuery):
    q: Annotated[Text, Field(max_length=100)] | None = Field(
        default=None,
        description="Only users with this text in their e-mail address, username or name; case is ignored.",
    )
    role: Role | None = Field(default=None, description="Only users with this role.")
    status: Status | None = Field(
        default=None,
        description="By status; deleted users are returned only if you filter for that status.",
    )


class ProfileOut(Versioned):
    model_config = example(
        {
            "id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
            "email": "user@example.com",
            "username": "testuser",
            "first_name": "Jane",
            "last_name": "Doe",
            "phone": "+49 30 123456",
            "bio": "Keeps the warehouse running.",
            "avatar_url": "https://example.com/jane.png",
            "role": "user",
            "status": "active",
            "created": "2026-01-31T12:00:00Z",
            "updated": "2026-01-31T12:00:00Z",
            "version": 1,
        }
    )

    id: str
    email: str | None
    username: str | None
    first_name: str | None
    last_name: str | None
    phone: str | None
    bio: str | None
    avatar_url: str | None
    role: str
    status: str
    created: datetime
    updated: datetime

    @classmethod
    def of(cls, profile: Profile) -> Self:
        return cls.unchecked(profile.model_dump())

    @property
    def is_deleted(self) -> bool:
        return self.status == Status.DELETED

    def agrees_with(self, caller: Caller) -> bool:
        """Whether the local copy matches the claims in the caller's token; absent claims are ignored."""
        said = ((caller.email, self.email), (caller.username, self.username), (caller.role, self.role))
        return all(claim is None or claim == copied for claim, copied in said)


class PutPreferences(RootModel[Annotated[dict[PreferenceKey, JsonValue], Field(max_length=PREFERENCES_MAX)]]):
    """Replaces all your preferences; keys you leave out are deleted."""

    model_config = ConfigDict(
        strict=True, json_schema_extra={"examples": [{"language": "de", "timezone": "Europe/Berlin"}]}
    )

    @model_validator(mode="after")
    def _storable(self) -> Self:
        for key, value in self.root.items():
            for scalar in _scalars(value):
                if isinstance(scalar, str) and "\x00" in scalar:
                    raise ValueError(f"{key}: must not contain the character U+0000")
                if isinstance(scalar, float) and not math.isfinite(scalar):
                    raise ValueError(f"{key}: must not contain a number that is not finite")
        return self


class PreferencesOut(Versioned):
    """The bare preferences; their version is sent as the ETag."""

    model_config = example(
        {
            "language": "de",
            "timezone": "Europe/Berlin",
        }
    )

    entries: dict[str, JsonValue]

    @model_serializer
    def _bare(self) -> dict[str, JsonValue]:
        return self.entries


def _scalars(value: JsonValue) -> Iterator[str | int | float | bool | None]:
    """Yield every key and value. The JSON parser has refused nesting too deep for this recursion."""
    if isinstance(value, dict):
        yield from value
        for part in value.values():
            yield from _scalars(part)
    elif isinstance(value, list):
        for part in value:
            yield from _scalars(part)
    else:
        yield value
