"""Repeats a question in English, generated from the query rather than from the user's words."""

from services.inventory.ask.fields import Kind, field_of
from services.inventory.ask.query import CALENDAR, PERIODS, SUMMED, Filter, Measure, Question

_OPS = {
    "eq": "is",
    "ne": "is not",
    "in": "is one of",
    "lt": "is less than",
    "le": "is at most",
    "gt": "is more than",
    "ge": "is at least",
    "contains": "contains",
}
_HAVING = {"gt": "more than", "ge": "at least", "lt": "fewer than", "le": "at most", "eq": "exactly"}
_MOMENTS = {
    "days_unused": "last used",
    "last_connection": "last connected to",
    "days_known": "first seen",
    "days_in_state": "in its state",
}
_FNS = {"sum": "sum", "avg": "average", "min": "smallest", "max": "largest"}


def said(question: Question, zone: str = "UTC") -> str:
    """Return one sentence without a full stop; it names the zone if days of it were counted."""
    if question.entity in SUMMED:
        return _said_of_costs(question)
    measures = " and ".join(_measure(one) for one in question.measures)
    of_whom = "WorkSpaces"
    present = [one for one in question.filters if one.field == "presence"]
    if present and present[0].op == "eq":
        of_whom = "WorkSpaces that are gone" if present[0].value == "gone" else "WorkSpaces"
    parts = [f"{measures} of {of_whom}" if measures else f"List of {of_whom}"]
    conditions = [_condition(one) for one in question.filters if one not in present[:1]]
    if conditions:
        parts.append(f"where {' and '.join(conditions)}")
    if question.group_by:
        parts.append(f"by {' and '.join(field_of(one).words for one in question.group_by)}")
    if question.having is not None:
        parts.append(f"that have {_HAVING[question.having.op]} {question.having.value}")
    if question.order is not None:
        parts.append("most first" if question.order == "most" else "fewest first")
    parts.append(f"at most {question.limit}")
    if zone != "UTC" and any(one.value in CALENDAR for one in question.filters):
        parts.append(f"with days of {zone}")
    return ", ".join(parts)


def _said_of_costs(question: Question) -> str:
    parts = ["Sum of costs" if question.entity == "costs" else "Known savings per month by open advice"]
    if question.filters:
        parts.append(f"where {' and '.join(_condition(one) for one in question.filters)}")
    if question.group_by:
        parts.append(f"by {' and '.join(field_of(one).words for one in question.group_by)}")
    if question.order is not None:
        parts.append("most first" if question.order == "most" else "least first")
    return ", ".join([*parts, f"at most {question.limit}"])


def _measure(one: Measure) -> str:
    if one.field is None:
        return "Number"
    if one.fn == "distinct":
        return f"Number of distinct values of {field_of(one.field).words}"
    return f"{_FNS[one.fn]} {field_of(one.field).words}".capitalize()


def _condition(one: Filter) -> str:
    field = field_of(one.field)
    if one.op in ("is_null", "not_null"):
        article = "an" if field.words.startswith(tuple("aeiou")) else "a"
        return f"there is {'no' if one.op == 'is_null' else article} {field.words}"
    if field.kind is Kind.FLAG:
        return field.words if one.value else f"not {field.words}"
    if field.kind is Kind.MONTH:
        period = str(one.value).replace("_", " ")
        return f"{field.words} is {period}" if one.value not in PERIODS else f"the time is {period}"
    if one.value in CALENDAR:
        since = "since" if one.op in ("le", "lt") else "before"
        begin = str(one.value).replace("_", " ")
        return f"{_MOMENTS.get(one.field, field.words)} {since} the beginning of {begin}"
    value = " or ".join(one.values or []) if one.op == "in" else one.value
    return f"{field.words} {_OPS[one.op]} {value}{' ' + field.unit if field.unit else ''}"
