"""The request and response bodies of settings."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints

from services.users.stored_settings.known import Known
from services.users.stored_settings.values import Kind
from shared.http.schemas import Id, Input, Output, Query, Text, Versioned, example
from shared.words import pattern

VALUE_CHARACTERS = 8192
_KEY = pattern(
    r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}$",
    "must have 1 to 255 letters, digits or any of _ . -, and not begin with . or -",
)
_STORABLE = pattern("^[^\\x00]*$", "must not contain the character U+0000")

Key = Annotated[str, StringConstraints(pattern=_KEY)]
Value = Annotated[
    str,
    Field(
        max_length=VALUE_CHARACTERS,
        pattern=_STORABLE,
        description="The value as text. Numbers, booleans and JSON are written as in JSON.",
    ),
]
Description = Annotated[Text, Field(max_length=500)]
_SETTING = {
    "id": "0198c0de-6a00-7a10-8000-3f2b8c1de04a",
    "key": "site.notice",
    "value": "We are moving house on Sunday.",
    "type": "string",
    "is_sealed": False,
    "is_set": True,
    "description": "A notice for every page, for example before maintenance.",
    "changed_by": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
    "created": "2026-01-31T12:00:00Z",
    "updated": "2026-01-31T12:00:00Z",
    "version": 1,
}


class PutSetting(Input):
    """Replaces a setting."""

    model_config = example({"value": _SETTING["value"], "type": "string"})

    value: Value
    type: Kind
    is_sealed: bool = Field(
        default=False, description="Store the value encrypted; only services read it then."
    )
    description: Description | None = None


class AddSetting(PutSetting):
    """A new setting."""

    model_config = example({"key": "site.notice", "value": _SETTING["value"], "type": "string"})

    key: Key


class SettingOut(Versioned):
    """A setting. A sealed value is never shown: `value` is null, and `is_set` says that there is one.

    A known setting that nobody has stored has its default, version 0, and no `id`.
    """

    model_config = example(_SETTING)

    id: str | None
    key: str
    value: str | None
    type: str
    is_sealed: bool
    is_set: bool
    description: str | None
    changed_by: str | None
    created: datetime | None
    updated: datetime | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        return cls.unchecked(row, is_sealed=row["sealed"] is not None, is_set=True)

    @classmethod
    def by_default(cls, key: str, known: Known) -> Self:
        fields = {
            "key": key,
            "value": known.default,
            "type": str(known.kind),
            "description": known.description,
        }
        blank = dict.fromkeys(("id", "changed_by", "created", "updated"))
        return cls.unchecked({**blank, **fields, "is_sealed": False, "is_set": False, "version": 0})


class PublicSetting(Output):
    """The value of a known setting: the stored one, or its default."""

    model_config = example({name: _SETTING[name] for name in ("key", "value", "type", "description")})

    key: str
    value: str
    type: str
    description: str


class AskSetting(Query):
    user_id: Id | None = Field(default=None, description="The person whose setting it is.")


class OpenedSetting(Output):
    """A setting for services, including its value if it is sealed."""

    key: str
    value: str
    type: str
