"""The refusals of the support service."""

from shared.errors import Conflict, Forbidden, Problem


class StaffOnly(Forbidden):
    """Only support staff may do this."""

    code = "staff_only"


class OwnerOnly(Forbidden):
    """Only the owner of the ticket may do this."""

    code = "owner_only"


class NotYourReply(Forbidden):
    """Only its author may change a reply."""

    code = "not_your_reply"


class IllegalStep(Conflict):
    """This step is not possible from the current state; `allowed` lists the steps that you can take."""

    code = "illegal_step"


class ClosedForGood(Conflict):
    """The ticket was solved too long ago to be opened again; create a new one."""

    code = "closed_for_good"


class ReopenedTooOften(Conflict):
    """You cannot reopen this ticket any more; create a new one."""

    code = "reopened_too_often"


class TicketLocked(Conflict):
    """The ticket can be changed or deleted only while it is open and staff have not replied."""

    code = "ticket_locked"


class ReplyLocked(Conflict):
    """The reply was written too long ago to be changed; write another one."""

    code = "reply_locked"


class TicketFull(Conflict):
    """The ticket has as many replies as a ticket can have; create a new one."""

    code = "ticket_full"


class NotSolved(Conflict):
    """Only a resolved or closed ticket can be rated."""

    code = "not_solved"


class TooManyOpenTickets(Conflict):
    """You have as many unsolved tickets as an account may have; close one first."""

    code = "too_many_open_tickets"


class TooManyStaff(Conflict):
    """There are as many support staff as are allowed; remove one first."""

    code = "too_many_staff"


class NotBought(Forbidden):
    """Only people who bought this product may review it, once their order is confirmed."""

    code = "not_bought"


class AlreadyReviewed(Conflict):
    """You have already reviewed this; change that review instead."""

    code = "already_reviewed"


class ReviewLocked(Conflict):
    """Reviews are approved at once here, so you cannot delete one that is not approved; change it instead."""

    code = "review_locked"


class OwnReview(Conflict):
    """You cannot vote for your own review, nor report it."""

    code = "own_review"


class NotApproved(Conflict):
    """Only an approved review can be voted for or reported."""

    code = "not_approved"


class NeedsIfMatch(Problem):
    """Send the ETag of the review that you have read in If-Match, so that no decision is lost."""

    status = 428
    code = "if_match_required"
