"""The rating of each thing: how many approved reviews gave how many stars.

Every change of a review changes these numbers in its own transaction, so they are exact and reading them
costs one row.
"""

from sqlalchemy import select, update
from sqlmodel import Session

from services.support.models import RATINGS, Review
from services.support.review_schemas import STARS, Key, RatingOut
from services.support.states import ReviewStatus
from shared.data.database import insert_into, one_row


def count(session: Session, review: Review, *, by: int) -> None:
    """Add an approved review to the rating of its thing, or take it away; other reviews do not count."""
    if review.status == ReviewStatus.APPROVED:
        change(session, review.resource_type, review.resource_id, review.rating, by=by)


def change(session: Session, resource_type: str, resource_id: str, stars: int, *, by: int) -> None:
    column = RATINGS.c[f"n{stars}"]
    key = {"resource_type": resource_type, "resource_id": resource_id}
    empty = {f"n{number}": 0 for number in STARS}
    execute = session.connection().execute
    execute(insert_into(session, RATINGS).values(**key, **empty).on_conflict_do_nothing())
    mine = (RATINGS.c.resource_type == resource_type, RATINGS.c.resource_id == resource_id)
    execute(update(RATINGS).where(*mine).values({column: column + by}))


def show(session: Session, key: Key) -> RatingOut:
    mine = RATINGS.c.resource_type == key.resource_type, RATINGS.c.resource_id == key.resource_id
    row = one_row(session, select(RATINGS).where(*mine))
    return RatingOut.of(key, {stars: row[f"n{stars}"] if row else 0 for stars in STARS})
