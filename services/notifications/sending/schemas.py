"""The request and response bodies of messages to one account or to many."""

import json
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from services.notifications.kinds import Channel, Severity
from services.notifications.models import DEDUPE_KEY_CHARACTERS_MAX
from services.notifications.schemas import Content, Title
from shared.http.schemas import Id, Input, Output, Text, example
from shared.lists.times import Time
from shared.words import pattern
from shared.work.jobs import State

# Together at most 4 KiB of text.
DATA_FIELDS_MAX = 16
DATA_NAME_CHARACTERS_MAX = 40
DATA_VALUE_CHARACTERS_MAX = 200
_NAME = pattern(
    f"^[a-z][a-z0-9_]{{0,{DATA_NAME_CHARACTERS_MAX - 1}}}$", "must be a lower-case name such as order_id"
)
_KEY = pattern(f"^[!-~]{{1,{DEDUPE_KEY_CHARACTERS_MAX}}}$", "must be printable ASCII without spaces")

DataName = Annotated[str, Field(pattern=_NAME)]
DataValue = Annotated[Text, Field(max_length=DATA_VALUE_CHARACTERS_MAX)]


class Audience(StrEnum):
    """Whom a message is for: the account `user_id`, all active admins, or all active accounts."""

    USER = "user"
    ADMINS = "admins"
    ALL = "all"


class SendNotification(Input):
    """A message to the account `user_id`, or with another `audience` to many accounts.

    `channels` narrows what its recipients have switched on. A person gets only one message with the same
    `dedupe_key`. A message that has expired is neither shown nor sent.
    """

    model_config = example(
        {
            "audience": "all",
            "title": "Maintenance on Sunday",
            "content": "The service pauses on Sunday from 6:00 to 7:00 UTC.",
            "channels": ["in_app", "email"],
            "dedupe_key": "maintenance-2026-02-01",
            "expires": "2026-02-01T07:00:00Z",
        }
    )

    audience: Annotated[Audience, Field(strict=False)] = Audience.USER
    user_id: Id | None = None
    type: Literal["message", "announcement"] = "message"
    title: Title
    content: Content
    severity: Annotated[Severity, Field(strict=False)] = Severity.INFO
    data: Annotated[dict[DataName, DataValue], Field(default_factory=dict, max_length=DATA_FIELDS_MAX)]
    channels: (
        Annotated[list[Annotated[Channel, Field(strict=False)]], Field(min_length=1, max_length=len(Channel))]
        | None
    ) = None
    dedupe_key: Annotated[str, Field(pattern=_KEY)] | None = None
    expires: Annotated[Time, Field(strict=False)] | None = None


class SentOut(Output):
    """What was accepted: a notification, or an announcement that now goes out to its audience.

    Both are null if the recipient sees nothing in the app, because `channels` lacks `in_app`.
    """

    model_config = example(
        {"notification_id": None, "announcement_id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a"}
    )

    notification_id: str | None
    announcement_id: str | None


class AnnouncementOut(Output):
    """A message to many. `told` are those it was sent to so far; `skipped` had a message with its key."""

    model_config = example(
        {
            "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "audience": "all",
            "type": "announcement",
            "title": "Maintenance on Sunday",
            "content": "The service pauses on Sunday from 6:00 to 7:00 UTC.",
            "expires": "2026-02-01T07:00:00Z",
            "state": "running",
            "told": 12000,
            "skipped": 0,
            "by": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
            "error": None,
            "created": "2026-01-31T12:00:00Z",
            "ended": None,
        }
    )

    id: str
    audience: str
    type: str
    title: str
    content: str
    expires: datetime | None
    state: State
    told: int
    skipped: int
    by: str
    error: str | None
    created: datetime
    ended: datetime | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        given = json.loads(row["input"])
        cursor = {} if row["cursor"] is None else json.loads(row["cursor"])
        return cls.unchecked(
            row,
            **{name: given.get(name) for name in ("audience", "type", "title", "content")},
            expires=None if given.get("expires") is None else datetime.fromisoformat(given["expires"]),
            state=State(row["state"]),
            told=row["progress"],
            skipped=cursor.get("seen", 0) - row["progress"],
            by=row["owner"],
        )
