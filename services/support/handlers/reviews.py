"""Handlers of reviews and their moderation."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlmodel import Session
from starlette.requests import Request

from services.support import desk, ratings, reviews
from services.support.errors import NeedsIfMatch, NotBought
from services.support.models import REVIEWS, Review
from services.support.peers import Orders, Purchase, find_purchase
from services.support.review_schemas import (
    PRODUCT,
    ChangeReview,
    HelpfulOut,
    ListForModeration,
    ListReviews,
    Moderate,
    RatingOf,
    RatingOut,
    ReportOut,
    ReportReview,
    ResourceId,
    ReviewOut,
    WriteReview,
    key_of,
)
from services.support.settings import Settings
from services.support.states import ReviewStatus
from shared.caller import Caller
from shared.errors import NotFound
from shared.events import Trail
from shared.http.preconditions import IfMatch
from shared.http.schemas import Id, Page
from shared.lists.pagination import PageQuery, paginate, paginate_equal


def list_reviews(query: ListReviews, caller: Caller | None, session: Session) -> Page[ReviewOut]:
    """List approved reviews, newest first; with those of one thing comes its rating."""
    wanted, kind = {"status": str(ReviewStatus.APPROVED)}, query.resource_type
    if query.resource_id is None:
        checked = [] if kind is None else [REVIEWS.c.resource_type == kind]
        return _page(session, wanted, query, caller, checked)
    key = key_of(kind or PRODUCT, query.resource_id)
    page = _page(session, {**key._asdict(), **wanted}, query, caller)
    page.extras = ratings.show(session, key).extras
    return page


def list_own_reviews(query: PageQuery, caller: Caller, session: Session) -> Page[ReviewOut]:
    """List the reviews that you have written, in every state, newest first."""
    return _page(session, {"user_id": caller.id}, query, caller)


def list_reviews_to_moderate(query: ListForModeration, caller: Caller, session: Session) -> Page[ReviewOut]:
    """List the reviews in one state, newest first; by default those that wait for a decision."""
    desk.require_staff(session, caller)
    return _page(session, {"status": str(query.status)}, query, caller)


def _page(
    session: Session,
    wanted: dict[str, str],
    query: PageQuery,
    caller: Caller | None,
    checked: Sequence[ColumnElement[bool]] = (),
) -> Page[ReviewOut]:
    by_staff, reader = desk.is_staff(session, caller), None if caller is None else caller.id

    def make(row: dict[str, Any]) -> ReviewOut:
        return ReviewOut.of(row, reader=reader, by_staff=by_staff)

    if not checked:
        return paginate_equal(session, REVIEWS, wanted, query, make)
    found = select(REVIEWS).where(*(REVIEWS.c[name] == value for name, value in wanted.items()))
    return paginate(session, found, REVIEWS.c.id, query, make, checked=checked)


def show_rating(resource_id: ResourceId, query: RatingOf, session: Session) -> RatingOut:
    """Show the rating of a thing, by default of a product, counted from its approved reviews."""
    return ratings.show(session, key_of(query.resource_type, resource_id))


async def find_order(body: WriteReview, request: Request, caller: Caller, orders: Orders) -> Purchase:
    return await find_purchase(body.key, request, caller, orders)


def write_review(
    body: WriteReview, purchase: Purchase, caller: Caller, session: Session, settings: Settings
) -> ReviewOut:
    """Review a product that you have bought, or something else. The review is shown once it is approved."""
    if not purchase.is_made:
        raise NotBought
    return _shown(session, reviews.write(session, settings, caller.id, body), caller)


def show_review(review_id: Id, caller: Caller | None, session: Session) -> ReviewOut:
    """Show one review; those that are not approved only to their author and to staff."""
    return _shown(session, reviews.find(session, caller, review_id), caller)


def change_review(
    review_id: Id,
    body: ChangeReview,
    caller: Caller,
    if_match: IfMatch,
    session: Session,
    settings: Settings,
) -> ReviewOut:
    """Change a review of yours; it waits for a moderator again."""
    review = reviews.find(session, caller, review_id, lock=True)
    if review.user_id != caller.id:
        raise NotFound
    if_match.check(review.version)
    reviews.change(session, settings, review, body)
    return _shown(session, review, caller)


def delete_review(
    review_id: Id, caller: Caller, if_match: IfMatch, session: Session, settings: Settings
) -> None:
    """Delete a review of yours; staff may delete any."""
    review = reviews.find(session, caller, review_id, lock=True)
    by_staff = desk.is_staff(session, caller)
    if review.user_id != caller.id and not by_staff:
        raise NotFound
    if_match.check(review.version)
    if by_staff:
        reviews.remove(session, review)
    else:
        reviews.remove_own(session, settings, review)


def moderate_review(
    review_id: Id, body: Moderate, caller: Caller, if_match: IfMatch, session: Session, trail: Trail
) -> ReviewOut:
    """Approve, reject or hide a review. If-Match is required, so that of two moderators one gets 412."""
    desk.require_staff(session, caller)
    review = reviews.find(session, caller, review_id, lock=True)
    if if_match.tags is None:
        raise NeedsIfMatch
    if_match.check(review.version)
    trail.add(status={"before": review.status, "after": body.status})
    reviews.moderate(session, review, body, caller.id)
    return _shown(session, review, caller)


def mark_review_helpful(review_id: Id, caller: Caller, session: Session) -> HelpfulOut:
    """Find a review helpful; each person counts once."""
    review = reviews.find(session, caller, review_id, lock=True)
    reviews.vote(session, review, caller.id, helpful=True)
    return HelpfulOut(helpful_count=review.helpful_count)


def unmark_review_helpful(review_id: Id, caller: Caller, session: Session) -> HelpfulOut:
    """Take the vote back."""
    review = reviews.find(session, caller, review_id, lock=True)
    reviews.vote(session, review, caller.id, helpful=False)
    return HelpfulOut(helpful_count=review.helpful_count)


def report_review(
    review_id: Id, body: ReportReview, caller: Caller, session: Session, settings: Settings
) -> None:
    """Report a review to the moderators; each person counts once, and enough reports hide it."""
    review = reviews.find(session, caller, review_id, lock=True)
    reviews.report(session, settings, review, caller.id, body.reason)


def list_review_reports(review_id: Id, caller: Caller, session: Session) -> list[ReportOut]:
    """List the newest 200 reports of a review with their reasons, newest first; for staff."""
    desk.require_staff(session, caller)
    reviews.find(session, caller, review_id)
    return [ReportOut.unchecked(row) for row in reviews.reports_of(session, review_id)]


def _shown(session: Session, review: Review, caller: Caller | None) -> ReviewOut:
    by_staff = desk.is_staff(session, caller)
    return ReviewOut.of(review.model_dump(), reader=None if caller is None else caller.id, by_staff=by_staff)
