"""Request and response schemas of questions in English."""

from typing import Annotated, Any, Literal

from pydantic import Field

from services.inventory.ask.query import Question
from shared.http.schemas import Input, Output, Text, example
from shared.words import pattern

Zone = Annotated[
    str,
    Field(
        pattern=pattern(r"^[A-Za-z0-9_+/-]{1,50}$", "must be a time zone such as Europe/Berlin"),
        description="Where days, weeks, months and years begin, except those of costs and hours.",
    ),
]


class AskQuestion(Input):
    """A question in English. `temperature` and `max_tokens` are accepted and ignored."""

    model_config = example({"prompt": "Which WorkSpaces have not been used in 30 days?"})

    prompt: Annotated[Text, Field(max_length=500)]
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.1
    max_tokens: Annotated[int, Field(ge=1, le=8192)] = 512
    timezone: Zone = "UTC"


class RunQuestion(Input):
    """The `query` of an answer, edited or not."""

    model_config = example({"query": {"measures": [{"fn": "count"}], "group_by": ["region"]}})

    query: Question
    timezone: Zone = "UTC"


class ColumnOut(Output):
    model_config = example({"name": "avg_user_gib", "unit": "GiB"})

    name: str
    unit: str


class AnswerOut(Output):
    """The answer, with the question as it was understood and as a query that can be edited and run again."""

    model_config = example(
        {
            "answer": "2 groups.",
            "understood": "Number of WorkSpaces, by running mode, at most 100",
            "query": {"measures": [{"fn": "count"}], "group_by": ["running_mode"], "limit": 100},
            "columns": [{"name": "running_mode", "unit": ""}, {"name": "count", "unit": ""}],
            "rows": [["ALWAYS_ON", 12], ["AUTO_STOP", 288]],
            "total": 2,
            "truncated": False,
            "by": "grammar",
            "ms": 3,
        }
    )

    answer: str
    understood: str
    query: dict[str, Any]
    columns: list[ColumnOut]
    rows: list[list[Any]]
    total: int
    truncated: bool
    by: Literal["grammar", "model", "query"]
    ms: int


class AskHealthOut(Output):
    """What parses questions; `model` is `down` if it did not respond to the last question."""

    model_config = example({"status": "healthy", "grammar": "ok", "model": "off"})

    status: Literal["healthy"]
    grammar: Literal["ok"]
    model: Literal["off", "ok", "down"]


class ExamplesOut(Output):
    model_config = example({"examples": ["How many WorkSpaces do we have?"]})

    examples: list[str]
