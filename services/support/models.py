"""The tables of the support service, with the rules that belong to one row."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Index, Text, UniqueConstraint
from sqlalchemy.orm import registry
from sqlmodel import BigInteger, Field, SQLModel

from services.support.states import Priority, ReviewStatus, Status
from shared.clock import now
from shared.data.database import UtcDateTime, rows_where
from shared.data.tables import NOT_VALIDATED, table_of
from shared.events import EventTables
from shared.http.idempotency import IdempotencyStore
from shared.ids import new_id
from shared.lists.search import Part, SearchIndex, searchable
from shared.reports.files import report_parts
from shared.work.jobs import JobTables

ID_CHARACTERS = 36
RESOURCE_CHARACTERS = 100
TAG_CHARACTERS = 30
SEARCHED_CHARACTERS = 1000  # of the description


class Table(SQLModel, registry=registry()):
    """The base of this service's tables, with their own metadata."""

    model_config = NOT_VALIDATED


class Ticket(Table, table=True):
    """`watch_at` is when the next due time passes that has not been reported yet; None if there is none."""

    __tablename__ = "tickets"
    __table_args__ = (
        UniqueConstraint("number"),
        Index("ix_tickets_user_id_id", "user_id", "id"),
        Index("ix_tickets_user_id_status_id", "user_id", "status", "id"),
        Index("ix_tickets_status_priority_id", "status", "priority", "id"),
        Index("ix_tickets_status_id", "status", "id"),
        Index("ix_tickets_priority_id", "priority", "id"),
        Index("ix_tickets_category_id", "category", "id"),
        Index("ix_tickets_assigned_to_id", "assigned_to", "id"),
        Index("ix_tickets_unassigned", "status", "id", **rows_where("assigned_to IS NULL")),
        Index("ix_tickets_overdue", "id", **rows_where("is_overdue", sqlite="is_overdue = 1")),
        Index("ix_tickets_watch_at", "watch_at", **rows_where("watch_at IS NOT NULL")),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    number: str = Field(max_length=20)
    user_id: str = Field(max_length=ID_CHARACTERS)
    subject: str = Field(max_length=255)
    description: str = Field(sa_type=Text)
    status: str = Field(default=Status.OPEN, max_length=20)
    priority: str = Field(default=Priority.MEDIUM, max_length=10)
    category: str | None = Field(default=None, max_length=50)
    assigned_to: str | None = Field(default=None, max_length=ID_CHARACTERS)
    first_reply_due: datetime = Field(sa_type=UtcDateTime)
    resolve_due: datetime = Field(sa_type=UtcDateTime)
    first_replied: datetime | None = Field(default=None, sa_type=UtcDateTime)
    waiting_since: datetime | None = Field(default=None, sa_type=UtcDateTime)
    resolved: datetime | None = Field(default=None, sa_type=UtcDateTime)
    closed: datetime | None = Field(default=None, sa_type=UtcDateTime)
    reopened_count: int = 0
    satisfaction: int | None = None
    reply_count: int = 0  # without internal notes
    note_count: int = 0  # for staff only
    tags: str = Field(default="[]", sa_type=Text)  # for staff only: a JSON list, in order
    watch_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    first_reply_told: bool = False
    resolve_told: bool = False
    is_overdue: bool = False
    search: str = Field(default="", sa_type=Text)
    version: int = 1
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    updated: datetime = Field(default_factory=now, sa_type=UtcDateTime)

    def touch(self) -> None:
        self.version += 1
        self.updated = now()
        self.search = searched_text(self.number, self.subject, self.description)


class TicketTag(Table, table=True):
    """One tag of one ticket, along which tickets are found. `id` is the id of the ticket."""

    __tablename__ = "ticket_tags"

    tag: str = Field(primary_key=True, max_length=TAG_CHARACTERS)
    id: str = Field(
        primary_key=True,
        foreign_key="tickets.id",
        ondelete="CASCADE",
        index=True,
        max_length=ID_CHARACTERS,
    )


class Reply(Table, table=True):
    """One reply. An internal note is for staff only, and changes nothing that the owner can see."""

    __tablename__ = "replies"
    __table_args__ = (
        Index("ix_replies_ticket_id_id", "ticket_id", "id"),
        Index("ix_replies_ticket_id_is_internal_id", "ticket_id", "is_internal", "id"),
        Index("ix_replies_user_id_id", "user_id", "id"),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    ticket_id: str = Field(foreign_key="tickets.id", ondelete="CASCADE", max_length=ID_CHARACTERS)
    user_id: str = Field(max_length=ID_CHARACTERS)
    is_staff: bool
    is_internal: bool
    content: str = Field(sa_type=Text)
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    edited: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Attachment(Table, table=True):
    """A file of the files service, as it was when it was attached to a ticket or to a reply."""

    __tablename__ = "attachments"

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    ticket_id: str = Field(foreign_key="tickets.id", ondelete="CASCADE", index=True, max_length=ID_CHARACTERS)
    reply_id: str | None = Field(
        default=None, foreign_key="replies.id", ondelete="CASCADE", index=True, max_length=ID_CHARACTERS
    )
    user_id: str = Field(index=True, max_length=ID_CHARACTERS)
    file_id: str = Field(max_length=ID_CHARACTERS)
    name: str = Field(max_length=255)
    size: int = Field(sa_type=BigInteger)
    mime_type: str = Field(max_length=255)


class TicketStep(Table, table=True):
    """One change of a ticket's state; never changed."""

    __tablename__ = "ticket_steps"
    __table_args__ = (Index("ix_ticket_steps_ticket_id_id", "ticket_id", "id"),)

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    ticket_id: str = Field(foreign_key="tickets.id", ondelete="CASCADE", max_length=ID_CHARACTERS)
    from_status: str | None = Field(default=None, max_length=20)
    status: str = Field(max_length=20)
    by: str = Field(max_length=ID_CHARACTERS)
    reason: str | None = Field(default=None, max_length=500)
    timestamp: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class TicketNumber(Table, table=True):
    """The last number of a year. Whoever takes one holds the row until the commit."""

    __tablename__ = "ticket_numbers"

    year: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    last: int


class DailyCount(Table, table=True):
    """What an account has created in its current day, which begins with the first creation."""

    __tablename__ = "daily_counts"

    user_id: str = Field(primary_key=True, max_length=ID_CHARACTERS)
    kind: str = Field(primary_key=True, max_length=10)
    since: datetime = Field(sa_type=UtcDateTime, index=True)
    count: int


class Staff(Table, table=True):
    """An account that an admin made support staff."""

    __tablename__ = "staff"

    user_id: str = Field(primary_key=True, max_length=ID_CHARACTERS)
    added_by: str = Field(max_length=ID_CHARACTERS)
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class Review(Table, table=True):
    __tablename__ = "reviews"
    __table_args__ = (
        UniqueConstraint("resource_type", "resource_id", "user_id"),
        Index("ix_reviews_resource", "resource_type", "resource_id", "status", "id"),
        Index("ix_reviews_user_id_id", "user_id", "id"),
        Index("ix_reviews_status_id", "status", "id"),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    resource_type: str = Field(max_length=20)
    resource_id: str = Field(max_length=RESOURCE_CHARACTERS)
    user_id: str = Field(max_length=ID_CHARACTERS)
    rating: int
    title: str = Field(max_length=255)
    content: str = Field(sa_type=Text)
    status: str = Field(default=ReviewStatus.PENDING, max_length=10)
    reason: str | None = Field(default=None, max_length=500)
    moderated_by: str | None = Field(default=None, index=True, max_length=ID_CHARACTERS)
    moderated: datetime | None = Field(default=None, sa_type=UtcDateTime)
    helpful_count: int = 0
    report_count: int = 0
    version: int = 1
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    updated: datetime = Field(default_factory=now, sa_type=UtcDateTime)

    def touch(self) -> None:
        self.version += 1
        self.updated = now()


class Vote(Table, table=True):
    """One person finds one review helpful."""

    __tablename__ = "review_votes"

    review_id: str = Field(
        primary_key=True, foreign_key="reviews.id", ondelete="CASCADE", max_length=ID_CHARACTERS
    )
    user_id: str = Field(primary_key=True, index=True, max_length=ID_CHARACTERS)
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class Report(Table, table=True):
    """One person reports one review to the moderators; settled once a moderator has approved it."""

    __tablename__ = "review_reports"
    __table_args__ = (Index("ix_review_reports_review_id_created", "review_id", "created"),)

    review_id: str = Field(
        primary_key=True, foreign_key="reviews.id", ondelete="CASCADE", max_length=ID_CHARACTERS
    )
    user_id: str = Field(primary_key=True, index=True, max_length=ID_CHARACTERS)
    reason: str = Field(max_length=500)
    is_settled: bool = False
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class Rating(Table, table=True):
    """The approved reviews of one resource in numbers. It changes in the transaction of the review."""

    __tablename__ = "ratings"
    __table_args__ = (
        CheckConstraint(
            "n1 >= 0 AND n2 >= 0 AND n3 >= 0 AND n4 >= 0 AND n5 >= 0", name="ck_ratings_positive"
        ),
    )

    resource_type: str = Field(primary_key=True, max_length=20)
    resource_id: str = Field(primary_key=True, max_length=RESOURCE_CHARACTERS)
    n1: int = 0
    n2: int = 0
    n3: int = 0
    n4: int = 0
    n5: int = 0


def searched_text(number: str, subject: str, description: str) -> str:
    """Return the text in which a ticket is found; one line each, so that no match spans two of them."""
    return searchable(f"{number}\n{subject}\n{description[:SEARCHED_CHARACTERS]}")


TICKETS = table_of(Ticket)
TICKET_TAGS = table_of(TicketTag)
REPLIES = table_of(Reply)
ATTACHMENTS = table_of(Attachment)
STEPS_TAKEN = table_of(TicketStep)
NUMBERS = table_of(TicketNumber)
DAILY = table_of(DailyCount)
STAFF = table_of(Staff)
REVIEWS = table_of(Review)
VOTES = table_of(Vote)
REPORTS = table_of(Report)
RATINGS = table_of(Rating)
SEARCH = SearchIndex(TICKETS, {"user_id": Part.END, "status": Part.START, "search": Part.ALL})
IDEMPOTENCY = IdempotencyStore(Table.metadata)
EVENTS = EventTables(Table.metadata)
WORK = JobTables(Table.metadata)
JOBS = WORK.jobs
REPORT_PARTS = report_parts(Table.metadata)
