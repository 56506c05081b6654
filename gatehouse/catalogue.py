"""The catalogue of events as Markdown, from the classes and from the code that sends them."""

import ast
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from contracts import events as contracts
from shared.events import Event, Recorded

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 116
HEAD = """\
# Events

The events between services, written by `gatehouse events catalogue`; the classes are in
[`events.py`](events.py). An event is sent if and only if its change commits, at least once, and in order for
each key. The receiver applies it once, in a transaction of its own. A new field has a default and is ignored
by older receivers; a change that an older receiver would misread gets a higher version.
"""


def text() -> str:
    kinds = sorted(_kinds(), key=lambda kind: kind.topic)
    tellers = _tellers()
    rows = [_row(kind, tellers) for kind in kinds]
    summary = ["| topic | sender | receivers |", "|---|---|---|", *rows]
    return "\n".join([HEAD, *summary, *(line for kind in kinds for line in _section(kind))]) + "\n"


def _kinds() -> Iterator[type[Event]]:
    for found in vars(contracts).values():
        if isinstance(found, type) and issubclass(found, Event) and hasattr(found, "topic"):
            yield found


def _tellers() -> dict[str, list[str]]:
    """The services whose code creates such events, by class name; receivers only read them."""
    tellers: dict[str, set[str]] = {}
    for file in (ROOT / "services").glob("*/**/*.py"):
        service = file.relative_to(ROOT / "services").parts[0]
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                tellers.setdefault(node.func.id, set()).add(service)
    return {name: sorted(services) for name, services in tellers.items()}


def _row(kind: type[Event], tellers: dict[str, list[str]]) -> str:
    told = [name for name, one in contracts.SUBSCRIBERS.items() if kind.topic in one.topics]
    by = "every service" if kind is Recorded else ", ".join(tellers.get(kind.__name__, ())) or "nobody yet"
    return f"| `{kind.topic}` | {by} | {', '.join(told) or 'nobody yet'} |"


def _section(kind: type[Event]) -> list[str]:
    fields = kind.model_json_schema()["properties"]
    says = " ".join((kind.__doc__ or "").split())
    holds_back = " A dead one blocks the later ones of its key." if kind.blocks else ""
    said = textwrap.wrap(f"{says} Version {kind.version}, in order per `{kind.key}`.{holds_back}", WIDTH)
    table = [f"| `{name}` | {_type(schema)} |" for name, schema in fields.items()]
    return ["", f"## `{kind.topic}`", "", *said, "", "| field | |", "|---|---|", *table]


def _type(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("format") == "date-time":
        return "time"
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    kind = str(schema.get("type", "anything"))
    names = {"string": "text", "integer": "whole number", "null": "nothing", "boolean": "yes or no"}
    return names.get(kind, kind)
