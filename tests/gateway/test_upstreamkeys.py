"""The keys that configure the targets of a route."""

import pytest

from gateway.routing.table import Route
from gateway.routing.upstreams import (
    Breaker,
    Care,
    Ejection,
    HealthCheck,
    Origin,
    PoolLimits,
    Retry,
    Upstream,
)
from tests.gateway.test_routesfile import faults, read


def route(more: str, defaults: str = "{}") -> Route:
    indented = "\n".join(f"    {line}" for line in more.splitlines())
    return read(f"defaults: {defaults}\nroutes:\n  - path: /x\n{indented}\n").routes[0]


def test_single_backend_is_an_upstream_with_default_settings() -> None:
    assert route("backend: http://a:1").upstream == Upstream.to(Origin("a", 1))
    assert Upstream.to(Origin("a", 1)).shares[0].target.care == Care()


def test_several_backends_are_read_with_their_weights() -> None:
    found = route("backends: [http://a, {url: 'http://b:2', weight: 3}, {url: 'http://c', weight: 0}]")
    assert [(share.target.origin.url, share.weight) for share in found.upstream.shares] == [
        ("http://a", 1),
        ("http://b:2", 3),
        ("http://c", 0),
    ]
    assert found.upstream.balance == "p2c"


def test_every_key_of_an_upstream_is_read() -> None:
    found = route("""backend: http://a
balance: round_robin
retry: {attempts: 0, budget: 2.5%, backoff: 1ms..1s, buffer: 1KiB}
breaker: {max_requests: 1, max_pending: 0}
ejection: {failures: 0, window: 1s, time: 2s, time_max: 3s}
health: {path: "/health/ready?deep=1", every: 1s, timeout: 100ms, up: 1, down: 5}
pool: {max_idle: 0, idle: 1s, max_age: 1h}
split: {backends: [http://b], weight: 0.5%, header: "X-Canary:  yes "}""")
    assert found.upstream.balance == "round_robin"
    assert found.upstream.retry == Retry(0, 0.025, 0.001, 1.0, 1024)
    care = Care(
        PoolLimits(0, 1.0, 3600.0),
        Breaker(1, 0),
        Ejection(0, 1.0, 2.0, 3.0),
        HealthCheck("/health/ready?deep=1", 1.0, 0.1, 1, 5),
    )
    assert found.upstream.shares[0].target.care == care
    assert found.split is not None
    assert (found.split.weight, found.split.header) == (0.005, (b"x-canary", b"yes"))
    assert found.split.upstream.shares[0].target.care == care
    assert found.split.upstream.balance == "round_robin"


def test_longer_ejection_time_raises_its_maximum() -> None:
    care = route("backend: http://a\nejection: {time: 1m}").policy.care
    assert (care.ejection.time, care.ejection.time_max) == (60.0, 60.0)


def test_defaults_are_merged_key_by_key() -> None:
    defaults = "{retry: {attempts: 3, buffer: 1KiB}, health: {path: /up, every: 1s}, balance: round_robin}"
    found = route("backend: http://a\nretry: {attempts: 2}\nhealth: {down: 9}", defaults)
    assert (found.upstream.retry.attempts, found.upstream.retry.buffer) == (2, 1024)
    assert found.upstream.shares[0].target.care.health == HealthCheck("/up", 1.0, down=9)
    assert found.upstream.balance == "round_robin"
    assert route("backend: http://a\nhealth: off", defaults).policy.care.health is None


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("", "has no `backend:`"),
        ("backend: http://a\nbackends: [http://b]", "backend: conflicts with `backends:`"),
        ("backends: []", "backends: must contain at least one URL with a weight above 0"),
        ("backends: [{url: http://a, weight: 0}]", "with a weight above 0"),
        ("backends: [{url: http://a}, http://a]", "backends[1]: is listed twice"),
        ("backends: [{weight: 1}]", "backends[0]: has no `url:`"),
        ("backends: [{url: http://a, weight: -1}]", "backends[0].weight: must be a whole number, not '-1'"),
        ("backends: [{url: http://a, weight: 1001}]", "backends[0].weight: must be at most 1000"),
        ("backends: [https://a]", "backends[0]: must be http://host"),
        (f"backends: [{', '.join(f'http://a{n}' for n in range(101))}]", "must have at most 100 entries"),
        ("backends: http://a", "backends: must be a list"),
        ("balance: random", "must be one of p2c, round_robin"),
        ("retry: {attempts: many}", "retry.attempts: must be a whole number"),
        ("retry: {attempts: 9999999999999999999}", "retry.attempts: must be a whole number"),
        ("retry: {budget: 20}", "retry.budget: must be a percentage such as 5%"),
        ("retry: {budget: 101%}", "at most 100%"),
        ("retry: {backoff: 2s..1s}", "retry.backoff: must be a range of times such as 25ms..250ms"),
        ("retry: {backoff: 2s..}", "must be a range of times"),
        ("retry: {backof: 1s..2s}", "unknown key; did you mean 'backoff'?"),
        ("breaker: {max_requests: 0}", "breaker.max_requests: must be a whole number above 0"),
        ("ejection: off", "ejection: must be a mapping"),
        ("ejection: {time: 10}", "ejection.time: must be a time"),
        ("ejection: {time: 10m, time_max: 5m}", "ejection: `time` must not be longer than `time_max`"),
        ("health: {every: 1s}", "health: has no `path:`"),
        ("health: {path: health}", "health.path: must be a path"),
        ('health: {path: "/a b"}', "health.path: must be a path"),
        ("pool: {idle: 0s}", "pool.idle: must be a time"),
        ("split: {weight: 5%}", "split: has no `backends:`"),
        ("split: {backends: [http://b]}", "split: needs a `weight:` or a `header:`"),
        ("split: {backends: [http://b], header: X-Canary}", "split.header: must be a header and its value"),
        ("split: {backends: [http://b], header: 'X-Canary:'}", "split.header: must be a header"),
        ("split: {backends: [http://b], header: 'X Canary: yes'}", "split.header: must be a header"),
    ],
)
def test_each_fault_of_an_upstream_is_reported(more: str, told: str) -> None:
    if more and "backend" not in more.partition("split")[0]:
        more = f"backend: http://a\n{more}"
    indented = "\n".join(f"    {line}" for line in more.splitlines())
    lines = faults(f"routes:\n  - path: /x\n{indented}\n")
    assert any(told in line for line in lines), lines
    assert len(lines) == 1, lines
