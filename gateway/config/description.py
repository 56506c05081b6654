"""Descriptions of routes, for `gatehouse routes`, the admin listener and the reload log."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from gateway.routing.header_changes import Changes, SecurityHeaders
from gateway.routing.table import Alias, Route, RouteTable
from gateway.routing.upstreams import Origin

_IN_WORDS: Mapping[type, Callable[[Any], Any]] = {
    Origin: lambda origin: origin.url,
    Changes: Changes.shown,
    SecurityHeaders: lambda headers: list(headers.lines),
}


def shown(value: Any) -> Any:
    """Convert part of the table to JSON values. Every field appears, including those added later."""
    in_words = _IN_WORDS.get(type(value))
    if in_words is not None:
        return in_words(value)
    if is_dataclass(value):
        return {
            field.name: shown(getattr(value, field.name))
            for field in fields(value)
            if not field.name.startswith("_")
        }
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, frozenset):
        return sorted(shown(item) for item in value)
    if isinstance(value, tuple):
        return [shown(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def table_shown(table: RouteTable) -> dict[str, Any]:
    return {
        "version": table.digest[:12],
        "routes": [shown(route) for route in table.routes],
        "aliases": [shown(alias) for alias in table.aliases],
        "cors": shown(table.cors),
    }


def differences(before: RouteTable, after: RouteTable) -> list[str]:
    """Return one line per entry that was added (+) or removed (-) and per key that changed (~)."""
    lines = []
    for kind, old, new in (
        ("route", _by_name(before.routes), _by_name(after.routes)),
        ("alias", _by_name(before.aliases), _by_name(after.aliases)),
        ("cors", {"": shown(before.cors)}, {"": shown(after.cors)}),
    ):
        label = {name: f"{kind} {name}".rstrip() for name in old | new}
        lines += [f"- {label[name]}" for name in old if name not in new]
        lines += [f"+ {label[name]}  {_summary(new[name])}" for name in new if name not in old]
        for name in old:
            if name in new:
                lines += _changes(label[name], _flat(old[name]), _flat(new[name]))
    return lines


def _by_name(entries: tuple[Route, ...] | tuple[Alias, ...]) -> dict[str, dict[str, Any]]:
    return {
        entry.name if isinstance(entry, Route) else entry.path.decode(): shown(entry) for entry in entries
    }


def _summary(entry: Mapping[str, Any]) -> str:
    policy = entry.get("policy", {})
    more = f", auth {policy['auth']}" if "auth" in policy else ""
    leads = entry["to"] if "to" in entry else ", ".join(_addresses(entry["upstream"]))
    return f"{entry['path']} → {leads}{more}"


def _addresses(upstream: Mapping[str, Any]) -> list[str]:
    return [
        share["target"]["origin"] + (f" (weight {share['weight']})" if len(upstream["shares"]) > 1 else "")
        for share in upstream["shares"]
    ]


def _changes(label: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [
        f"~ {label}  {key}: {words(old.get(key))} → {words(new.get(key))}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def _flat(entry: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return the keys of an entry by path; policy keys as they are written in the file."""
    found: dict[str, Any] = {}
    for key, value in entry.items():
        if key == "upstream":  # its other fields are in the policy as well
            found[f"{above}backends"] = _addresses(value)
        elif key == "rate_limits":  # in the file, one limit is a mapping and several are a list
            for place, limit in enumerate(value):
                label = "rate_limit" if len(value) == 1 else f"rate_limit[{place}]"
                found |= _flat(limit, f"{above}{label}.")
        elif key == "claims":
            found |= {f"{above}claims.{each['name']}": each["values"] for each in value}
        elif isinstance(value, Mapping):
            found |= _flat(value, above if key in ("policy", "care") else f"{above}{key}.")
        elif key != "auth_stated":
            found[f"{above}{key}"] = value
    return found


def words(value: Any) -> str:
    if value is None or value in ([], ""):
        return "none"
    if isinstance(value, list):
        return ", ".join(words(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
