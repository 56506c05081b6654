"""The request and response bodies of suppressions."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from services.notifications.kinds import Channel
from services.notifications.mail.schemas import Email
from services.notifications.reasons import Reason
from services.notifications.sms.schemas import Number
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


class AllowAddress(Input):
    """An e-mail address, or the number of a phone; one of them."""

    # As in auth: JSON Schema alone cannot express that exactly one is required.
    model_config = example({"email": "ann@example.com"})

    email: Email | None = None
    number: Number | None = None

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        if (self.email is None) == (self.number is None):
            raise ValueError("give email or number, and only one of them")
        return self

    @property
    def to(self) -> tuple[Channel, str]:
        return (Channel.SMS, self.number) if self.number else (Channel.EMAIL, self.email or "")


class AddSuppression(AllowAddress):
    """An address or number to which nothing is sent: for some days, or until the suppression is removed."""

    model_config = example({"email": "ann@example.com", "days": 30})

    days: Annotated[int, Field(ge=1, le=DAYS_MAX)] | None = None


class AllowedOut(Output):
    """Whether the address had been suppressed."""

    model_config = example({"was_suppressed": True})

    was_suppressed: bool
