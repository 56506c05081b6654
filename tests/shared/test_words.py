"""Messages about invalid values say what is allowed, never in pydantic's own words."""

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import AwareDatetime, BaseModel, Field, HttpUrl, TypeAdapter, ValidationError

from shared.http.schemas import Text
from shared.words import pattern, words_of


class Size(StrEnum):
    SMALL = "small"
    LARGE = "large"


class Thing(BaseModel):
    name: str


PLATE = pattern(r"^[A-Z]{1,3}-\d+$", "must be letters, a hyphen and digits, for example AB-12")


def words(kind: Any, value: Any, *, strict: bool = False) -> str:
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(kind).validate_python(value, strict=strict)
    return words_of(raised.value.errors()[0])


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (str, 3, 'must be text, for example "text"'),
        (Annotated[str, Field(min_length=8)], "short", "must have at least 8 characters"),
        (Annotated[str, Field(min_length=1)], "", "must have at least 1 character"),
        (Annotated[str, Field(max_length=2)], "long", "must have at most 2 characters"),
        (
            Annotated[str, Field(pattern=PLATE)],
            "x",
            "must be letters, a hyphen and digits, for example AB-12",
        ),
        (Annotated[str, Field(pattern="^z$")], "x", "must match the pattern ^z$"),
        (int, "three", "must be a whole number, for example 3"),
        (int, 1.5, "must be a whole number, for example 3"),
        (float, "x", "must be a number, for example 9.99"),
        (Decimal, "x", "must be a number, for example 9.99"),
        (bool, "maybe", "must be true or false"),
        (Annotated[int, Field(ge=1)], 0, "must be at least 1"),
        (Annotated[int, Field(gt=1)], 1, "must be greater than 1"),
        (Annotated[int, Field(le=9)], 10, "must be at most 9"),
        (Annotated[int, Field(lt=9)], 9, "must be less than 9"),
        (Annotated[int, Field(multiple_of=5)], 9, "must be a multiple of 5"),
        (Annotated[Decimal, Field(decimal_places=2)], Decimal("1.234"), "must have at most 2 decimal places"),
        (Annotated[Decimal, Field(max_digits=2)], Decimal(123), "must have at most 2 digits"),
        (Size, "huge", "must be one of small or large"),
        (Literal["json"], "csv", "must be json"),
        (Literal[Size.SMALL, Size.LARGE], "huge", "must be one of small or large"),
        (list[int], 3, "must be a list, for example [1, 2]"),
        (Annotated[list[int], Field(max_length=1)], [1, 2], "must have at most 1 value"),
        (Annotated[Text, Field(max_length=3)], "long", "must have at most 3 characters"),
        (Annotated[Text, Field(min_length=3)], "so", "must have at least 3 characters"),
        (dict[str, int], 3, 'must be a JSON object, for example {"name": "value"}'),
        (Thing, 3, 'must be a JSON object, for example {"name": "value"}'),
        (Thing, {}, "is required"),
        (datetime, "soon", "must be a time with a time zone, for example 2026-01-31T12:00:00Z"),
        (
            AwareDatetime,
            "2026-01-31T12:00:00",
            "must be a time with a time zone, for example 2026-01-31T12:00:00Z",
        ),
        (date, "soon", "must be a date, for example 2026-01-31"),
        (UUID, "x", "must be a UUID, like every `id` in a response"),
        (HttpUrl, "x", "must be a URL, for example https://example.com"),
    ],
)
def test_fault_is_described_in_plain_words(kind: Any, value: Any, said: str) -> None:
    assert words(kind, value) == said


def test_body_that_is_not_json_is_reported_with_the_position() -> None:
    with pytest.raises(ValidationError) as raised:
        Thing.model_validate_json("{oops")
    assert words_of(raised.value.errors()[0]).startswith("is not JSON: ")
    with pytest.raises(ValidationError) as raised:
        Thing.model_validate_json("")
    assert words_of(raised.value.errors()[0]) == "is empty"


def test_messages_of_our_own_are_kept() -> None:
    class Careful(BaseModel):
        name: str

        def model_post_init(self, _: object) -> None:
            raise ValueError("must be chosen with care")

    assert words(Careful, {"name": "x"}) == "must be chosen with care"
