"""A language model for questions that the grammar does not understand.

It may only fill a `Question`, like the grammar and users: what it returns is parsed and validated, and
anything else does not count as an answer. It is shown the names of the fields, never rows, and none of its
words reach the caller.
"""

import asyncio
import json
from types import TracebackType
from typing import Any, Literal, Protocol, Self

import structlog
from pydantic import ValidationError

from services.inventory.ask.fields import FIELDS, TAG
from services.inventory.ask.query import CALENDAR, OPS, PERIODS, SUMMED, Filter, Question
from services.inventory.settings import Settings
from shared.peers.outbound import Answer, BadAddress, CallFailed, Outbound

SECONDS_MAX = 20.0
ANSWER_BYTES_MAX = 64 * 1024
CONTENT_CHARACTERS_MAX = 8 * 1024
TRIES = 2  # the second one says what was wrong with the first
TOKENS_MAX = 512
PATH = "/v1/chat/completions"
_EXAMPLES = (
    ("how many per mode", {"measures": [{"fn": "count"}], "group_by": ["running_mode"]}),
    ("which are off", {"filters": [{"field": "state", "op": "eq", "value": "STOPPED"}]}),
    ("nobody used these in 90 days", {"filters": [{"field": "days_unused", "op": "ge", "value": 90}]}),
    ("mean user disk per team", {"measures": [{"fn": "avg", "field": "user_gib"}], "group_by": ["tag:team"]}),
    (
        "what did each team cost last month",
        {
            "entity": "costs",
            "measures": [{"fn": "sum", "field": "cost"}],
            "group_by": ["tag:team"],
            "filters": [{"field": "cost_month", "op": "eq", "value": "last_month"}],
        },
    ),
    ("everything", {"filters": [{"field": "presence", "op": "eq", "value": "present"}]}),
)

log = structlog.get_logger(__name__)
State = Literal["off", "ok", "down"]


class Model(Protocol):
    """Anything that turns a question into a query."""

    @property
    def state(self) -> State:
        """Whether there is a model, and whether it responded to the last question."""

    async def question(self, prompt: str) -> Question | None:
        """Return the query that the question asks for; None if there is no valid one."""


class ChatModel:
    """A server with OpenAI's API for chats, for example that of llama.cpp."""

    def __init__(self, settings: Settings) -> None:
        self._url, self._name = settings.model_url, settings.ai_model
        self._key = settings.ai_key
        self._outbound = Outbound(
            settings, "questions", seconds_max=SECONDS_MAX, answer_bytes_max=ANSWER_BYTES_MAX
        )
        self._state: State = "ok" if self._url else "off"
        self._has_schema = True  # some servers refuse `response_format`

    @property
    def state(self) -> State:
        return self._state

    async def question(self, prompt: str) -> Question | None:
        if not self._url:
            return None
        try:
            async with asyncio.timeout(SECONDS_MAX):
                found = await self._question(prompt)
        except (TimeoutError, BadAddress, CallFailed) as error:
            self._state = "down"
            log.warning("model_failed", reason=getattr(error, "reason", type(error).__name__))
            return None
        self._state = "ok"
        return found

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._outbound.close()

    async def _question(self, prompt: str) -> Question | None:
        messages = [_message("system", INSTRUCTIONS), _message("user", prompt)]
        for _ in range(TRIES):
            content = await self._content(messages)
            try:
                return _present_only(Question.model_validate_json(_json_of(content)))
            except ValidationError as error:
                messages += [_message("assistant", content), _message("user", _what_is_wrong(error))]
        log.info("model_gave_no_query")
        return None

    async def _content(self, messages: list[dict[str, str]]) -> str:
        """Return the text that the model wrote."""
        answer = await self._post(messages)
        if answer.status in (400, 422) and self._has_schema:
            self._has_schema = False
            answer = await self._post(messages)
        if not answer.is_success:
            raise CallFailed(f"status_{answer.status}")
        try:
            content = answer.json()["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            raise CallFailed("not_a_chat") from None
        if not isinstance(content, str):
            raise CallFailed("not_a_chat")
        return content[:CONTENT_CHARACTERS_MAX]

    async def _post(self, messages: list[dict[str, str]]) -> Answer:
        body: dict[str, Any] = {"messages": messages, "temperature": 0, "max_tokens": TOKENS_MAX}
        if self._name:
            body["model"] = self._name
        if self._has_schema:
            schema = {"name": "query", "schema": Question.model_json_schema()}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key.get_secret_value()}"
        return await self._outbound.call(
            "POST", self._url + PATH, body=json.dumps(body).encode(), headers=headers
        )


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _json_of(content: str) -> str:
    """Return the JSON object in the text, which models like to wrap in a code block."""
    begin, end = content.find("{"), content.rfind("}")
    return content[begin : end + 1] if 0 <= begin < end else content


def _what_is_wrong(error: ValidationError) -> str:
    faults = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:5]]
    return f"This is not a valid query. {'; '.join(faults)} Return the corrected query only."


def _present_only(question: Question) -> Question:
    """Leave out what AWS no longer lists, unless the query says otherwise. The grammar does the same."""
    if question.entity in SUMMED or any(one.field == "presence" for one in question.filters):
        return question
    present = Filter(field="presence", op="eq", value="present")
    return question.model_copy(update={"filters": [*question.filters, present]})


def _instructions() -> str:
    units = {name: f" in {one.unit}" if one.unit else "" for name, one in FIELDS.items()}
    fields = [
        f"- {name}: {one.words}, {one.kind}{units[name]}; {', '.join(OPS[one.kind])}"
        for name, one in FIELDS.items()
    ]
    examples = [f"{asked} -> {json.dumps(query)}" for asked, query in _EXAMPLES]
    return "\n".join(
        [
            "Translate a question about Amazon WorkSpaces into one JSON query, and return only that.",
            "Without `measures` the query lists WorkSpaces. The only measure of costs is the sum of cost.",
            "The entity advice only has the sums of saving_low and of saving_high, in this order.",
            "The fields, with their operators:",
            *fields,
            f"- {TAG}KEY: the value of a tag, text",
            f"A month is such as 2026-01, or one of {', '.join(PERIODS)}.",
            f"An age is a number of days, or one of {', '.join(CALENDAR)}.",
            "Examples:",
            *examples,
        ]
    )


INSTRUCTIONS = _instructions()
