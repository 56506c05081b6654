"""The request and response bodies of tickets; those of reviews are in `review_schemas.py`."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator

from services.support.states import Priority, Status
from shared.http.schemas import Id, Input, Output, Text, Versioned, example
from shared.lists.pagination import PageQuery
from shared.words import pattern

ATTACHMENTS_MAX = 10
TAGS_MAX = 20
CONTENT_CHARACTERS = 20_000
BODY_BYTES_MAX = 192 * 1024  # of 20,000 characters, each up to six bytes as `\uXXXX`

Subject = Annotated[Text, Field(min_length=5, max_length=255)]
Description = Annotated[Text, Field(min_length=10, max_length=CONTENT_CHARACTERS)]
Content = Annotated[Text, Field(max_length=CONTENT_CHARACTERS)]
Category = Annotated[Text, Field(max_length=50)]
Reason = Annotated[Text, Field(max_length=500)]
_TAG = pattern(
    r"^[a-z0-9][a-z0-9_-]{0,29}$",
    "must be up to 30 lower-case letters, digits, - and _, such as broken-box",
)
Tag = Annotated[str, StringConstraints(pattern=_TAG)]
Tags = Annotated[list[Tag], Field(max_length=TAGS_MAX, json_schema_extra={"uniqueItems": True})]
FileIds = Annotated[list[Id], Field(max_length=ATTACHMENTS_MAX)]

_TICKET = {
    "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
    "number": "2026-000042",
    "user_id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
    "subject": "The parcel is damaged",
    "description": "One corner of the box is open, and the screen has a crack.",
    "status": "open",
    "priority": "medium",
    "category": "delivery",
    "assigned_to": None,
    "first_reply_due": "2026-02-01T12:00:00Z",
    "resolve_due": "2026-02-03T12:00:00Z",
    "first_replied": None,
    "resolved": None,
    "closed": None,
    "is_overdue": False,
    "reopened_count": 0,
    "satisfaction": None,
    "reply_count": 0,
    "note_count": None,
    "tags": None,
    "created": "2026-01-31T12:00:00Z",
    "updated": "2026-01-31T12:00:00Z",
    "version": 1,
}
_ATTACHMENT = {
    "file_id": "0198c0de-6f00-7a10-8000-3f2b8c1de04c",
    "name": "crack.jpg",
    "size": 48213,
    "mime_type": "image/jpeg",
}


_HIDDEN: dict[str, Any] = {"note_count": None, "tags": None}


class CreateTicket(Input):
    model_config = example(
        {"subject": _TICKET["subject"], "description": _TICKET["description"], "priority": "medium"}
    )

    subject: Subject
    description: Description
    priority: Priority = Priority.MEDIUM
    category: Category | None = None
    attachments: FileIds = Field(default_factory=list)


class ChangeTicket(Input):
    """Any of these fields; `tags` are for staff, and replace those of the ticket."""

    model_config = example({"priority": "high"})

    subject: Subject | None = None
    description: Description | None = None
    priority: Priority | None = None
    category: Category | None = None
    tags: Tags | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        changes = self.changes()
        if not changes or any(value is None for name, value in changes.items() if name != "category"):
            raise ValueError("give at least one field to change; only the category can be null")
        return self

    def changes(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.model_fields_set}


class ChangeStatus(Input):
    model_config = example({"status": "resolved", "reason": "A new parcel was sent."})

    status: Status
    reason: Reason | None = None


class Assign(Input):
    """The account that takes care of the ticket; null if unassigned."""

    model_config = example({"assigned_to": "0198c0de-4b20-7c31-9000-a7d8e9f05678"})

    assigned_to: Id | None


class RateTicket(Input):
    model_config = example({"rating": 5})

    rating: Annotated[int, Field(ge=1, le=5)]


class WriteReply(Input):
    """`internal` and `keep_status` are for staff."""

    model_config = example({"content": "We have sent you a new one."})

    content: Content
    internal: bool = False
    keep_status: bool = False
    attachments: FileIds = Field(default_factory=list)


class EditReply(Input):
    model_config = example({"content": "We have sent you a new one today."})

    content: Content


class OwnTickets(PageQuery):
    status: Status | None = Field(default=None, description="Only tickets in this state.")
    priority: Priority | None = Field(default=None, description="Only tickets with this priority.")
    category: Category | None = Field(default=None, description="Only tickets of this category.")
    overdue: bool | None = Field(default=None, description="Only tickets that are overdue, or only others.")
    search: str | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        pattern=r"^[^\x00]*$",
        description="Text in the number, the subject, or the first 1,000 characters of the description.",
    )


class ListTickets(OwnTickets):
    tag: Tag | None = Field(default=None, description="Only tickets with this tag; for staff.")
    assigned_to: Id | None = Field(default=None, description="Only tickets assigned to this account.")
    user_id: Id | None = Field(default=None, description="Only tickets of this account; for staff.")


class AttachmentOut(Output):
    """The file stays in the files service, which decides who may download it."""

    model_config = example(_ATTACHMENT)

    file_id: str
    name: str
    size: int
    mime_type: str


class TicketOut(Versioned):
    """`note_count` counts internal notes. It and the `tags` are null for everyone but staff."""

    model_config = example(_TICKET)

    id: str
    number: str
    user_id: str
    subject: str
    description: str
    status: str
    priority: str
    category: str | None
    assigned_to: str | None
    first_reply_due: datetime
    resolve_due: datetime
    first_replied: datetime | None
    resolved: datetime | None
    closed: datetime | None
    is_overdue: bool
    reopened_count: int
    satisfaction: int | None
    reply_count: int
    note_count: int | None
    tags: list[str] | None
    created: datetime
    updated: datetime

    @classmethod
    def of(cls, row: Mapping[str, Any], *, for_staff: bool, **more: Any) -> Self:
        of_staff = (
            {"note_count": row["note_count"], "tags": json.loads(row["tags"])} if for_staff else _HIDDEN
        )
        return cls.unchecked(row, **of_staff, **more)


class TicketWithFiles(TicketOut):
    model_config = example({**_TICKET, "attachments": [_ATTACHMENT]})

    attachments: list[AttachmentOut]


class ReplyOut(Output):
    model_config = example(
        {
            "id": "0198c0de-6f00-7a10-8000-3f2b8c1de04b",
            "ticket_id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "user_id": "0198c0de-4b20-7c31-9000-a7d8e9f05678",
            "is_staff": True,
            "is_internal": False,
            "content": "We have sent you a new one.",
            "attachments": [],
            "created": "2026-01-31T13:00:00Z",
            "edited": None,
        }
    )

    id: str
    ticket_id: str
    user_id: str
    is_staff: bool
    is_internal: bool
    content: str
    attachments: list[AttachmentOut]
    created: datetime
    edited: datetime | None

    @classmethod
    def of(cls, row: Mapping[str, Any], files: Sequence[Mapping[str, Any]]) -> Self:
        return cls.unchecked(row, attachments=[AttachmentOut.unchecked(file) for file in files])


class StepOut(Output):
    model_config = example(
        {
            "status": "resolved",
            "from_status": "open",
            "by": "0198c0de-4b20-7c31-9000-a7d8e9f05678",
            "reason": "A new parcel was sent.",
            "timestamp": "2026-01-31T13:00:00Z",
        }
    )

    status: str
    from_status: str | None
    by: str
    reason: str | None
    timestamp: datetime


class StaffOut(Output):
    model_config = example(
        {
            "user_id": "0198c0de-4b20-7c31-9000-a7d8e9f05678",
            "added_by": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
            "created": "2026-01-31T12:00:00Z",
        }
    )

    user_id: str
    added_by: str
    created: datetime


class StatsOut(Output):
    """Numbers of unsolved tickets, each counted up to `counted_to`, and of the newest `sample` tickets."""

    model_config = example(
        {
            "unsolved": {"open": {"medium": 3}, "in_progress": {"urgent": 1}, "waiting": {}},
            "overdue": 1,
            "unassigned": 2,
            "counted_to": 1000,
            "sample": 1000,
            "median_first_reply_seconds": 5400,
            "satisfaction_count": 12,
            "satisfaction_sum": 55,
        }
    )

    unsolved: dict[str, dict[str, int]]
    overdue: int
    unassigned: int
    counted_to: int
    sample: int
    median_first_reply_seconds: int | None
    satisfaction_count: int
    satisfaction_sum: int
