"""Parser of questions: tokens in, a `Question` out.

The functions below consume the tokens from left to right, each as many as belong to its part of the sentence.
If one token is left over, the whole question is not understood: ignoring a word could give a wrong answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from services.inventory.ask.costly import is_about_costs, question_about_costs
from services.inventory.ask.fields import FIELDS, SHOWN, TAG, Kind, field_of
from services.inventory.ask.lexicon import Lexicon, Part, Token
from services.inventory.ask.query import Filter, Having, Measure, Question

LIMIT = 100
SPOKEN_MAX = 500
THIS = {1: "today", 7: "this_week", 30: "this_month", 365: "this_year"}


class NotUnderstood(Exception):
    """Some words have no meaning here; `words` lists them."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = [*words]
        super().__init__(" ".join(words))


@dataclass(slots=True)
class _Slots:
    """What has been understood so far."""

    wants_count: bool = False
    wants_list: bool = False
    has_noun: bool = False
    fn: str | None = None
    fields: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    filters: list[Filter] = field(default_factory=list)
    having: Having | None = None
    order: str | None = None
    limit: int | None = None
    unknown: list[str] = field(default_factory=list)
    is_or: bool = False  # an "or" was read, and its second value is still to come


def understand(text: str, lexicon: Lexicon) -> Question:
    """Parse a question; raises NotUnderstood if a word has no meaning."""
    tokens = [one for one in lexicon.tokens(text[:SPOKEN_MAX]) if one.part is not Part.NOISE]
    if is_about_costs(tokens):
        return _about_costs(tokens)
    slots, place = _Slots(), 0
    while place < len(tokens):
        place += _take(slots, tokens, place)
    if slots.unknown or not tokens:
        raise NotUnderstood(slots.unknown)
    return _question(slots)


def _about_costs(tokens: Sequence[Token]) -> Question:
    query, unknown = question_about_costs(tokens)
    if unknown:
        raise NotUnderstood(unknown)
    try:
        return Question.model_validate(query)
    except ValueError:
        raise NotUnderstood(["(too many parts)"]) from None


def _take(slots: _Slots, tokens: Sequence[Token], place: int) -> int:
    """Consume the part that begins at this token; return its number of tokens."""
    token = tokens[place]
    rest = tokens[place:]
    if token.part in _SIMPLE:
        _SIMPLE[token.part](slots, token)
        return 1
    taken = _LONGER[token.part](slots, rest) if token.part in _LONGER else 0
    if taken == 0:
        slots.unknown.append(token.text)
        return 1
    return taken


def _count(slots: _Slots, _: Token) -> None:
    slots.wants_count = True


def _list(slots: _Slots, _: Token) -> None:
    slots.wants_list = True


def _noun(slots: _Slots, _: Token) -> None:
    slots.has_noun = True


def _fn(slots: _Slots, token: Token) -> None:
    if slots.fn is not None:
        slots.unknown.append(token.text)
    slots.fn = token.value


def _condition(slots: _Slots, rest: Sequence[Token]) -> int:
    """Consume a value: alone, as the second value of an "or", or a state with its duration."""
    name, op, value = rest[0].value
    if slots.is_or:
        slots.is_or = False
        return _join(slots, rest[0])
    _add(slots, name, op, value)
    if name == "state" and op == "eq" and len(rest) > 1:
        return 1 + _time(slots, "days_in_state", "ge", rest[1:])
    return 1


def _join(slots: _Slots, token: Token) -> int:
    """Merge the value after an "or" into the last condition: "stopped or available"."""
    name, op, value = token.value
    last = slots.filters[-1] if slots.filters else None
    if last is None or last.field != name or last.op not in ("eq", "in") or op not in ("eq", "in"):
        return 0
    if isinstance(last.value, bool):
        return 0
    values = [*(last.values or [str(last.value)]), *(value if op == "in" else [value])]
    slots.filters.pop()
    _add(slots, name, "in", [*dict.fromkeys(values)])
    return 1


def _or(slots: _Slots, rest: Sequence[Token]) -> int:
    """Consume an "or" between two values."""
    slots.is_or = len(rest) > 1 and rest[1].part is Part.CONDITION
    return int(slots.is_or)


def _nothing(_slots: _Slots, _token: Token) -> None:
    """Consume a token that needs no slot."""


def _add(slots: _Slots, name: str, op: str, value: Any) -> None:
    given: dict[str, Any] = {"field": name, "op": op}
    if op == "in":
        given["values"] = value
    elif value is not None:
        given["value"] = value
    slots.filters.append(Filter.model_validate(given))


def _field(slots: _Slots, rest: Sequence[Token]) -> int:
    """Consume a field that is asked for, or a tag with its value."""
    name = rest[0].value
    behind = rest[1].value[0] if len(rest) > 1 and rest[1].part is Part.CONDITION else ""
    before = slots.filters[-1].field if slots.filters else ""
    if name in (behind, before) and name not in slots.fields:
        return 1  # "the region us-east-1", "the corp directory": the value is a condition already
    if len(rest) > 1 and rest[1].part is Part.UNKNOWN and name.startswith(TAG):
        _add(slots, name, "eq", rest[1].text)
        return 2
    slots.fields.append(name)
    return 1


