"""Changes of reviews, each within the caller's transaction."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, false, select, true, union, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from services.support import daily, desk, ratings
from services.support.errors import AlreadyReviewed, NotApproved, OwnReview, ReviewLocked
from services.support.models import REPORTS, REVIEWS, VOTES, Review
from services.support.review_schemas import ChangeReview, Moderate, WriteReview
from services.support.settings import Settings
from services.support.states import ReviewStatus, require_decision
from services.support.telling import tell_moderated, tell_review_deleted, tell_written
from shared.caller import Caller
from shared.clock import now
from shared.data.database import insert_into
from shared.errors import FieldFault, Invalid, NotFound
from shared.lists.pagination import rows_of

REPORTS_SHOWN = 200
NOT_REVIEWED = "is not among the kinds of things that can be reviewed here (REVIEW_TYPES)"


def find(session: Session, caller: Caller | None, review_id: str, *, lock: bool = False) -> Review:
    """Return a review that the caller may see: approved ones, their own, and for staff all."""
    review = session.get(Review, review_id, with_for_update=lock)
    if review is None:
        raise NotFound
    is_mine = caller is not None and review.user_id == caller.id
    if review.status != ReviewStatus.APPROVED and not is_mine and not desk.is_staff(session, caller):
        raise NotFound
    return review


def write(session: Session, settings: Settings, author: str, body: WriteReview) -> Review:
    """Store a review, which waits for a moderator unless reviews are approved at once."""
    if not settings.may_review(body.resource_type):
        raise Invalid(errors=[FieldFault(field="resource_type", code="not_reviewed", message=NOT_REVIEWED)])
    daily.take(session, author, daily.REVIEWS, settings.reviews_daily)
    review = Review(user_id=author, **body.model_dump() | body.key._asdict())
    session.add(review)
    try:
        session.flush()
    except IntegrityError as error:
        raise AlreadyReviewed from error
    tell_written(session, review)
    if settings.reviews_auto_approve:
        _become(session, review, ReviewStatus.APPROVED, None)
    return review


def change(session: Session, settings: Settings, review: Review, body: ChangeReview) -> None:
    """Replace the content; the review waits for a moderator again.

    A review that was not waiting counts towards the daily limit like a new one. A review that a
    moderator rejected or hid waits even if new reviews are approved at once.
    """
    was_approved = review.status == ReviewStatus.APPROVED
    if review.status != ReviewStatus.PENDING:
        daily.take(session, review.user_id, daily.REVIEWS, settings.reviews_daily)
    ratings.count(session, review, by=-1)
    for name, value in body.model_dump().items():
        setattr(review, name, value)
    review.status, review.reason = ReviewStatus.PENDING, None
    review.touch()
    tell_written(session, review)
    if was_approved and settings.reviews_auto_approve:
        _become(session, review, ReviewStatus.APPROVED, None)


def moderate(session: Session, review: Review, body: Moderate, by: str) -> None:
    """Decide about a review."""
    require_decision(review.status, body.status)
    _become(session, review, body.status, by)
    review.reason, review.moderated_by, review.moderated = body.reason, by, now()
    if body.status == ReviewStatus.APPROVED:
        review.report_count = 0  # a moderator has looked at it
        settling = update(REPORTS).where(REPORTS.c.review_id == review.id)
        session.connection().execute(settling.values(is_settled=True))


def _become(session: Session, review: Review, status: ReviewStatus, by: str | None) -> None:
    before = review.status
    ratings.count(session, review, by=-1)
    review.status = status
    ratings.count(session, review, by=1)
    review.touch()
    tell_moderated(session, review, before, by)


def remove_own(session: Session, settings: Settings, review: Review) -> None:
    """Delete a review for its author.

    While reviews are approved at once, its author must not undo a rejection by writing the review again.
    """
    if settings.reviews_auto_approve and review.status != ReviewStatus.APPROVED:
        raise ReviewLocked(status_now=review.status)
    remove(session, review)


def remove(session: Session, review: Review) -> None:
    ratings.count(session, review, by=-1)
    session.delete(review)
    tell_review_deleted(session, review)


def vote(session: Session, review: Review, voter: str, *, helpful: bool) -> None:
    """Count each person once. The version stays, so that votes do not disturb moderators."""
    require_of_others(review, voter)
    execute = session.connection().execute
    key = {"review_id": review.id, "user_id": voter}
    if helpful:
        adding = insert_into(session, VOTES).values(**key, created=now()).on_conflict_do_nothing()
        review.helpful_count += len(execute(adding.returning(VOTES.c.user_id)).all())
    else:
        taking = delete(VOTES).where(VOTES.c.review_id == review.id, VOTES.c.user_id == voter)
        review.helpful_count -= len(execute(taking.returning(VOTES.c.user_id)).all())


def report(session: Session, settings: Settings, review: Review, reporter: str, reason: str) -> None:
    """Record a report, one per person; `reports_hide` reports hide the review until a moderator decides."""
    require_of_others(review, reporter)
    row = {
        "review_id": review.id,
        "user_id": reporter,
        "reason": reason,
        "is_settled": False,
        "created": now(),
    }
    adding = insert_into(session, REPORTS).values(**row).on_conflict_do_nothing()
    review.report_count += len(session.connection().execute(adding.returning(REPORTS.c.user_id)).all())
    if review.report_count >= settings.reports_hide:
        _become(session, review, ReviewStatus.HIDDEN, None)


def reports_of(session: Session, review_id: str) -> list[dict[str, Any]]:
    """Return the newest reports of a review, newest first."""
    newest = select(REPORTS).where(REPORTS.c.review_id == review_id).order_by(REPORTS.c.created.desc())
    return rows_of(session, newest.limit(REPORTS_SHOWN))


def require_of_others(review: Review, person: str) -> None:
    if review.user_id == person:
        raise OwnReview
    if review.status != ReviewStatus.APPROVED:
        raise NotApproved(status_now=review.status)


def forget(session: Session, gone: Sequence[str]) -> None:
    """Delete what deleted accounts wrote and clicked, and correct the numbers.

    All reviews are locked first, in the order of their ids, and then the ratings, in the order of their
    things, so that concurrent transactions do not wait for each other in a circle.
    """
    execute = session.connection().execute
    touched = union(
        select(REVIEWS.c.id).where(REVIEWS.c.user_id.in_(gone)),
        select(VOTES.c.review_id).where(VOTES.c.user_id.in_(gone)),
        select(REPORTS.c.review_id).where(REPORTS.c.user_id.in_(gone)),
        select(REVIEWS.c.id).where(REVIEWS.c.moderated_by.in_(gone)),
    )
    execute(select(REVIEWS.c.id).where(REVIEWS.c.id.in_(touched)).order_by(REVIEWS.c.id).with_for_update())
    reported = REPORTS.c.is_settled == false()  # the others are not in the count
    for table, column, counts in (
        (VOTES, REVIEWS.c.helpful_count, true()),
        (REPORTS, REVIEWS.c.report_count, reported),
    ):
        clicked = select(table.c.review_id).where(table.c.user_id.in_(gone), counts)
        for review_id in execute(clicked).scalars().all():
            counted = update(REVIEWS).where(REVIEWS.c.id == review_id, column > 0)
            execute(counted.values({column: column - 1}))
        execute(delete(table).where(table.c.user_id.in_(gone)))
    execute(update(REVIEWS).where(REVIEWS.c.moderated_by.in_(gone)).values(moderated_by=None))
    theirs = session.scalars(select(Review).where(REVIEWS.c.user_id.in_(gone)))
    for review in sorted(theirs, key=lambda one: (one.resource_type, one.resource_id, one.id)):
        remove(session, review)
    session.flush()
