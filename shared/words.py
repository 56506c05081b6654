"""Messages about invalid values that say what is allowed, instead of pydantic's own."""

import re
from collections.abc import Callable
from typing import Any

from pydantic_core import ErrorDetails

_PATTERNS: dict[str, str] = {}
_MEMBER = re.compile(r"<\w+\.\w+: ('[^']*')>")


def pattern(expression: str, words: str) -> str:
    """Register a plain description of a field's regular expression, and return the expression."""
    _PATTERNS[expression] = words
    return expression


def words_for_pattern(expression: str) -> str | None:
    return _PATTERNS.get(expression)


def words_of(fault: ErrorDetails) -> str:
    """Return a message to be read after the field's name; it has no full stop."""
    kind, context = fault["type"], fault.get("ctx", {})
    if kind == "string_pattern_mismatch":
        expression = str(context.get("pattern", ""))
        return _PATTERNS.get(expression) or f"must match the pattern {expression}"
    if kind in ("too_short", "too_long") and context.get("field_type") == "Value":
        kind = f"string_{kind}"  # a text, after a validator of ours; lists have their own type
    if kind in _FIXED:
        return _FIXED[kind]
    if kind in _MADE:
        return _MADE[kind](context)
    return fault["msg"].removeprefix("Value error, ").removeprefix("Invalid JSON: ")


def _counted(number: Any, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def _one_of(context: dict[str, Any]) -> str:
    # pydantic lists them as: 'a', 'b' or 'c'; members of an enumeration as <Kind.A: 'a'>
    listed = _MEMBER.sub(r"\1", str(context["expected"])).replace("'", "")
    return f"must be {'one of ' if ',' in listed or ' or ' in listed else ''}{listed}"


def _json(context: dict[str, Any]) -> str:
    reason = str(context.get("error", ""))
    if reason == "EOF while parsing a value at line 1 column 0":
        return "is empty"
    return f"is not JSON: {reason}"


_TIME = "must be a time with a time zone, for example 2026-01-31T12:00:00Z"
_DATE = "must be a date, for example 2026-01-31"
_NUMBER = "must be a number, for example 9.99"
_WHOLE = "must be a whole number, for example 3"
_BOOLEAN = "must be true or false"
_OBJECT = 'must be a JSON object, for example {"name": "value"}'
_LIST = "must be a list, for example [1, 2]"
_UUID = "must be a UUID, like every `id` in a response"
_ADDRESS = "must be a URL, for example https://example.com"

_FIXED = {
    "missing": "is required",
    "extra_forbidden": "is not a known field here; leave it out",
    "string_type": 'must be text, for example "text"',
    "string_sub_type": "must be text",
    "string_unicode": "must be text in UTF-8",
    "bytes_type": "must be bytes",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "int_parsing_size": "is too large for a whole number",
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "decimal_type": _NUMBER,
    "decimal_parsing": _NUMBER,
    "finite_number": "must be a number that is neither infinite nor NaN",
    "bool_type": _BOOLEAN,
    "bool_parsing": _BOOLEAN,
    "none_required": "must be null",
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "dict_type": _OBJECT,
    "invalid_key": "keys must be text",
    "list_type": _LIST,
    "tuple_type": _LIST,
    "set_type": _LIST,
    "frozen_set_type": _LIST,
    "iterable_type": _LIST,
    "datetime_type": _TIME,
    "datetime_parsing": _TIME,
    "datetime_from_date_parsing": _TIME,
    "datetime_object_invalid": _TIME,
    "timezone_aware": _TIME,
    "timezone_naive": "must be a time without a time zone, for example 2026-01-31T12:00:00",
    "datetime_past": "must be in the past",
    "datetime_future": "must be in the future",
    "date_type": _DATE,
    "date_parsing": _DATE,
    "date_from_datetime_parsing": _DATE,
    "date_from_datetime_inexact": _DATE,
    "date_past": "must be in the past",
    "date_future": "must be in the future",
    "uuid_type": _UUID,
    "uuid_parsing": _UUID,
    "uuid_version": _UUID,
    "url_type": _ADDRESS,
    "url_parsing": _ADDRESS,
    "recursion_loop": "is nested too deeply",
}
_MADE: dict[str, Callable[[dict[str, Any]], str]] = {
    "json_invalid": _json,
    "enum": _one_of,
    "literal_error": _one_of,
    "string_too_short": lambda of: f"must have at least {_counted(of['min_length'], 'character')}",
    "string_too_long": lambda of: f"must have at most {_counted(of['max_length'], 'character')}",
    "bytes_too_short": lambda of: f"must have at least {_counted(of['min_length'], 'byte')}",
    "bytes_too_long": lambda of: f"must have at most {_counted(of['max_length'], 'byte')}",
    "too_short": lambda of: f"must have at least {_counted(of['min_length'], 'value')}",
    "too_long": lambda of: f"must have at most {_counted(of['max_length'], 'value')}",
    "greater_than": lambda of: f"must be greater than {of['gt']}",
    "greater_than_equal": lambda of: f"must be at least {of['ge']}",
    "less_than": lambda of: f"must be less than {of['lt']}",
    "less_than_equal": lambda of: f"must be at most {of['le']}",
    "multiple_of": lambda of: f"must be a multiple of {of['multiple_of']}",
    "decimal_max_digits": lambda of: f"must have at most {_counted(of['max_digits'], 'digit')}",
    "decimal_max_places": lambda of: f"must have at most {_counted(of['decimal_places'], 'decimal place')}",
    "decimal_whole_digits": lambda of: (
        f"must have at most {_counted(of['whole_digits'], 'digit')} before the decimal point"
    ),
    "url_scheme": lambda of: f"must begin with {of['expected_schemes']}".replace("'", ""),
}
