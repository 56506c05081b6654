"""The request and response bodies of reviews."""

from collections.abc import Mapping
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Annotated, Any, NamedTuple, Self

from pydantic import Field, StringConstraints

from services.support.models import RESOURCE_CHARACTERS
from services.support.states import ReviewStatus
from shared.http.schemas import Input, Output, Query, Text, Versioned, example
from shared.lists.pagination import PageQuery
from shared.words import pattern

PRODUCT = "product"
STARS = (1, 2, 3, 4, 5)
PLACES = Decimal("0.001")

# What is reviewed, in the words of the front end. Only products are known to other services.
_TYPE = pattern(
    r"^[a-z][a-z0-9_]{0,19}$", "must be a lower-case word of up to 20 characters, such as product"
)
ResourceType = Annotated[str, StringConstraints(pattern=_TYPE)]
ResourceId = Annotated[Text, Field(max_length=RESOURCE_CHARACTERS)]
Stars = Annotated[int, Field(ge=1, le=5)]
Title = Annotated[Text, Field(max_length=255)]
ReviewContent = Annotated[Text, Field(max_length=5000)]
Reason = Annotated[Text, Field(max_length=500)]


class Key(NamedTuple):
    """What a review is about."""

    resource_type: str
    resource_id: str


def key_of(resource_type: str, resource_id: str) -> Key:
    """Return what this names: ids of products, like all ids, are compared in lower case."""
    return Key(resource_type, resource_id.lower() if resource_type == PRODUCT else resource_id)


_REVIEW = {
    "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04d",
    "resource_type": "product",
    "resource_id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
    "user_id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
    "rating": 5,
    "title": "Light and quiet",
    "content": "I have used it every day for a month.",
    "status": "approved",
    "verified_buyer": True,
    "reason": None,
    "helpful_count": 3,
    "report_count": None,
    "created": "2026-01-31T12:00:00Z",
    "updated": "2026-01-31T12:00:00Z",
    "version": 2,
}


class ChangeReview(Input):
    """A review as a whole; it waits for a moderator again."""

    model_config = example({"rating": 5, "title": "Light and quiet", "content": "I use it every day."})

    rating: Stars
    title: Title
    content: ReviewContent


class WriteReview(ChangeReview):
    model_config = example(
        {
            "resource_type": "product",
            "resource_id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "rating": 5,
            "title": "Light and quiet",
            "content": "I have used it every day for a month.",
        }
    )

    resource_type: ResourceType
    resource_id: ResourceId

    @property
    def key(self) -> Key:
        return key_of(self.resource_type, self.resource_id)


class Moderate(Input):
    model_config = example({"status": "rejected", "reason": "It is about another product."})

    status: ReviewStatus
    reason: Reason | None = None


class ReportReview(Input):
    model_config = example({"reason": "It names a private address."})

    reason: Reason


class ReportOut(Output):
    """A report; `is_settled` once a moderator has approved the review in spite of it."""

    model_config = example(
        {
            "user_id": "0198c0de-4b20-7c31-9000-a7d8e9f05678",
            "reason": "It names a private address.",
            "is_settled": False,
            "created": "2026-01-31T12:00:00Z",
        }
    )

    user_id: str
    reason: str
    is_settled: bool
    created: datetime


class ListReviews(PageQuery):
    resource_type: ResourceType | None = Field(
        default=None, description="Only reviews of things of this kind; with `resource_id` it is `product`."
    )
    resource_id: ResourceId | None = Field(default=None, description="Only reviews of this thing.")


class RatingOf(Query):
    resource_type: ResourceType = Field(default=PRODUCT, description="The kind of the thing.")


class ListForModeration(PageQuery):
    status: ReviewStatus = Field(default=ReviewStatus.PENDING, description="Reviews in this state.")


class ReviewOut(Versioned):
    """`verified_buyer` says that the author had bought the thing, of which support knows for products only.

    `reason` is for the author and staff, `report_count` for staff; both are null for others.
    """

    model_config = example(_REVIEW)

    id: str
    resource_type: str
    resource_id: str
    user_id: str
    rating: int
    title: str
    content: str
    status: str
    verified_buyer: bool
    reason: str | None
    helpful_count: int
    report_count: int | None
    created: datetime
    updated: datetime

    @classmethod
    def of(cls, row: Mapping[str, Any], *, reader: str | None, by_staff: bool) -> Self:
        is_known = by_staff or reader == row["user_id"]
        return cls.unchecked(
            row,
            verified_buyer=row["resource_type"] == PRODUCT,  # only people who bought a product review it
            reason=row["reason"] if is_known else None,
            report_count=row["report_count"] if by_staff else None,
        )


class HelpfulOut(Output):
    model_config = example({"helpful_count": 4})

    helpful_count: int


class RatingOut(Output):
    """The approved reviews of a thing in numbers. `average` is a decimal with three places, as text."""

    model_config = example(
        {
            "resource_type": "product",
            "resource_id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "count": 3,
            "sum": 13,
            "stars": {"1": 0, "2": 0, "3": 0, "4": 2, "5": 1},
            "average": "4.333",
        }
    )

    resource_type: str
    resource_id: str
    count: int
    sum: int
    stars: dict[str, int]
    average: Decimal | None

    @classmethod
    def of(cls, key: Key, numbers: Mapping[int, int]) -> Self:
        count, total = sum(numbers.values()), sum(stars * number for stars, number in numbers.items())
        return cls(
            resource_type=key.resource_type,
            resource_id=key.resource_id,
            count=count,
            sum=total,
            stars={str(stars): number for stars, number in numbers.items()},
            average=(Decimal(total) / count).quantize(PLACES, ROUND_HALF_EVEN) if count else None,
        )

    @property
    def extras(self) -> dict[str, int | Decimal]:
        """The numbers that a list of its reviews carries."""
        numbers: dict[str, int | Decimal] = {"total": self.count, "rating_sum": self.sum}
        return numbers if self.average is None else {**numbers, "average_rating": self.average}
