"""The gateway and `explain` run the same admission steps in the same order, on one object per request."""

import gc
import weakref

import pytest

from gateway.config.routes_file import parse
from gateway.forwarding.exchange import Exchange
from gateway.forwarding.explain import explain
from gateway.routing.upstreams import Origin, Share, Target, Upstream
from gateway.upstream.balancer import Group
from gateway.upstream.pool import Backend
from tests.gateway.backends import Backend as Server
from tests.gateway.conftest import Start

PREFLIGHT = {"Origin": "https://elsewhere.test", "Access-Control-Request-Method": "GET"}


def _routes(backend: Server) -> str:
    return f"""
routes:
  - {{path: /closed, backend: "{backend.url}", methods: [GET], ip: {{deny: [127.0.0.1]}}}}
  - {{path: /orders, backend: "{backend.url}", methods: [GET, POST], body_max: 10}}
  - {{path: /open, backend: "{backend.url}", methods: [POST], auth: none, body_max: 10}}
"""


@pytest.mark.parametrize(
    ("method", "target", "headers", "code"),
    [
        ("DELETE", "/closed", {}, "ip_denied"),
        ("DELETE", "/closed", {"Expect": "tea"}, "expectation_failed"),
        ("DELETE", "/closed", {"Expect": "tea", "Transfer-Encoding": "gzip"}, "bad_request"),
        ("OPTIONS", "/closed", PREFLIGHT, "ip_denied"),
        ("OPTIONS", "/orders", PREFLIGHT, "origin_denied"),
        ("DELETE", "/orders", {"Content-Length": "11"}, "method_not_allowed"),
        ("POST", "/orders", {"Content-Length": "11"}, "unauthenticated"),
        ("POST", "/open", {"Content-Length": "11"}, "body_too_large"),
        ("GET", "/open", {"Content-Length": "11"}, "method_not_allowed"),
    ],
)
async def test_explain_ends_at_the_step_that_refuses_in_the_gateway(
    start_gateway: Start, backend: Server, method: str, target: str, headers: dict[str, str], code: str
) -> None:
    gateway = await start_gateway(_routes(backend))
    table = parse(_routes(backend), "routes.yaml", development=True)

    answer = await gateway.request(method, target, headers)
    last = explain(table, method, target, [f"{name}: {value}" for name, value in headers.items()])[-1]

    assert answer.code == code
    assert last.words.startswith(f"{answer.status} {code} ")


def test_a_request_is_one_object_without_a_dictionary() -> None:
    assert Exchange.__dictoffset__ == 0


def test_target_drops_the_groups_of_a_replaced_routes_file() -> None:
    address = Target(Origin("localhost", 9000))
    backend = Backend(address)
    upstream = Upstream((Share(address, 1),))
    kept, replaced = Group(upstream, {address: backend}), Group(upstream, {address: backend})
    seen = weakref.ref(replaced)
    del replaced
    gc.collect()

    assert seen() is None
    for _ in range(address.care.ejection.failures):
        backend.standing.failed(object())
    assert not kept.may_be_asked