def _by(slots: _Slots, rest: Sequence[Token]) -> int:
    """Consume groups: "by X", "by X and Y", "by tag X"."""
    taken = 1
    while taken < len(rest):
        more = taken
        while more < len(rest) and rest[more].part in (Part.AND, Part.BY, Part.TAGGED):
            more += 1
        if more >= len(rest) or rest[more].part is not Part.FIELD:
            break
        slots.groups.append(rest[more].value)
        taken = more + 1
        if taken < len(rest) and rest[taken].part is Part.TAGGED:  # "by team tag"
            taken += 1
    if taken == 1 and len(rest) > 1 and rest[1].part is Part.NOUN:  # "per WorkSpace"
        return 2
    return taken if slots.groups else 0


def _tagged(slots: _Slots, rest: Sequence[Token]) -> int:
    """Consume a tag: "tagged team red", "tagged red", "with the tag team"."""
    if len(rest) < 2:
        return 0
    if rest[1].part is Part.CONDITION and str(rest[1].value[0]).startswith(TAG):
        return 1  # the condition is taken next
    if rest[1].part is not Part.FIELD or not str(rest[1].value).startswith(TAG):
        return 0
    if len(rest) > 2 and rest[2].part is Part.CONDITION and rest[2].value[0] == rest[1].value:
        return 2
    if len(rest) > 2 and rest[2].part in (Part.UNKNOWN, Part.NUMBER):
        _add(slots, rest[1].value, "eq", rest[2].text)
        return 3
    _add(slots, rest[1].value, "not_null", None)
    return 2


def _in_use(slots: _Slots, _: Sequence[Token]) -> int:
    """Consume "in use" after a field, as in "bundles in use"; "WorkSpaces in use" is ambiguous."""
    return int(bool(slots.fields) and not slots.has_noun)


def _without(slots: _Slots, rest: Sequence[Token]) -> int:
    """Consume "without the tag X", "without a bundle"."""
    taken = 1
    while taken < len(rest) and rest[taken].part is Part.TAGGED:
        taken += 1
    if taken >= len(rest) or rest[taken].part is not Part.FIELD:
        return 0
    name = rest[taken].value
    if field_of(name).kind is not Kind.TEXT:
        return 0
    _add(slots, name, "is_null", None)
    behind = taken + 1
    return behind + 1 if behind < len(rest) and rest[behind].part is Part.TAGGED else behind


def _not(slots: _Slots, rest: Sequence[Token]) -> int:
    """Consume a negated equality: "not in the region X", "not stopped"."""
    if len(rest) < 2 or rest[1].part is not Part.CONDITION:
        return 0
    name, op, value = rest[1].value
    opposite = {"eq": "ne"}
    if op not in opposite or isinstance(value, bool):
        return 0
    _add(slots, name, opposite[op], value)
    return 2


def _age(slots: _Slots, rest: Sequence[Token]) -> int:
    """Consume an age: "unused for 30 days", "new this week", "idle for more than a week"."""
    name, op = rest[0].value
    taken = 1
    if taken < len(rest) and rest[taken].part is Part.NOUN:
        slots.has_noun = True
        taken += 1
    of_time = _time(slots, name, op, rest[taken:])
    return taken + of_time if of_time else 0


def _time(slots: _Slots, name: str, op: str, rest: Sequence[Token]) -> int:
    """Consume a time span: "30 days", "more than a week", "in the last month", "this year"."""
    taken, how, number = 0, "", None
    if rest and rest[0].part is Part.LAST:
        taken, how = 1, rest[0].value
        op = "le" if name == "days_in_state" else op  # "stopped in the last week"
    elif rest and rest[0].part is Part.COMPARE and rest[0].value != "eq":
        taken, op = 1, rest[0].value
    if taken < len(rest) and rest[taken].part is Part.NUMBER:
        number = rest[taken].value
        taken += 1
    if taken >= len(rest) or rest[taken].part is not Part.UNIT or not rest[taken].value:
        return 0
    days = rest[taken].value
    # "This 3 weeks" is meaningless; "last month" may be a calendar month or the last 30 days.
    if (how == "calendar") is (number is not None) and how in ("calendar", "counted"):
        return 0
    since: int | str = (1 if number is None else number) * days
    _add(slots, name, op, THIS[days] if how == "calendar" else since)
    return taken + 1


def _compare(slots: _Slots, rest: Sequence[Token]) -> int:
    """Consume "more than 80 GiB of user volume", "more than 3 WorkSpaces"."""
    if len(rest) < 3 or rest[1].part is not Part.NUMBER:
        return 0
    op, number = rest[0].value, rest[1].value
    if rest[2].part is Part.NOUN and op != "ne":
        slots.having = Having(op=op, value=number)
        slots.has_noun = True
        return 3
    taken = 3 if rest[2].part is Part.UNIT and rest[2].value == 0 else 2
    if taken < len(rest) and rest[taken].part is Part.FIELD:
        name = rest[taken].value
        if field_of(name).kind is Kind.NUMBER:
            _add(slots, name, op, number)
            return taken + 1
        return 0
    if taken == 3 and slots.fields and field_of(slots.fields[-1]).kind is Kind.NUMBER:
        _add(slots, slots.fields.pop(), op, number)  # "a user volume over 80 GB"
        return taken
    return 0


