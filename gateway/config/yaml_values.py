"""Reads YAML so that all faults are reported at once, with line and column."""

import os
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, NamedTuple, TypeVar

import yaml

T = TypeVar("T")
Severity = Literal["error", "warning"]

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_VARIABLE_BODY = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(:-(.*))?", re.DOTALL)
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_DURATION_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_DIGITS_MAX = 18
SIZE = re.compile(r"(\d+)\s*(B|KB|MB|GB|KiB|MiB|GiB)?")
_SIZE_BYTES = {
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
}
RATE = re.compile(r"(\d+)\s*/\s*(\d*)(s|m|h)")


class Fault(Exception):
    """One fault at one position."""


class Finding(NamedTuple):
    """One finding in a file; line and column count from 1, and 0 means the whole file."""

    line: int
    column: int
    where: str
    message: str
    severity: Severity

    def as_text(self, file: str) -> str:
        place = f"{file}:{self.line}:{self.column}" if self.line else file
        warning = "warning: " if self.severity == "warning" else ""
        return f"{place} {self.where}: {warning}{self.message}" if self.where else f"{place} {self.message}"


class Faults:
    """The errors and warnings of one file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._found: list[Finding] = []

    def add(self, mark: yaml.Mark | None, where: str, message: str, severity: Severity = "error") -> None:
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        self._found.append(Finding(line, column, where, message, severity))

    @property
    def findings(self) -> list[Finding]:
        """Errors and warnings, from the top of the file to its end."""
        return sorted(self._found)

    def in_order(self) -> list[str]:
        """Return one line per error, from the top of the file to its end."""
        return [found.as_text(self.file) for found in self.findings if found.severity == "error"]


@dataclass(frozen=True, slots=True)
class Value:
    """A node of the file and its path."""

    node: yaml.Node
    where: str
    faults: Faults

    def fault(self, message: str) -> None:
        self.faults.add(self.node.start_mark, self.where, message)

    def warn(self, message: str) -> None:
        self.faults.add(self.node.start_mark, self.where, message, "warning")

    def read(self, reader: Callable[["Value"], T], default: T) -> T:
        """Apply the reader to this node; on a fault, record it and return the default."""
        try:
            return reader(self)
        except Fault as fault:
            self.fault(str(fault))
            return default

    def mapping(self, keys: Collection[str]) -> dict[str, "Value"]:
        if not isinstance(self.node, yaml.MappingNode):
            raise Fault(f"must be a mapping with some of: {', '.join(keys)}")
        found: dict[str, Value] = {}
        for key, node in self.node.value:
            name = str(key.value)
            value = Value(node, f"{self.where}.{name}" if self.where else name, self.faults)
            if name not in keys:
                self.faults.add(key.start_mark, value.where, f"unknown key{suggestion(name, keys)}")
            elif name in found:
                self.faults.add(key.start_mark, value.where, "given twice")
            else:
                found[name] = value
        return found

    def pairs(self) -> Iterator[tuple[str, "Value"]]:
        """Yield the entries of a mapping with arbitrary keys."""
        if not isinstance(self.node, yaml.MappingNode):
            raise Fault("must be a mapping")
        seen = set()
        for key, node in self.node.value:
            name = str(key.value)
            value = Value(node, f"{self.where}.{name}", self.faults)
            if name.lower() in seen:
                self.faults.add(key.start_mark, value.where, "given twice")
            else:
                seen.add(name.lower())
                yield name, value

    def items(self) -> Iterator["Value"]:
        if not isinstance(self.node, yaml.SequenceNode):
            raise Fault("must be a list")
        for index, node in enumerate(self.node.value):
            yield Value(node, f"{self.where}[{index}]", self.faults)

    def text(self) -> str:
        """Return the scalar as written, with `${NAME}` and `${NAME:-default}` replaced."""
        if not isinstance(self.node, yaml.ScalarNode):
            raise Fault("must be a single value")
        if self.node.tag == "tag:yaml.org,2002:null":
            raise Fault("has no value")
        return _VARIABLE.sub(_from_environment, self.node.value)

    def texts(self) -> tuple[str, ...]:
        return tuple(item.read(Value.text, "") for item in self.items())

    def choice(self, options: Collection[str]) -> str:
        text = self.text()
        if text not in options:
            raise Fault(f"must be one of {', '.join(options)}, not {text!r}{suggestion(text, options)}")
        return text

    def boolean(self) -> bool:
        return self.choice(("true", "false")) == "true"

    def plain(self) -> str | int | bool:
        """Return a string, a whole number or a boolean, as YAML distinguishes them."""
        text = self.text()
        if self.node.tag == "tag:yaml.org,2002:bool":
            return self.boolean()
        number = _number(text) if self.node.tag == "tag:yaml.org,2002:int" else None
        if number is None and self.node.tag != "tag:yaml.org,2002:str":
            raise Fault(f"must be a string, a whole number, true or false, not {text!r}; quote strings")
        return text if number is None else number

    @property
    def is_text(self) -> bool:
        return isinstance(self.node, yaml.ScalarNode)

    @property
    def is_list(self) -> bool:
        return isinstance(self.node, yaml.SequenceNode)

    @property
    def is_off(self) -> bool:
        return self.is_text and self.text() == "off"

    def whole(self) -> int:
        number = _number(self.text())
        if not number:
            raise Fault(f"must be a whole number above 0, not {self.text()!r}")
        return number

    def count(self) -> int:
        number = _number(self.text())
        if number is None:
            raise Fault(f"must be a whole number, not {self.text()!r}")
        return number

    def percent(self) -> float:
        """Return a fraction between 0 and 1."""
        match = PERCENT.fullmatch(self.text())
        if match is None or float(match[1]) > 100:
            raise Fault(f"must be a percentage such as 5% or 0.5%, at most 100%, not {self.text()!r}")
        return float(match[1]) / 100

    def duration(self) -> float:
        """Return a duration in seconds."""
        seconds = _seconds(self.text())
        if not seconds:
            raise Fault(f"must be a time such as 250ms, 2s or 1m, not {self.text()!r}")
        return seconds

    def durations(self) -> tuple[float, float]:
        """Return the shortest and the longest duration of a range, in seconds."""
        shortest, dots, longest = (part.strip() for part in self.text().partition(".."))
        first, last = _seconds(shortest), _seconds(longest if dots else shortest)
        if not first or not last or first > last:
            raise Fault(f"must be a range of times such as 25ms..250ms, not {self.text()!r}")
        return first, last

    def size(self) -> int:
        """Return a size in bytes."""
        match = SIZE.fullmatch(self.text())
        if match is None:
            raise Fault(f"must be a size such as 64KiB or 10MiB, not {self.text()!r}")
        return int(match[1]) * _SIZE_BYTES[match[2] or "B"]

    def rate(self) -> tuple[int, float]:
        """Return a count, and the number of seconds that it applies to."""
        match = RATE.fullmatch(self.text())
        if match is None or int(match[1]) == 0 or match[2] == "0":
            raise Fault(f"must be a rate such as 100/s or 20/m, not {self.text()!r}")
        return int(match[1]), int(match[2] or 1) * _DURATION_SECONDS[match[3]]


def compose(text: str, faults: Faults) -> Value | None:
    """Return the root of the document, or None if it is not YAML."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        faults.add(error.problem_mark, "", f"is not valid YAML: {error.problem}")
        return None
    except yaml.YAMLError as error:
        faults.add(None, "", f"is not valid YAML: {error}")
        return None
    except RecursionError:
        faults.add(None, "", "is nested too deeply")
        return None
    if node is None:
        faults.add(None, "", "is empty")
        return None
    return Value(node, "", faults)


def field(keys: dict[str, Value], key: str, reader: Callable[[Value], T], default: T) -> T:
    """Return the value of one key; the default if it is missing or invalid."""
    return keys[key].read(reader, default) if key in keys else default


def suggestion(name: str, known: Collection[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX else None


def _seconds(text: str) -> float:
    match = DURATION.fullmatch(text)
    return float(match[1]) * _DURATION_SECONDS[match[2]] if match else 0.0


def _from_environment(match: re.Match[str]) -> str:
    body = _VARIABLE_BODY.fullmatch(match[1])
    if body is None:
        raise Fault(f"{match[0]!r} is not of the form ${{NAME}} or ${{NAME:-default}}")
    value = os.environ.get(body[1]) or body[3]
    if value is None:
        raise Fault(
            f"the environment variable {body[1]} is not set, and there is no default (${{{body[1]}:-…}})"
        )
    return value
