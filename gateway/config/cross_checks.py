"""Conflicts between entries of a routes file that are valid on their own."""

from collections.abc import Mapping, Sequence

from gateway.config.yaml_values import Value
from gateway.routing.path_tree import Places, shape
from gateway.routing.table import OWN, Alias, Policy, Route


def check_policy(keys: Mapping[str, Value], policy: Policy) -> None:
    """Report contradictions within one route."""
    for key in ("api_keys", "roles", "scopes", "claims"):
        if policy.auth == "none" and "auth" in keys and key in keys:
            keys[key].fault("has no effect with `auth: none`, which lets everyone in")
    if policy.auth == "none":
        for key, counted in (("rate_limit", policy.rate_limits), ("concurrency", (policy.concurrency,))):
            if key in keys and any(each is not None and _knows_caller(each.key) for each in counted):
                keys[key].warn("counts by address, since `auth: none` identifies no callers; use `key: ip`")
    if policy.timeouts.connect > policy.timeouts.first_byte and "timeout" in keys:
        keys["timeout"].warn("`connect` is longer than `first_byte`")
    if "*" in policy.cors.origins and "cors" in keys:
        keys["cors"].warn("lets pages of every origin read the responses")


def _knows_caller(key: str) -> bool:
    return not {"user", "client"}.isdisjoint(key.split("+"))


def check_places(entries: Sequence[tuple[Value, Route | Alias]]) -> None:
    """Report entries that can never match, and the entries that shadow them."""
    taken: dict[tuple[str, bytes, bool], list[tuple[Value, Route | Alias]]] = {}
    for value, entry in entries:
        if any(path in OWN for path in _from_the_top(entry.path)):
            value.fault(f"cannot be reached: {entry.path.decode()} already belongs to the gateway itself")
            continue
        for place in _places_of(entry):
            rivals = taken.setdefault(place, [])
            for holder, rival in rivals:
                methods = _shared_methods(entry, rival)
                if methods is not None:
                    _report_rival(value, entry, (holder, rival), place[0], methods)
                    break
            rivals.append((value, entry))


def _places_of(entry: Route | Alias) -> list[tuple[str, bytes, bool]]:
    if isinstance(entry, Alias):
        return [("", entry.path, False)]
    return [(host, shape(entry.path), entry.exact) for host in entry.hosts or ("",)]


def _shared_methods(one: Route | Alias, other: Route | Alias) -> frozenset[bytes] | None:
    """Return the methods for which two entries of a path conflict: empty for all, None for no conflict."""
    if isinstance(one, Alias) or isinstance(other, Alias) or one.policy.methods == other.policy.methods:
        return frozenset()
    shared = one.policy.methods & other.policy.methods
    return frozenset() if shared == one.policy.methods else shared or None


def _report_rival(
    value: Value,
    entry: Route | Alias,
    rival: tuple[Value, Route | Alias],
    host: str,
    methods: frozenset[bytes],
) -> None:
    holder, winner = rival
    called = f" ({winner.name})" if isinstance(winner, Route) else ""
    verbs = f" for {', '.join(sorted(method.decode() for method in methods))}" if methods else ""
    place = f"{host}{entry.path.decode()}"
    value.fault(f"cannot be reached{verbs}: {place} already belongs to {holder.where}{called}")


def _from_the_top(path: bytes) -> list[bytes]:
    parts = path.split(b"/")
    return [b"/".join(parts[:length]) for length in range(2, len(parts) + 1)]


def check_names(routes: Sequence[tuple[Value, Route]]) -> None:
    taken: dict[str, str] = {}
    for value, route in routes:
        holder = taken.setdefault(route.name, value.where)
        if holder != value.where and not _same_place(routes, value, holder):
            value.fault(f"the name {route.name!r} already belongs to {holder}; use another `name:`")


def _same_place(routes: Sequence[tuple[Value, Route]], value: Value, holder: str) -> bool:
    """Whether two routes have the same path, which has been reported already."""
    places = {each.where: set(_places_of(route)) for each, route in routes}
    return not places[value.where].isdisjoint(places[holder])


def check_aliases(aliases: Sequence[tuple[Value, Alias]], paths: Sequence[bytes]) -> None:
    known: Places[bytes] = Places()
    for path in (*paths, *OWN):
        known.add(path, path)
    for value, alias in aliases:
        below = alias.to.rstrip(b"/") + b"/"
        if known.find(alias.to) is None and not any(path.startswith(below) for path in (*paths, *OWN)):
            value.fault(f"leads nowhere: no route begins with {alias.to.decode()}")
        if alias.path in (alias.to, b"/"):
            value.fault("must replace a path other than / with a different path")
