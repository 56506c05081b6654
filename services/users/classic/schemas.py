"""The request and response bodies of the older form."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field

from services.users.models import Status
from services.users.schemas import ChangeUser, Name, Phone, ProfileOut
from shared.http.schemas import Input, Output, example
from shared.lists.numbered import Numbered

OldStatus = Literal["active", "inactive", "suspended"]
STATUS_OF: dict[str, Status] = {
    "active": Status.ACTIVE,
    "inactive": Status.DISABLED,
    "suspended": Status.SUSPENDED,
}
_OLD_STATUS = {str(status): old for old, status in STATUS_OF.items()}
_USER = {
    "id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
    "email": "user@example.com",
    "first_name": "Jane",
    "last_name": "Doe",
    "phone": "+49 30 123456",
    "avatar": "https://example.com/jane.png",
    "role": "user",
    "status": "active",
    "email_verified": True,
    "phone_verified": False,
    "created_at": "2026-01-31T12:00:00Z",
    "updated_at": "2026-01-31T12:00:00Z",
}


class PutOldProfile(Input):
    """Names and phone number; a phone number that is empty or left out is removed."""

    model_config = example({"first_name": "Jane", "last_name": "Doe", "phone": "+49 30 123456"})

    first_name: Name
    last_name: Name
    phone: Phone | Literal[""] | None = None

    def native(self) -> ChangeUser:
        return ChangeUser(first_name=self.first_name, last_name=self.last_name, phone=self.phone or None)


class PutOldStatus(Input):
    model_config = example({"status": "suspended"})

    status: OldStatus

    def native(self) -> ChangeUser:
        return ChangeUser.model_validate({"status": STATUS_OF[self.status]})


class OldStatusOut(Output):
    model_config = example({"status": "suspended"})

    status: OldStatus


class OldUser(Output):
    """A user; `phone_verified` is always false, because no phone numbers are verified."""

    model_config = example(_USER)

    id: str
    email: str | None
    first_name: str | None
    last_name: str | None
    phone: str | None
    avatar: str | None
    role: str
    status: OldStatus
    email_verified: bool
    phone_verified: Annotated[bool, Field(description="Always false.")]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, profile: ProfileOut, *, email_verified: bool) -> Self:
        return cls.unchecked(
            vars(profile),
            avatar=profile.avatar_url,
            status=_OLD_STATUS[profile.status],
            email_verified=email_verified,
            phone_verified=False,
            created_at=profile.created,
            updated_at=profile.updated,
        )


class NamedUser(Output):
    model_config = example({"user": _USER})

    user: OldUser


class UserPage(Numbered):
    model_config = example({"users": [_USER], "total": 1, "page": 1, "limit": 20, "total_pages": 1})

    users: list[OldUser]
