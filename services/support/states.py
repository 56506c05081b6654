"""The states of tickets and reviews, and the steps between them."""

from enum import StrEnum

from services.support.errors import IllegalStep


class Status(StrEnum):
    OPEN = "open"
    IN_PROGRESS = "in_progress"
    WAITING = "waiting"  # for the customer
    RESOLVED = "resolved"
    CLOSED = "closed"


class Priority(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    URGENT = "urgent"


class ReviewStatus(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    HIDDEN = "hidden"


UNSOLVED = (Status.OPEN, Status.IN_PROGRESS, Status.WAITING)
SOLVED = (Status.RESOLVED, Status.CLOSED)
_BOTH, _STAFF = True, False
# From each state the steps, and whether the owner may take them; staff may take all.
STEPS: dict[Status, dict[Status, bool]] = {
    Status.OPEN: {
        Status.IN_PROGRESS: _STAFF,
        Status.WAITING: _STAFF,
        Status.RESOLVED: _BOTH,
        Status.CLOSED: _BOTH,
    },
    Status.IN_PROGRESS: {
        Status.OPEN: _STAFF,
        Status.WAITING: _STAFF,
        Status.RESOLVED: _BOTH,
        Status.CLOSED: _BOTH,
    },
    Status.WAITING: {
        Status.OPEN: _STAFF,  # a reply of the owner also leads here
        Status.IN_PROGRESS: _STAFF,
        Status.RESOLVED: _BOTH,
        Status.CLOSED: _BOTH,
    },
    Status.RESOLVED: {Status.OPEN: _BOTH, Status.CLOSED: _BOTH},
    Status.CLOSED: {Status.OPEN: _BOTH},
}
REVIEW_STEPS: dict[ReviewStatus, tuple[ReviewStatus, ...]] = {
    ReviewStatus.PENDING: (ReviewStatus.APPROVED, ReviewStatus.REJECTED),
    ReviewStatus.APPROVED: (ReviewStatus.REJECTED, ReviewStatus.HIDDEN),
    ReviewStatus.REJECTED: (ReviewStatus.APPROVED,),
    ReviewStatus.HIDDEN: (ReviewStatus.APPROVED, ReviewStatus.REJECTED),
}


def require_step(status: str, to: Status, *, by_staff: bool) -> None:
    """Refuse a step that this person cannot take from this state, and name the allowed ones."""
    steps = STEPS[Status(status)]
    allowed = [str(step) for step, for_owner in steps.items() if for_owner or by_staff]
    if to not in allowed:
        detail = f"A ticket that is {status} cannot become {to}" + ("." if by_staff else " by its owner.")
        raise IllegalStep(detail, status_now=status, allowed=allowed)


def require_decision(status: str, to: ReviewStatus) -> None:
    allowed = REVIEW_STEPS[ReviewStatus(status)]
    if to not in allowed:
        detail = f"A review that is {status} cannot become {to}."
        raise IllegalStep(detail, status_now=status, allowed=list(allowed))
