"""The types of settings. A value is text; its type says how it is to be read."""

import math
import re
from collections.abc import Callable, Mapping
from enum import StrEnum

from pydantic_core import from_json

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)
NUMBER_CHARACTERS_MAX = 100


class Kind(StrEnum):
    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"
    JSON = "json"


def fault_of(kind: Kind, value: str) -> str | None:
    """Return what is wrong with a value of this type, to be read after the field's name."""
    return _CHECKS[kind](value)


def _number(value: str) -> str | None:
    is_number = len(value) <= NUMBER_CHARACTERS_MAX and _NUMBER.fullmatch(value)
    if not is_number or not math.isfinite(float(value)):
        return "must be a number as JSON writes it, for example 9.99"
    return None


def _boolean(value: str) -> str | None:
    return None if value in ("true", "false") else "must be true or false"


def _json(value: str) -> str | None:
    try:
        from_json(value, allow_inf_nan=False)
    except ValueError as error:
        return f"is not JSON: {error}"
    return None


_CHECKS: Mapping[Kind, Callable[[str], str | None]] = {
    Kind.STRING: lambda _: None,
    Kind.NUMBER: _number,
    Kind.BOOLEAN: _boolean,
    Kind.JSON: _json,
}
