"""The request and response bodies of analytics."""

from typing import Annotated

from pydantic import Field

from shared.http.schemas import Input, Output, example
from shared.words import pattern

PARAMS_MAX = 25
_NAME = pattern(r"^[A-Za-z][A-Za-z0-9_]{0,39}$", "must be a letter and up to 39 letters, digits and _")

Name = Annotated[str, Field(pattern=_NAME)]
Words = Annotated[str, Field(max_length=100)]
Number = Annotated[int, Field(ge=-(2**53), le=2**53)] | Annotated[float, Field(ge=-1e15, le=1e15)]


class MeasureEvent(Input):
    """Something that you did in an app. It must not say who you are."""

    model_config = example({"name": "search", "params": {"search_term": "laptop", "results": 12}})

    name: Name
    params: Annotated[dict[Name, bool | Number | Words], Field(default_factory=dict, max_length=PARAMS_MAX)]


class MeasuredOut(Output):
    """Whether the event is sent on. It is not sent if measuring is off, or you have not agreed to it."""

    model_config = example({"name": "search", "is_queued": True})

    name: str
    is_queued: bool


class ChangeConsent(Input):
    model_config = example({"is_on": True})

    is_on: bool


class ConsentOut(Output):
    """Whether you agree, and whether anything is measured here at all."""

    model_config = example({"is_on": True, "is_measured": True})

    is_on: bool
    is_measured: bool
