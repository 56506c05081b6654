"""The request and response bodies of webhooks."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import Field

from services.notifications.kinds import NoticeType
from services.notifications.webhooks.outbox import State
from shared.http.schemas import Id, Input, Output, Text, example
from shared.lists.pagination import PageQuery
from shared.lists.times import Time
from shared.peers.outbound import URL_CHARACTERS_MAX
from shared.words import pattern

_ONE_LINE = pattern(r"^[^\x00-\x1f\x7f]*$", "must not contain line breaks or other control characters")
_ID = "0198c0de-5f00-7a10-8000-3f2b8c1de04a"
_OTHER_ID = "0198c0de-6100-7b20-8000-3f2b8c1de04b"
_WEBHOOK = {
    "id": _ID,
    "url": "https://hooks.example.com/gatehouse",
    "description": "Orders to the warehouse",
    "types": ["order.placed", "order.changed"],
    "is_enabled": True,
    "disabled_because": None,
    "failing_since": None,
    "created": "2026-01-31T12:00:00Z",
    "updated": "2026-01-31T12:00:00Z",
}
_DELIVERY = {
    "id": _OTHER_ID,
    "type": "order.placed",
    "state": "delivered",
    "attempts": 1,
    "code": None,
    "created": "2026-01-31T12:00:00Z",
    "finished": "2026-01-31T12:00:01Z",
}

Type = Annotated[NoticeType, Field(strict=False)]
Types = Annotated[list[Type], Field(min_length=1, max_length=len(NoticeType))]
Url = Annotated[Text, Field(max_length=URL_CHARACTERS_MAX)]
Description = Annotated[str, Field(max_length=200, pattern=_ONE_LINE)]


class CreateWebhook(Input):
    """A URL, and the types of notifications that it receives."""

    model_config = example(
        {"url": "https://hooks.example.com/gatehouse", "types": ["order.placed", "order.changed"]}
    )

    url: Url
    types: Types
    description: Description = ""


class ChangeWebhook(CreateWebhook):
    """Everything that can be changed about a webhook. Enabling it forgets its failures."""

    is_enabled: bool = True


class WebhookOut(Output):
    """A webhook. `disabled_because` is `owner`, `failing` or `gone`."""

    model_config = example(_WEBHOOK)

    id: str
    url: str
    description: str
    types: list[str]
    is_enabled: bool
    disabled_because: str | None
    failing_since: datetime | None
    created: datetime
    updated: datetime

    @classmethod
    def of(cls, row: Mapping[str, Any], **more: Any) -> Self:
        return cls.unchecked(row, types=json.loads(row["types"]), **more)


class WebhookWithSecret(WebhookOut):
    """A webhook with its new secret, which is shown only once."""

    model_config = example({**_WEBHOOK, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})

    secret: str


class WebhooksOut(Output):
    """The webhooks of an account, newest first."""

    model_config = example({"webhooks": [_WEBHOOK]})

    webhooks: list[WebhookOut]


class ListMessages(PageQuery):
    state: State | None = Field(default=None, description="Only those in this state.")


class MessageOut(Output):
    """A message to a webhook. Its id is sent as `webhook-id`."""

    model_config = example(_DELIVERY)

    id: str
    type: str
    state: str
    attempts: int
    code: str | None
    created: datetime
    finished: datetime | None


class CallOut(Output):
    """One call. Without `finished` it is in progress, or its process died."""

    number: int
    started: datetime
    finished: datetime | None
    outcome: str | None
    code: str | None
    status: int | None


class MessageDetail(MessageOut):
    """A message with its body, as it is signed and sent, and the newest calls, oldest first."""

    body: str
    calls: list[CallOut]


class ReplayMessages(Input):
    """Which messages to queue again: those created in a period, by default only the failed ones."""

    model_config = example({"begin": "2026-01-31T00:00:00Z", "end": "2026-02-01T00:00:00Z"})

    begin: Annotated[Time, Field(strict=False)]
    end: Annotated[Time, Field(strict=False)]
    with_delivered: bool = False
    after: Id | None = None


class ReplayedOut(Output):
    """How many messages were queued. To continue, repeat the request with `after` set to `next`."""

    model_config = example({"queued": 1000, "next": _OTHER_ID})

    queued: int
    next: str | None
