"""Numbers about a whole list, sent with one page of it."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from starlette.applications import Starlette

from shared.data.database import Database
from shared.http.operations import Operation
from shared.http.schemas import Output, Page, Query, extras_header
from shared.identity.tokens import public
from shared.peers.client import HttpClient
from shared.service import create_service
from shared.testing import running
from tests.shared.work.app import Settings
from tests.shared.work.test_documentation import example


class ReviewOut(Output):
    stars: int


class ListReviews(Query):
    is_counted: bool = False


async def test_example_of_pages_sends_its_numbers_in_a_header(make_settings: Callable[..., Any]) -> None:
    names: dict[str, Any] = {"Decimal": Decimal, "Operation": Operation, "Page": Page, "public": public}
    names |= {
        "ListReviews": ListReviews,
        "ReviewOut": ReviewOut,
        "count_reviews": lambda: (120, Decimal("4.250")),
    }
    names |= {"newest_reviews": lambda: [ReviewOut(stars=5)]}
    exec(example("pages.md"), names)

    def create_app(settings: Settings) -> Starlette:
        database = Database(settings.database_url)
        return create_service(settings, names["OPERATIONS"], client=HttpClient(), database=database)

    async with running(create_app, make_settings(Settings)) as client:
        plain, counted = await client.get("/reviews"), await client.get("/reviews?is_counted=true")
        document = (await client.get("/openapi.json")).json()

    assert plain.json() == counted.json() == [{"stars": 5}]
    assert "page-extras" not in plain.headers
    assert counted.headers["page-extras"] == "total=120, average=4.250"
    headers = document["paths"]["/reviews"]["get"]["responses"]["200"]["headers"]
    assert headers.keys() == {"ETag", "Link", "Page-Extras"}


@pytest.mark.parametrize(
    "extras",
    [
        {"total": 10**15},
        {"average": Decimal("1.2345")},
        {"average": Decimal("NaN")},
        {"Total": 1},
        {"": 1},
        {"a=1, b": 1},
        {"a\r\nSet-Cookie: x": 1},
        {"x" * 41: 1},
    ],
)
def test_extras_that_the_header_cannot_hold_raise_a_value_error(extras: dict[str, int | Decimal]) -> None:
    with pytest.raises(ValueError, match="cannot be sent in Page-Extras"):
        extras_header(extras)


def test_numbers_are_sent_with_all_their_digits() -> None:
    extras: dict[str, int | Decimal] = {
        "total": 0,
        "low": -7,
        "share": Decimal("0.10"),
        "many": Decimal("1E+3"),
    }

    assert extras_header(extras) == "total=0, low=-7, share=0.10, many=1000"
    assert json.loads(Page[ReviewOut](items=[]).model_dump_json())["extras"] == {}
