"""The keys of a route that limit rate and concurrency."""

import re
from typing import cast

from gateway.config.yaml_values import Fault, Value, field
from gateway.routing.table import Concurrency, LimitScope, RateLimit

LIMIT_KEYS = ("rate_limit", "concurrency")
RATE_LIMIT_KEYS = ("rate", "burst", "key", "store")
STORES = ("shared", "local")
CONCURRENCY_KEYS = ("max", "key")
LIMITS_MAX = 8
_PART = "(?:user|ip|client|route)"
KEY = re.compile(rf"{_PART}(?:\+{_PART})*")


def rate_limits(keys: dict[str, Value], base: tuple[RateLimit, ...]) -> tuple[RateLimit, ...]:
    return field(keys, "rate_limit", lambda value: _rate_limits(value, base), base)


def _rate_limits(value: Value, base: tuple[RateLimit, ...]) -> tuple[RateLimit, ...]:
    """Read one limit, which inherits what it omits, or a list of independent limits."""
    if not value.is_list:
        return (_rate_limit(value, base[0] if len(base) == 1 else None),)
    limits = tuple(item.read(lambda each: _rate_limit(each, None), base[0]) for item in value.items())
    if not 1 <= len(limits) <= LIMITS_MAX:
        raise Fault(f"must be one limit or a list of 1 to {LIMITS_MAX} limits, not {len(limits)}")
    return limits


def _rate_limit(value: Value, base: RateLimit | None) -> RateLimit:
    keys = value.mapping(RATE_LIMIT_KEYS)
    if base is None and "rate" not in keys:
        raise Fault("has no `rate:`; only a single limit inherits it from the one in `defaults`")
    base = base or RateLimit()
    count, seconds = field(keys, "rate", Value.rate, (base.count, base.seconds))
    # A new rate without a burst of its own allows one second's worth, or one request, at once.
    fallback = max(1, round(count / seconds)) if "rate" in keys else base.burst
    burst = field(keys, "burst", Value.whole, fallback)
    key = field(keys, "key", _key, base.key)
    return RateLimit(count, seconds, burst, key, field(keys, "store", _store, base.store))


def concurrency(keys: dict[str, Value], base: Concurrency | None) -> Concurrency | None:
    return field(keys, "concurrency", _concurrency, base)


def _concurrency(value: Value) -> Concurrency | None:
    if value.is_off:
        return None
    keys = value.mapping(CONCURRENCY_KEYS)
    if "max" not in keys:
        raise Fault("has no `max:`, the maximum number of requests in progress")
    return Concurrency(field(keys, "max", Value.whole, 1), field(keys, "key", _key, "user"))


def _store(value: Value) -> LimitScope:
    return cast("LimitScope", value.choice(STORES))


def _key(value: Value) -> str:
    text = value.text()
    parts = text.split("+")
    if not KEY.fullmatch(text):
        raise Fault(f"must be user, ip, client, route, or some of them joined by +, not {text!r}")
    if len(set(parts)) < len(parts):
        raise Fault(f"names one part twice: {text!r}")
    return text
