"""The request and response bodies of the notifications service."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import Field

from services.notifications import languages
from services.notifications.kinds import KINDS, Channel, NoticeType
from services.notifications.models import CONTENT_CHARACTERS_MAX, TITLE_CHARACTERS_MAX
from services.notifications.notices import UNREAD_COUNTED_MAX
from services.notifications.preferences import Choices
from services.notifications.timing import MIDNIGHT, TIME, ZONE, Digest, Timing
from shared.clock import now
from shared.http.schemas import Input, Output, Text, example
from shared.lists.pagination import PageQuery

CHOICES_MAX = 100

Title = Annotated[Text, Field(max_length=TITLE_CHARACTERS_MAX)]
Content = Annotated[Text, Field(max_length=CONTENT_CHARACTERS_MAX)]


class ListNotifications(PageQuery):
    unread: bool | None = Field(default=None, description="Only unread ones, or with `false` only read ones.")
    type: NoticeType | None = Field(default=None, description="Only those of this type.")


class NotificationOut(Output):
    """A notification. `event_type` and `read` repeat `type` and `is_read` for older clients."""

    model_config = example(
        {
            "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "user_id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
            "type": "order.changed",
            "event_type": "order.changed",
            "title": "Your order is on its way",
            "content": "Laptop, quantity 1: confirmed → shipped.",
            "severity": "info",
            "data": {"order_id": "0198c0de-5f00-7a10-8000-3f2b8c1de04b", "status": "shipped"},
            "is_read": False,
            "read": False,
            "read_at": None,
            "created": "2026-01-31T12:00:00Z",
            "expires": None,
        }
    )

    id: str
    user_id: str
    type: str
    event_type: str
    title: str
    content: str
    severity: str
    data: dict[str, str]
    is_read: bool
    read: bool
    read_at: datetime | None
    created: datetime
    expires: datetime | None

    @property
    def is_current(self) -> bool:
        return self.expires is None or self.expires > now()

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Build from the columns of a row."""
        return cls.unchecked(row, event_type=row["type"], read=row["is_read"], data=json.loads(row["data"]))


class UnreadOut(Output):
    """The number of unread notifications, counted up to 1,000; `is_more` says that there are more."""

    model_config = example({"count": 3, "is_more": False})

    count: int
    is_more: bool

    @classmethod
    def of(cls, count: int) -> Self:
        return cls(count=min(count, UNREAD_COUNTED_MAX), is_more=count > UNREAD_COUNTED_MAX)


class MarkedOut(UnreadOut):
    """How many notifications were marked, and how many are unread now."""

    model_config = example({"marked": 12, "count": 0, "is_more": False})

    marked: int


class Choice(Input):
    model_config = example({"type": "order.placed", "channel": "in_app", "on": False})

    type: Annotated[NoticeType, Field(strict=False)]
    channel: Annotated[Channel, Field(strict=False)]
    on: bool


class ChangePreferences(Input):
    """Choices to make; all others stay as they are."""

    model_config = example({"choices": [{"type": "order.placed", "channel": "in_app", "on": False}]})

    choices: Annotated[list[Choice], Field(min_length=1, max_length=CHOICES_MAX)]


class ChangeMailTiming(Input):
    """When mails may arrive, and in which language; what you leave out returns to its default.

    Equal times mean that there are no quiet hours.
    """

    model_config = example(
        {
            "quiet_from": "22:00",
            "quiet_to": "07:00",
            "zone": "Europe/Helsinki",
            "digest": "day",
            "language": "de",
        }
    )

    quiet_from: str = Field(default=MIDNIGHT, pattern=TIME, description="When quiet hours begin.")
    quiet_to: str = Field(default=MIDNIGHT, pattern=TIME, description="When they end, usually the next day.")
    zone: str = Field(default="UTC", pattern=ZONE, description="A time zone such as `Europe/Helsinki`.")
    digest: Annotated[Digest, Field(strict=False)] = Digest.NONE
    language: str | None = Field(
        default=None,
        pattern=languages.TAG,
        description="The language of mails and notifications, such as `de` or `de-AT`; without one it is the "
        "default of the installation. English is used if there are no texts in this language.",
    )


class MailTimingOut(Output):
    """When mails arrive, and in which language. Mails about your security are never delayed."""

    model_config = example(
        {
            "quiet_from": "22:00",
            "quiet_to": "07:00",
            "zone": "Europe/Helsinki",
            "digest": "none",
            "language": None,
        }
    )

    quiet_from: str
    quiet_to: str
    zone: str
    digest: str
    language: str | None

    @classmethod
    def of(cls, timing: Timing) -> Self:
        return cls(
            quiet_from=timing.quiet_from,
            quiet_to=timing.quiet_to,
            zone=timing.zone,
            digest=timing.digest,
            language=timing.language,
        )


class PreferenceOut(Output):
    """Whether notifications of a type reach you on a channel; what is `fixed` cannot be switched off."""

    model_config = example(
        {
            "type": "order.placed",
            "description": "You placed an order.",
            "channel": "in_app",
            "on": True,
            "fixed": False,
        }
    )

    type: str
    description: str
    channel: str
    on: bool
    fixed: bool


class PreferencesOut(Output):
    model_config = example(
        {
            "choices": [
                {
                    "type": "order.placed",
                    "description": "You placed an order.",
                    "channel": "in_app",
                    "on": True,
                    "fixed": False,
                }
            ],
            "mails": {
                "quiet_from": "22:00",
                "quiet_to": "07:00",
                "zone": "Europe/Helsinki",
                "digest": "none",
                "language": "de",
            },
        }
    )

    choices: list[PreferenceOut]
    mails: MailTimingOut

    @classmethod
    def of(cls, choices: Choices, timing: Timing) -> Self:
        shown = [
            PreferenceOut(
                type=name,
                description=kind.description,
                channel=channel,
                on=choices.wants(name, channel),
                fixed=channel in kind.fixed,
            )
            for name, kind in KINDS.items()
            for channel in Channel
        ]
        return cls(choices=shown, mails=MailTimingOut.of(timing))
