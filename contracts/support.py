"""The events of the support service. They hold no text that people wrote."""

from datetime import datetime

from shared.events import Event


class TicketState(Event):
    """The ticket after the change."""

    key = "ticket_id"
    source = "support"

    ticket_id: str
    number: str
    user_id: str
    status: str
    priority: str
    assigned_to: str | None
    updated: datetime


class TicketOpened(TicketState):
    """Someone created a ticket."""

    topic = "ticket.opened"


class TicketChanged(TicketState):
    """The content, the status, the priority or the assignment of a ticket changed."""

    topic = "ticket.changed"

    status_before: str
    by: str | None = None  # the account that did it


class TicketReplied(TicketState):
    """Someone replied to a ticket. Internal notes emit no event."""

    topic = "ticket.replied"

    reply_id: str
    author_id: str
    by_staff: bool
    status_before: str


class TicketOverdue(TicketState):
    """A due time of a ticket has passed: `due` is `first_reply` or `resolve`. Emitted once for each."""

    topic = "ticket.overdue"

    due: str


class TicketDeleted(Event):
    """The owner deleted a ticket."""

    topic = "ticket.deleted"
    key = "ticket_id"
    source = "support"

    ticket_id: str
    user_id: str


class StaffChanged(Event):
    """An admin made an account support staff, or ended that. Admins are staff anyway."""

    topic = "staff.changed"
    key = "user_id"
    source = "support"

    user_id: str
    is_staff: bool


class ReviewState(Event):
    """The review after the change."""

    key = "review_id"
    source = "support"

    review_id: str
    user_id: str
    resource_type: str
    resource_id: str
    rating: int
    status: str
    updated: datetime


class ReviewWritten(ReviewState):
    """Someone wrote or changed a review, which waits for a moderator."""

    topic = "review.written"


class ReviewModerated(ReviewState):
    """A moderator decided about a review.

    Without `by`, no moderator did: it was hidden because people reported it, or approved because the service
    approves all reviews.
    """

    topic = "review.moderated"

    status_before: str
    by: str | None = None


class ReviewDeleted(Event):
    """A review was deleted."""

    topic = "review.deleted"
    key = "review_id"
    source = "support"

    review_id: str
    user_id: str
    resource_type: str
    resource_id: str
