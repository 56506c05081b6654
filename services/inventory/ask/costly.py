"""Parser of questions about costs and savings; like the grammar, it refuses those with unused words."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from services.inventory.ask.fields import Kind, field_of
from services.inventory.ask.lexicon import Part, Token
from services.inventory.ask.query import SUMMED

LIMIT = 100
MONTH_DAYS, YEAR_DAYS = 30, 365
_MONTH = re.compile(r"20[0-9]{2}-(0[1-9]|1[0-2])")
_PERIODS = {
    ("counted", MONTH_DAYS): "last_month",
    ("calendar", MONTH_DAYS): "this_month",
    ("calendar", YEAR_DAYS): "this_year",
}
# What a question about costs may contain without another meaning.
_SILENT = frozenset((Part.COST, Part.LIST, Part.MUCH, Part.AND, Part.TAGGED, Part.SAVE))


@dataclass(slots=True)
class _Asked:
    groups: list[str] = field(default_factory=list)
    filters: list[dict[str, Any]] = field(default_factory=list)
    has_noun: bool = False
    order: str | None = None
    limit: int | None = None
    unknown: list[str] = field(default_factory=list)


def is_about_costs(tokens: Sequence[Token]) -> bool:
    """Return whether the question is about costs, or about savings."""
    return any(one.part in (Part.COST, Part.COSTLY, Part.SAVE) for one in tokens)


def question_about_costs(tokens: Sequence[Token]) -> tuple[dict[str, Any], list[str]]:
    """Return the query as JSON, and the words that were not understood."""
    asked, place = _Asked(), 0
    while place < len(tokens):
        taken = _take(asked, tokens[place:])
        if taken == 0:
            asked.unknown.append(tokens[place].text)
        place += max(taken, 1)
    if asked.order is not None and not asked.groups:
        asked.groups.append("workspace_id")
    if "workspace_id" in asked.groups:  # without costs that AWS assigns to no WorkSpace
        asked.filters.append({"field": "workspace_id", "op": "not_null"})
    entity = "advice" if any(one.part is Part.SAVE for one in tokens) else "costs"
    query: dict[str, Any] = {
        "entity": entity,
        "measures": [{"fn": "sum", "field": name} for name in SUMMED[entity]],
        "group_by": [*dict.fromkeys(asked.groups)],
        "filters": asked.filters,
        "limit": asked.limit or LIMIT,
    }
    if asked.order is not None:
        query["order"] = asked.order
    return query, asked.unknown


def _take(asked: _Asked, rest: Sequence[Token]) -> int:
    """Consume the part that begins here; return its number of tokens, 0 if it has no meaning."""
    if rest[0].part in _SILENT:
        return 1
    return _TAKES.get(rest[0].part, _period)(asked, rest)


def _sum(_asked: _Asked, rest: Sequence[Token]) -> int:
    """Consume "total": the sum is the only measure of costs."""
    return int(rest[0].value == "sum")


def _noun(asked: _Asked, _rest: Sequence[Token]) -> int:
    asked.has_noun = True
    return 1


def _top(asked: _Asked, rest: Sequence[Token]) -> int:
    """Consume "most expensive", "top 10"."""
    asked.order = asked.order if rest[0].part is Part.COSTLY and asked.order else rest[0].value
    if len(rest) > 1 and rest[1].part is Part.NUMBER and 0 < rest[1].value <= LIMIT:
        asked.limit = rest[1].value
        return 2
    return 1


def _number(asked: _Asked, rest: Sequence[Token]) -> int:
    """Consume the number in "the 10 most expensive"."""
    if len(rest) > 1 and rest[1].part is Part.COSTLY and 0 < rest[0].value <= LIMIT:
        asked.limit = rest[0].value
        return 1
    return 0


def _by(asked: _Asked, rest: Sequence[Token]) -> int:
    """Consume "by month", "per team and region", "per WorkSpace", "by cost"."""
    if len(rest) > 1 and rest[1].part is Part.COST and asked.order is not None:
        return 2
    taken = 1
    while taken < len(rest):
        here = taken
        while here < len(rest) and rest[here].part in (Part.AND, Part.BY, Part.TAGGED):
            here += 1
        group = _group(rest[here]) if here < len(rest) else None
        if group is None:
            break
        asked.groups.append(group)
        taken = here + 1
    return taken if taken > 1 else 0


def _group(token: Token) -> str | None:
    if token.part is Part.NOUN:
        return "workspace_id"
    if token.part is Part.UNIT and token.value == MONTH_DAYS:
        return "cost_month"
    if token.part is Part.FIELD and field_of(token.value).kind in (Kind.TEXT, Kind.FLAG):
        return str(token.value)
    return None


def _condition(asked: _Asked, rest: Sequence[Token]) -> int:
    name, op, value = rest[0].value
    if op not in ("eq", "in"):
        return 0
    asked.filters.append({"field": name, "op": op, **({"values": value} if op == "in" else {"value": value})})
    return 1


def _field(asked: _Asked, rest: Sequence[Token]) -> int:
    """Consume the field to order by, as in "which users cost the most", or the field of a condition."""
    name = str(rest[0].value)
    behind = rest[1].value[0] if len(rest) > 1 and rest[1].part is Part.CONDITION else ""
    before = asked.filters[-1]["field"] if asked.filters else ""
    if name in (behind, before):
        return 1
    group = _group(rest[0])
    if group is None:
        return 0
    asked.groups.append(group)
    return 1


def _period(asked: _Asked, rest: Sequence[Token]) -> int:
    """Consume "last month", "this year", "2026-09"."""
    month: str | None = None
    taken = 1
    if rest[0].part is Part.UNKNOWN and _MONTH.fullmatch(rest[0].text):
        month = rest[0].text
    elif len(rest) > 1 and rest[0].part is Part.LAST and rest[1].part is Part.UNIT:
        month, taken = _PERIODS.get((rest[0].value, rest[1].value)), 2
    if month is None or any(one["field"] == "cost_month" for one in asked.filters):
        return 0
    asked.filters.append({"field": "cost_month", "op": "eq", "value": month})
    return taken


_TAKES = {
    Part.FN: _sum,
    Part.NOUN: _noun,
    Part.COSTLY: _top,
    Part.TOP: _top,
    Part.NUMBER: _number,
    Part.BY: _by,
    Part.CONDITION: _condition,
    Part.FIELD: _field,
}
