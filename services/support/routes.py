"""The endpoints of the support service."""

from contracts.summaries import summary_operation
from services.support import summary
from services.support.desk import ADMINISTER
from services.support.errors import (
    AlreadyReviewed,
    ClosedForGood,
    IllegalStep,
    NeedsIfMatch,
    NotApproved,
    NotBought,
    NotSolved,
    NotYourReply,
    OwnerOnly,
    OwnReview,
    ReopenedTooOften,
    ReplyLocked,
    ReviewLocked,
    StaffOnly,
    TicketFull,
    TicketLocked,
    TooManyOpenTickets,
    TooManyStaff,
)
from services.support.handlers import classic, replies, reviews, staff, ticket_reports, tickets
from services.support.schemas import BODY_BYTES_MAX
from shared.errors import NotFound, TooManyRequests
from shared.http.operations import Operation
from shared.identity.tokens import admin, public, signed_in
from shared.reports.operations import report_operations

READ, WRITE = "support:read", "support:write"
TICKET = "/tickets/{ticket_id}"
STAFF = "/tickets/staff/{user_id}"
REVIEW = "/reviews/{review_id}"
NOT_REOPENED = (ClosedForGood, ReopenedTooOften, TooManyOpenTickets, TooManyRequests)

TICKETS = [
    Operation("GET", "/tickets", tickets.list_tickets, scope=READ, errors=(NotFound, StaffOnly)),
    Operation(
        "POST",
        "/tickets",
        tickets.create_ticket,
        scope=WRITE,
        status=201,
        location="/tickets/{id}",
        idempotent=True,
        body_bytes_max=BODY_BYTES_MAX,
        prepare=tickets.find_attachments,
        errors=(TooManyOpenTickets, TooManyRequests),
    ),
    Operation("GET", "/tickets/my", tickets.list_own_tickets, scope=READ),
    Operation("GET", "/tickets/stats", staff.show_ticket_stats, scope=READ, errors=(StaffOnly,)),
    Operation("GET", "/tickets/staff", staff.list_staff, scope=READ, errors=(StaffOnly,)),
    Operation(
        "PUT",
        STAFF,
        staff.add_staff,
        access=admin,
        scope=ADMINISTER,
        prepare=staff.find_new_staff,
        errors=(TooManyStaff,),
    ),
    Operation("DELETE", STAFF, staff.remove_staff, access=admin, scope=ADMINISTER, status=204),
    Operation("GET", TICKET, tickets.show_ticket, scope=READ),
    Operation(
        "PUT",
        TICKET,
        tickets.change_ticket,
        scope=WRITE,
        body_bytes_max=BODY_BYTES_MAX,
        errors=(OwnerOnly, StaffOnly, TicketLocked),
    ),
    Operation(
        "DELETE", TICKET, tickets.delete_ticket, scope=WRITE, status=204, errors=(OwnerOnly, TicketLocked)
    ),
    Operation("GET", f"{TICKET}/replies", replies.list_replies, scope=READ),
    Operation(
        "POST",
        f"{TICKET}/replies",
        replies.reply_to_ticket,
        scope=WRITE,
        status=201,
        idempotent=True,
        body_bytes_max=BODY_BYTES_MAX,
        prepare=replies.find_attachments,
        errors=(StaffOnly, *NOT_REOPENED, TicketFull),
    ),
    Operation(
        "PUT",
        f"{TICKET}/replies/{{reply_id}}",
        replies.edit_reply,
        scope=WRITE,
        body_bytes_max=BODY_BYTES_MAX,
        errors=(NotYourReply, ReplyLocked),
    ),
    Operation(
        "PUT",
        f"{TICKET}/status",
        tickets.change_ticket_status,
        scope=WRITE,
        errors=(IllegalStep, *NOT_REOPENED),
    ),
    Operation(
        "PUT",
        f"{TICKET}/assign",
        tickets.assign_ticket,
        scope=WRITE,
        prepare=tickets.find_assignee,
        errors=(StaffOnly,),
    ),
    Operation("PUT", f"{TICKET}/rating", tickets.rate_ticket, scope=WRITE, errors=(OwnerOnly, NotSolved)),
    Operation("GET", f"{TICKET}/history", tickets.list_ticket_history, scope=READ),
    *report_operations(
        "/reports/tickets",
        ticket_reports.start_ticket_report,
        ticket_reports.download_ticket_report,
        access=signed_in,
        scopes=(WRITE, READ),
        jobs_scope="support",
        errors=(StaffOnly,),
    ),
]
REVIEWS = [
    Operation("GET", "/reviews", reviews.list_reviews, access=public, scope=READ),
    Operation(
        "POST",
        "/reviews",
        reviews.write_review,
        scope=WRITE,
        status=201,
        location="/reviews/{id}",
        idempotent=True,
        prepare=reviews.find_order,
        errors=(NotBought, AlreadyReviewed, TooManyRequests),
    ),
    Operation("GET", "/reviews/my", reviews.list_own_reviews, scope=READ),
    Operation(
        "GET", "/reviews/moderation", reviews.list_reviews_to_moderate, scope=READ, errors=(StaffOnly,)
    ),
    Operation("GET", "/reviews/ratings/{resource_id}", reviews.show_rating, access=public),
    Operation("GET", REVIEW, reviews.show_review, access=public, scope=READ),
    Operation("PUT", REVIEW, reviews.change_review, scope=WRITE, errors=(TooManyRequests,)),
    Operation("DELETE", REVIEW, reviews.delete_review, scope=WRITE, status=204, errors=(ReviewLocked,)),
    Operation(
        "PUT",
        f"{REVIEW}/moderate",
        reviews.moderate_review,
        scope=WRITE,
        errors=(StaffOnly, IllegalStep, NeedsIfMatch),
    ),
    Operation(
        "POST",
        f"{REVIEW}/helpful",
        reviews.mark_review_helpful,
        scope=WRITE,
        errors=(OwnReview, NotApproved),
    ),
    Operation(
        "DELETE",
        f"{REVIEW}/helpful",
        reviews.unmark_review_helpful,
        scope=WRITE,
        errors=(OwnReview, NotApproved),
    ),
    Operation(
        "POST",
        f"{REVIEW}/report",
        reviews.report_review,
        scope=WRITE,
        status=204,
        errors=(OwnReview, NotApproved),
    ),
    Operation("GET", f"{REVIEW}/reports", reviews.list_review_reports, scope=READ, errors=(StaffOnly,)),
]
# The older form of tickets and reviews, which `/api/v1` leads to.
CLASSIC_TICKET, CLASSIC_REVIEW = f"/classic{TICKET}", f"/classic{REVIEW}"
CLASSIC = [
    Operation("GET", "/classic/tickets", classic.list_classic_tickets, scope=READ, errors=(StaffOnly,)),
    Operation(
        "POST",
        "/classic/tickets",
        classic.create_classic_ticket,
        scope=WRITE,
        status=201,
        idempotent=True,
        body_bytes_max=BODY_BYTES_MAX,
        errors=(TooManyOpenTickets, TooManyRequests),
    ),
    Operation("GET", "/classic/tickets/my", classic.list_own_classic_tickets, scope=READ),
    Operation("GET", CLASSIC_TICKET, classic.show_classic_ticket, scope=READ),
    Operation(
        "PUT",
        CLASSIC_TICKET,
        classic.change_classic_ticket,
        scope=WRITE,
        body_bytes_max=BODY_BYTES_MAX,
        errors=(OwnerOnly, TicketLocked),
    ),
    Operation(
        "DELETE", CLASSIC_TICKET, classic.delete_classic_ticket, scope=WRITE, errors=(OwnerOnly, TicketLocked)
    ),
    Operation(
        "POST",
        f"{CLASSIC_TICKET}/replies",
        classic.reply_to_classic_ticket,
        scope=WRITE,
        status=201,
        idempotent=True,
        body_bytes_max=BODY_BYTES_MAX,
        errors=(*NOT_REOPENED, TicketFull),
    ),
    Operation(
        "PUT",
        f"{CLASSIC_TICKET}/status",
        classic.change_classic_status,
        scope=WRITE,
        errors=(StaffOnly, IllegalStep, ClosedForGood),
    ),
    Operation(
        "PUT",
        f"{CLASSIC_TICKET}/assign",
        classic.assign_classic_ticket,
        scope=WRITE,
        prepare=classic.find_classic_assignee,
        errors=(StaffOnly,),
    ),
    Operation("GET", "/classic/reviews", classic.list_classic_reviews, access=public),
    Operation(
        "POST",
        "/classic/reviews",
        classic.write_classic_review,
        scope=WRITE,
        status=201,
        idempotent=True,
        prepare=classic.find_classic_order,
        errors=(NotBought, AlreadyReviewed, TooManyRequests),
    ),
    Operation("GET", CLASSIC_REVIEW, classic.show_classic_review, access=public, scope=READ),
    Operation("PUT", CLASSIC_REVIEW, classic.change_classic_review, scope=WRITE, errors=(TooManyRequests,)),
    Operation("DELETE", CLASSIC_REVIEW, classic.delete_classic_review, scope=WRITE, errors=(ReviewLocked,)),
]
OPERATIONS = [*TICKETS, *REVIEWS, *CLASSIC, summary_operation(summary.rows_of)]
