"""The request and response bodies of suppressions."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from services.notifications.mail.schemas import Email
from services.notifications.reasons import Reason
from shared.http.schemas import Input, Output, example
from shared.lists.pagination import PageQuery

DAYS_MAX = 3_650


class ListSuppressions(PageQuery):
    channel: Literal["email", "sms"] | None = Field(default=None, description="Only those of this channel.")
    reason: Reason | None = Field(default=None, description="Only those with this reason.")


class SuppressionOut(Output):
    """A reason for which nothing is sent to an address. Without `until` it stays until it is removed."""

    model_config = example(
        {
            "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04c",
            "channel": "email",
            "reason": "bounce",
            "by": None,
            "created": "2026-01-31T12:00:00Z",
            "until": "2026-03-02T12:00:00Z",
        }
    )

    id: str
    channel: str
    reason: str
    by: str | None
    created: datetime
    until: datetime | None


class AddSuppression(Input):
    """An address to which nothing is sent: for some days, or until the suppression is removed."""

    model_config = example({"email": "ann@example.com", "days": 30})

    email: Email
    days: Annotated[int, Field(ge=1, le=DAYS_MAX)] | None = None


class AllowAddress(Input):
    model_config = example({"email": "ann@example.com"})

    email: Email


class AllowedOut(Output):
    """Whether the address had been suppressed."""

    model_config = example({"was_suppressed": True})

    was_suppressed: bool
