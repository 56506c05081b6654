"""The request and response bodies of the older form."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer

from services.support.review_schemas import ResourceId, ResourceType
from services.support.schemas import Category, ChangeTicket, Content, Description, Subject
from services.support.states import Priority, Status
from shared.http.schemas import Id, Input, Output, example
from shared.lists.numbered import ByNumber, Numbered

OLD_STATUS = {Status.WAITING: Status.IN_PROGRESS}  # a state that the older system does not know
Average = Annotated[
    Decimal,
    Field(json_schema_extra={"type": "number"}),
    PlainSerializer(float, return_type=float, when_used="json"),
]
OldStatus = Literal["open", "in_progress", "resolved", "closed"]

_TICKET = {
    "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
    "user_id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
    "subject": "The parcel is damaged",
    "description": "One corner of the box is open, and the screen has a crack.",
    "status": "open",
    "priority": "medium",
    "category": "delivery",
    "assigned_to": None,
    "resolved_at": None,
    "closed_at": None,
    "created_at": "2026-01-31T12:00:00Z",
    "updated_at": "2026-01-31T12:00:00Z",
    "reply_count": 0,
}
_REPLY = {
    "id": "0198c0de-6f00-7a10-8000-3f2b8c1de04b",
    "ticket_id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
    "user_id": "0198c0de-4b20-7c31-9000-a7d8e9f05678",
    "is_staff": True,
    "content": "We have sent you a new one.",
    "created_at": "2026-01-31T13:00:00Z",
    "updated_at": "2026-01-31T13:00:00Z",
    "deleted_at": None,
}
_REVIEW = {
    "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04d",
    "resource_type": "product",
    "resource_id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
    "user_id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
    "rating": 5,
    "title": "Light and quiet",
    "content": "I have used it every day for a month.",
    "status": "approved",
    "created_at": "2026-01-31T12:00:00Z",
    "updated_at": "2026-01-31T12:00:00Z",
}
_PAGE = {"total": 1, "page": 1, "limit": 20, "total_pages": 1}


class OwnTicketsByNumber(ByNumber):
    status: OldStatus | None = Field(default=None, description="Only tickets in this state.")


class TicketsByNumber(OwnTicketsByNumber):
    priority: Priority | None = Field(default=None, description="Only tickets with this priority.")


class ReviewsByNumber(ByNumber):
    resource_type: ResourceType = Field(description="The kind of what was reviewed.")
    resource_id: ResourceId = Field(description="What was reviewed.")


class NewTicket(Input):
    model_config = example(
        {"subject": _TICKET["subject"], "description": _TICKET["description"], "priority": "low"}
    )

    subject: Subject
    description: Description
    priority: Priority
    category: Category | Literal[""] | None = None


def _none_if_empty(value: Any) -> Any:
    return None if value == "" else value


class ChangeOldTicket(ChangeTicket):
    """Any of these fields; an empty category is none."""

    category: Annotated[Category | None, BeforeValidator(_none_if_empty)] = None


class NewReply(Input):
    model_config = example({"content": "We have sent you a new one."})

    content: Content


class NewStatus(Input):
    model_config = example({"status": "resolved"})

    status: OldStatus


class NewAssignee(Input):
    model_config = example({"assigned_to": "0198c0de-4b20-7c31-9000-a7d8e9f05678"})

    assigned_to: Id


class OldTicket(Output):
    model_config = example(_TICKET)

    id: str
    user_id: str
    subject: str
    description: str
    status: str
    priority: str
    category: str | None
    assigned_to: str | None
    resolved_at: datetime | None
    closed_at: datetime | None
    created_at: datetime
    updated_at: datetime
    reply_count: int

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        return cls.unchecked(
            row,
            status=str(OLD_STATUS.get(row["status"], row["status"])),
            resolved_at=row["resolved"],
            closed_at=row["closed"],
            created_at=row["created"],
            updated_at=row["updated"],
        )


class OldReply(Output):
    model_config = example(_REPLY)

    id: str
    ticket_id: str
    user_id: str
    is_staff: bool
    content: str
    created_at: datetime
    updated_at: datetime
    deleted_at: None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        created = row["created"]
        return cls.unchecked(row, created_at=created, updated_at=created, deleted_at=None)


class OldReview(Output):
    model_config = example(_REVIEW)

    id: str
    resource_type: str
    resource_id: str
    user_id: str
    rating: int
    title: str
    content: str
    status: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        return cls.unchecked(row, created_at=row["created"], updated_at=row["updated"])


class NamedTicket(Output):
    model_config = example({"ticket": _TICKET})

    ticket: OldTicket


class TicketWithReplies(NamedTicket):
    """A ticket and its newest 100 replies, oldest first."""

    model_config = example({"ticket": _TICKET, "replies": [_REPLY]})

    replies: list[OldReply]


class NamedReply(Output):
    model_config = example({"reply": _REPLY})

    reply: OldReply


class TicketPage(Numbered):
    model_config = example({"tickets": [_TICKET], **_PAGE})

    tickets: list[OldTicket]


class ReviewPage(Numbered):
    """`average_rating` has three decimals; it is 0 without reviews."""

    model_config = example({"reviews": [_REVIEW], "average_rating": 4.333, **_PAGE})

    reviews: list[OldReview]
    average_rating: Average
