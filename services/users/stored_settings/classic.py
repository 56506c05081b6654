"""The request and response bodies of settings in an older form: named objects, and other names of fields."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field

from services.users.models import SYSTEM
from services.users.stored_settings.schemas import Key, PutSetting, SettingOut, Value
from services.users.stored_settings.values import Kind
from shared.http.schemas import Input, Output, example
from shared.lists.numbered import Numbered
from shared.words import pattern

OldDescription = Annotated[
    str,
    Field(max_length=500, pattern=pattern("^[^\\x00]*$", "must not contain the character U+0000")),
]
_SETTING = {
    "id": "0198c0de-6a00-7a10-8000-3f2b8c1de04a",
    "user_id": None,
    "key": "site.notice",
    "value": "We are moving house on Sunday.",
    "type": "string",
    "is_encrypted": False,
    "description": None,
    "is_system": True,
    "created_at": "2026-01-31T12:00:00Z",
    "updated_at": "2026-01-31T12:00:00Z",
}


class PutOldSetting(Input):
    """Replaces a setting."""

    model_config = example({"value": _SETTING["value"], "type": "string"})

    value: Value
    type: Kind
    is_encrypted: bool = False
    description: OldDescription | None = None

    def native(self) -> PutSetting:
        return PutSetting(
            value=self.value,
            type=self.type,
            is_sealed=self.is_encrypted,
            description=(self.description or "").strip() or None,
        )


class AddOldSetting(PutOldSetting):
    """A new setting."""

    model_config = example({"key": "site.notice", "value": _SETTING["value"], "type": "string"})

    key: Key


class OldSetting(Output):
    """A setting; an encrypted value is never shown, and `value` is null then."""

    model_config = example(_SETTING)

    id: str
    user_id: str | None
    key: str
    value: str | None
    type: str
    is_encrypted: bool
    description: str | None
    is_system: bool
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, setting: SettingOut, owner: str) -> Self:
        return cls.unchecked(
            vars(setting),
            user_id=owner or None,
            is_encrypted=setting.is_sealed,
            is_system=owner == SYSTEM,
            created_at=setting.created,
            updated_at=setting.updated,
        )


class NamedSetting(Output):
    model_config = example({"setting": _SETTING})

    setting: OldSetting


class SettingPage(Numbered):
    model_config = example({"settings": [_SETTING], "total": 1, "page": 1, "limit": 20, "total_pages": 1})

    settings: list[OldSetting]
