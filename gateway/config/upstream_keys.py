"""The keys of a route that configure its targets."""

import re
from dataclasses import fields, replace
from typing import cast
from urllib.parse import urlsplit

from gateway.config.yaml_values import Fault, Value, field
from gateway.routing.upstreams import (
    Balance,
    Breaker,
    Care,
    Ejection,
    HealthCheck,
    Origin,
    PoolLimits,
    Retry,
    Share,
    Split,
    Target,
    Upstream,
)

CARE_KEYS = ("pool", "breaker", "ejection", "health")
UPSTREAM_KEYS = ("balance", "retry", *CARE_KEYS)
WEIGHT_MAX = 1_000
TARGETS_MAX = 100
SPLIT_KEYS = ("backends", "weight", "header")
SHARE_KEYS = ("url", "weight")
BALANCE = ("p2c", "round_robin")
RETRY_KEYS = ("attempts", "budget", "backoff", "buffer")
HEALTH_PATH = re.compile(r"/[!-\"$-~]*")
_FIELD = re.compile(r"[A-Za-z0-9-]+")


NO_SHARES: tuple[Share, ...] = ()


def upstream(keys: dict[str, Value], balance: Balance, retry: Retry, care: Care) -> Upstream:
    """Return the targets of `backend:` or `backends:`."""
    if "backend" in keys and "backends" in keys:
        keys["backend"].fault("conflicts with `backends:`; keep only one of them")
    shares = field(keys, "backends", lambda value: _shares(value, care), NO_SHARES)
    if not shares:
        shares = (Share(Target(field(keys, "backend", _origin, Origin("", 0)), care)),)
    return Upstream(shares, balance, retry)


def split(value: Value, main: Upstream, care: Care) -> Split | None:
    keys = value.mapping(SPLIT_KEYS)
    if "backends" not in keys:
        value.fault("has no `backends:`")
    if "weight" not in keys and "header" not in keys:
        value.fault("needs a `weight:` or a `header:`")
    shares = field(keys, "backends", lambda item: _shares(item, care), NO_SHARES)
    return Split(
        replace(main, shares=shares),
        field(keys, "weight", Value.percent, 0.0),
        field(keys, "header", _header, None),
    )


def balance(value: Value) -> Balance:
    return cast("Balance", value.choice(BALANCE))


def retry(value: Value, base: Retry) -> Retry:
    keys = value.mapping(RETRY_KEYS)
    backoff = (base.backoff_min, base.backoff_max)
    shortest, longest = field(keys, "backoff", Value.durations, backoff)
    return Retry(
        attempts=field(keys, "attempts", Value.count, base.attempts),
        budget=field(keys, "budget", Value.percent, base.budget),
        backoff_min=shortest,
        backoff_max=longest,
        buffer=field(keys, "buffer", Value.size, base.buffer),
    )


def care(keys: dict[str, Value], base: Care) -> Care:
    return Care(
        pool=field(keys, "pool", lambda value: _pool(value, base.pool), base.pool),
        breaker=field(keys, "breaker", lambda value: _breaker(value, base.breaker), base.breaker),
        ejection=field(keys, "ejection", lambda value: _ejection(value, base.ejection), base.ejection),
        health=field(keys, "health", lambda value: _health(value, base.health), base.health),
    )


def _pool(value: Value, base: PoolLimits) -> PoolLimits:
    keys = value.mapping([each.name for each in fields(PoolLimits)])
    return PoolLimits(
        max_idle=field(keys, "max_idle", Value.count, base.max_idle),
        idle=field(keys, "idle", Value.duration, base.idle),
        max_age=field(keys, "max_age", Value.duration, base.max_age),
    )


def _breaker(value: Value, base: Breaker) -> Breaker:
    keys = value.mapping([each.name for each in fields(Breaker)])
    return Breaker(
        max_requests=field(keys, "max_requests", Value.whole, base.max_requests),
        max_pending=field(keys, "max_pending", Value.count, base.max_pending),
    )


def _ejection(value: Value, base: Ejection) -> Ejection:
    keys = value.mapping([each.name for each in fields(Ejection)])
    time = field(keys, "time", Value.duration, base.time)
    ejection = Ejection(
        failures=field(keys, "failures", Value.count, base.failures),
        window=field(keys, "window", Value.duration, base.window),
        time=time,
        time_max=field(keys, "time_max", Value.duration, max(time, base.time_max)),
    )
    if ejection.time > ejection.time_max:
        raise Fault("`time` must not be longer than `time_max`")
    return ejection


def _health(value: Value, base: HealthCheck | None) -> HealthCheck | None:
    if value.is_off:
        return None
    keys = value.mapping([each.name for each in fields(HealthCheck)])
    if base is None and "path" not in keys:
        raise Fault("has no `path:`")
    base = base or HealthCheck("")
    return HealthCheck(
        path=field(keys, "path", _path, base.path),
        every=field(keys, "every", Value.duration, base.every),
        timeout=field(keys, "timeout", Value.duration, base.timeout),
        up=field(keys, "up", Value.whole, base.up),
        down=field(keys, "down", Value.whole, base.down),
    )


def _shares(value: Value, care: Care) -> tuple[Share, ...]:
    shares: list[Share] = []
    items = list(value.items())
    for item in items:
        share = item.read(lambda each: _share(each, care), None)
        if share is not None and any(share.target == other.target for other in shares):
            item.fault("is listed twice")
        elif share is not None:
            shares.append(share)
    if len(shares) > TARGETS_MAX:
        raise Fault(f"must have at most {TARGETS_MAX} entries")
    if len(shares) == len(items) and not any(share.weight for share in shares):
        raise Fault("must contain at least one URL with a weight above 0")
    return tuple(shares)


def _share(value: Value, care: Care) -> Share | None:
    if value.is_text:
        return Share(Target(_origin(value), care))
    keys = value.mapping(SHARE_KEYS)
    if "url" not in keys:
        raise Fault("has no `url:`")
    origin = keys["url"].read(_origin, None)
    weight = field(keys, "weight", Value.count, 1)
    if weight > WEIGHT_MAX:
        keys["weight"].fault(f"must be at most {WEIGHT_MAX}")
    return Share(Target(origin, care), weight) if origin is not None else None


def _origin(value: Value) -> Origin:
    text = value.text()
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise Fault(f"must be a URL such as http://localhost:8082, not {text!r}") from None
    extra = url.path not in ("", "/") or url.query or url.fragment or url.username or url.password
    if url.scheme != "http" or not url.hostname or port == 0 or extra:
        raise Fault(f"must be http://host or http://host:port and nothing more, not {text!r}")
    return Origin(url.hostname, port or 80)


def _path(value: Value) -> str:
    text = value.text()
    if not HEALTH_PATH.fullmatch(text):
        raise Fault(f"must be a path such as /health/ready, not {text!r}")
    return text


def _header(value: Value) -> tuple[bytes, bytes]:
    name, _, expected = value.text().partition(":")
    if not _FIELD.fullmatch(name.strip()) or not expected.strip() or not expected.isascii():
        raise Fault(f"must be a header and its value, such as 'X-Canary: yes', not {value.text()!r}")
    return name.strip().lower().encode(), expected.strip().encode()
