"""The response bodies of the older form."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, Self

from shared.http.schemas import Output, example
from shared.lists.numbered import Numbered

_NOTIFICATION = {
    "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
    "user_id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
    "type": "order.changed",
    "channel": "push",
    "title": "Your order is on its way",
    "content": "Laptop, quantity 1: confirmed → shipped.",
    "is_read": False,
    "read_at": None,
    "status": "sent",
    "created_at": "2026-01-31T12:00:00Z",
    "updated_at": "2026-01-31T12:00:00Z",
}


class OldNotification(Output):
    """A notification in the app: of the channels that this form knows, `push` comes closest."""

    model_config = example(_NOTIFICATION)

    id: str
    user_id: str
    type: str
    channel: Literal["push"]
    title: str
    content: str
    is_read: bool
    read_at: datetime | None
    status: Literal["sent"]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        return cls.unchecked(
            row,
            channel="push",
            status="sent",
            created_at=row["created"],
            updated_at=row["read_at"] or row["created"],
        )


class NotificationPage(Numbered):
    """A page; `unread` counts the unread notifications, up to 1,001."""

    model_config = example(
        {"notifications": [_NOTIFICATION], "unread": 1, "total": 1, "page": 1, "limit": 20, "total_pages": 1}
    )

    unread: int
    notifications: list[OldNotification]
