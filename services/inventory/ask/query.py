"""The query that a question in English is translated into.

It names fields, never columns or SQL, so its author (the grammar, a model or a user) can ask only for what is
defined here.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from services.inventory.ask.fields import Kind, field_of
from shared.http.schemas import Input, example

Name = Annotated[str, StringConstraints(min_length=1, max_length=140)]
Text = Annotated[str, StringConstraints(max_length=300)]
Op = Literal["eq", "ne", "in", "lt", "le", "gt", "ge", "contains", "is_null", "not_null"]
WITHOUT_VALUE = ("is_null", "not_null")
OPS: dict[Kind, tuple[str, ...]] = {
    Kind.TEXT: ("eq", "ne", "in", "contains", *WITHOUT_VALUE),
    Kind.NUMBER: ("eq", "ne", "lt", "le", "gt", "ge", *WITHOUT_VALUE),
    Kind.AGE: ("lt", "le", "gt", "ge", *WITHOUT_VALUE),
    Kind.FLAG: ("eq",),
    Kind.AMOUNT: (),
    Kind.MONTH: ("eq",),
}
# The only amounts that questions about these entities may sum.
SUMMED = {"costs": ("cost",), "advice": ("saving_low", "saving_high")}
LIMIT_MAX = 500
AGE_DAYS_MAX = 100_000
PERIODS = ("this_month", "last_month", "this_year")
MONTH = re.compile(r"20[0-9]{2}-(0[1-9]|1[0-2])")
CALENDAR = ("today", "this_week", "this_month", "this_year")
_WANTED = {
    Kind.TEXT: "text",
    Kind.NUMBER: "a whole number",
    Kind.AGE: f"a whole number of days or one of {', '.join(CALENDAR)}",
    Kind.FLAG: "true or false",
    Kind.AMOUNT: "an amount",
    Kind.MONTH: f"a month such as 2026-01, or one of {', '.join(PERIODS)}",
}


MEASURED: dict[str, tuple[Kind, ...]] = {
    "count": (),
    "distinct": (Kind.TEXT,),
    "sum": (Kind.NUMBER, Kind.AMOUNT),
    "avg": (Kind.NUMBER,),
    "min": (Kind.NUMBER,),
    "max": (Kind.NUMBER,),
}


class Measure(Input):
    """A number to compute: rows, distinct values, or the sum, average, minimum or maximum of a field."""

    model_config = example({"fn": "avg", "field": "user_gib"})

    fn: Literal["count", "distinct", "sum", "avg", "min", "max"]
    field: Name | None = None

    @model_validator(mode="after")
    def _of_a_number(self) -> Self:
        if (self.field is None) != (self.fn == "count"):
            raise ValueError("count takes no field; every other function needs one")
        if self.field is not None and field_of(self.field).kind not in MEASURED[self.fn]:
            raise ValueError(f"{self.fn} of {self.field} has no meaning")
        return self


class Filter(Input):
    """A condition on a field; an age is compared with a number of days or the start of a calendar period."""

    model_config = example({"field": "state", "op": "eq", "value": "STOPPED"})

    field: Name
    op: Op
    value: Text | int | bool | None = None
    values: Annotated[list[Text], Field(min_length=1, max_length=50)] | None = None

    @model_validator(mode="after")
    def _that_fits(self) -> Self:
        kind = field_of(self.field).kind
        if self.op not in OPS[kind]:
            raise ValueError(f"the operators of {self.field} are {', '.join(OPS[kind])}")
        if (self.values is not None) != (self.op == "in"):
            raise ValueError("`values` is required with the operator `in` and not allowed with any other")
        if (self.value is None) != (self.op in (*WITHOUT_VALUE, "in")):
            raise ValueError(f"{self.op} {'has no' if self.value is not None else 'needs a'} value")
        if self.value is not None and not _fits(kind, self.value):
            raise ValueError(f"the value must be {_WANTED[kind]}")
        return self


def _fits(kind: Kind, value: str | int | bool) -> bool:
    if kind is Kind.FLAG:
        return isinstance(value, bool)
    if kind is Kind.TEXT:
        return isinstance(value, str) and "\0" not in value
    if kind is Kind.MONTH:
        return isinstance(value, str) and (value in PERIODS or MONTH.fullmatch(value) is not None)
    if kind is Kind.AGE and isinstance(value, str):
        return value in CALENDAR
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= AGE_DAYS_MAX


class Having(Input):
    """A condition on the number of rows in a group."""

    model_config = example({"op": "gt", "value": 1})

    op: Literal["gt", "ge", "lt", "le", "eq"]
    value: Annotated[int, Field(ge=0, le=1_000_000)]


class Question(Input):
    """A query for rows, or for aggregates over all rows or per group."""

    model_config = example(
        {
            "entity": "workspaces",
            "measures": [{"fn": "count"}],
            "group_by": ["running_mode"],
            "filters": [{"field": "presence", "op": "eq", "value": "present"}],
            "limit": 100,
        }
    )

    entity: Literal["workspaces", "costs", "advice"] = "workspaces"
    measures: Annotated[list[Measure], Field(max_length=3)] = Field(default_factory=list)
    group_by: Annotated[list[Name], Field(max_length=3)] = Field(default_factory=list)
    filters: Annotated[list[Filter], Field(max_length=8)] = Field(default_factory=list)
    having: Having | None = None
    order: Literal["most", "least"] | None = None
    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX)] = 100

    @property
    def named(self) -> list[str]:
        """The fields that the query names anywhere."""
        measured = [one.field for one in self.measures if one.field is not None]
        return [*measured, *self.group_by, *(one.field for one in self.filters)]

    @model_validator(mode="after")
    def _that_fits(self) -> Self:
        for name in self.group_by:
            if field_of(name).kind not in (Kind.TEXT, Kind.FLAG, Kind.MONTH):
                raise ValueError(f"{name} cannot be grouped by")
        for name in self.named:
            if field_of(name).entity not in ("", self.entity):
                raise ValueError(f"{name} is a field of {field_of(name).entity} only")
        wanted = SUMMED.get(self.entity)
        if wanted is not None and tuple(one.field for one in self.measures) != wanted:
            raise ValueError(f"the only measure of {self.entity} is the sum of {' and of '.join(wanted)}")
        if wanted is not None and self.having:
            raise ValueError(f"having counts WorkSpaces, not {self.entity}")
        if (self.group_by or self.having or self.order) and not self.measures:
            raise ValueError("group_by, having and order need a measure")
        if self.having and not self.group_by:
            raise ValueError("having counts the rows of groups, so it needs group_by")
        if len(set(self.group_by)) != len(self.group_by):
            raise ValueError("group_by must name each field once")
        return self