def _many(slots: _Slots, rest: Sequence[Token]) -> int:
    """Consume "more than one WorkSpace"."""
    if len(rest) > 1 and rest[1].part is Part.NOUN:
        slots.having = Having(op="gt", value=rest[0].value)
        slots.has_noun = True
        return 2
    return 0


def _top(slots: _Slots, rest: Sequence[Token]) -> int:
    """Consume "top 10 users", "users with the most WorkSpaces"."""
    slots.order = rest[0].value
    if len(rest) > 1 and rest[1].part is Part.NUMBER and 0 < rest[1].value <= LIMIT:
        slots.limit = rest[1].value
        return 2
    return 1


def _number(slots: _Slots, rest: Sequence[Token]) -> int:
    """Consume the number of "5 users": a limit before the field that is ordered."""
    if len(rest) > 1 and rest[1].part is Part.FIELD and slots.limit is None and 0 < rest[0].value <= LIMIT:
        slots.limit = rest[0].value
        slots.order = slots.order or "most"
        return 1
    return 0


_SIMPLE = {
    Part.COUNT: _count,
    Part.LIST: _list,
    Part.NOUN: _noun,
    Part.FN: _fn,
    Part.AND: _nothing,
}
_LONGER = {
    Part.FIELD: _field,
    Part.CONDITION: _condition,
    Part.OR: _or,
    Part.BY: _by,
    Part.TAGGED: _tagged,
    Part.IN_USE: _in_use,
    Part.WITHOUT: _without,
    Part.NOT: _not,
    Part.AGE: _age,
    Part.COMPARE: _compare,
    Part.MANY: _many,
    Part.TOP: _top,
    Part.NUMBER: _number,
}


def _question(slots: _Slots) -> Question:
    """Build the question from the slots; raises NotUnderstood if they make none."""
    measures, groups = _asked_for(slots)
    if not any(one.field == "presence" for one in slots.filters):
        _add(slots, "presence", "eq", "present")
    _refuse_contradictions(slots)
    if slots.order is not None and not measures:
        raise NotUnderstood(["top"])
    try:
        return Question.model_validate(
            {
                "measures": measures,
                "group_by": groups,
                "filters": slots.filters,
                "having": slots.having,
                "order": slots.order or ("most" if slots.having else None),
                "limit": slots.limit or LIMIT,
            }
        )
    except ValueError:
        raise NotUnderstood(["(too many parts)"]) from None


def _asked_for(slots: _Slots) -> tuple[list[Measure], list[str]]:
    """Return the measures and groups; both are empty if the question asks for rows."""
    numbers = [one for one in slots.fields if field_of(one).kind is Kind.NUMBER]
    texts = [one for one in slots.fields if one not in numbers]
    if slots.fn is not None and (numbers or slots.fn != "sum"):
        return _worked_out(slots.fn, numbers), [*dict.fromkeys([*slots.groups, *texts])]
    if numbers:
        raise NotUnderstood([FIELDS[numbers[0]].words])
    if slots.having is not None or slots.order is not None:
        groups = [*dict.fromkeys([*texts, *slots.groups])]
        if not groups:
            raise NotUnderstood(["more than" if slots.having else "most"])
        return [Measure(fn="count")], groups
    return _counted(slots, texts)


def _counted(slots: _Slots, texts: Sequence[str]) -> tuple[list[Measure], list[str]]:
    if slots.wants_count and len(texts) == 1 and not slots.has_noun and not slots.groups:  # "how many users"
        return [Measure(fn="distinct", field=texts[0])], []
    is_of_groups = slots.groups or (texts and not slots.has_noun and not slots.filters)
    if slots.fn == "sum" or slots.wants_count or is_of_groups:
        return [Measure(fn="count")], [*dict.fromkeys([*slots.groups, *texts])]
    if not (slots.has_noun or slots.filters):
        raise NotUnderstood(["(nothing is asked)"])
    hidden = [FIELDS[one].words if one in FIELDS else one for one in texts if one not in SHOWN]
    if hidden:
        raise NotUnderstood(hidden)
    return [], []


def _worked_out(fn: str, numbers: Sequence[str]) -> list[Measure]:
    if len(numbers) != 1:
        raise NotUnderstood([fn])
    return [Measure.model_validate({"fn": fn, "field": numbers[0]})]


def _refuse_contradictions(slots: _Slots) -> None:
    """Refuse two different values for one field, which no row can match."""
    seen: dict[str, Any] = {}
    for one in slots.filters:
        if one.op == "eq" and seen.setdefault(one.field, one.value) != one.value:
            raise NotUnderstood([str(seen[one.field]), str(one.value)])
