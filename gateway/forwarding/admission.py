"""What a request must pass before it is forwarded, in order, the cheapest first. Waits only for keys."""

import time
from typing import TYPE_CHECKING

from gateway import errors
from gateway.errors import Refusal, too_large
from gateway.forwarding.attempts import forward
from gateway.forwarding.heads import cors_of, preflight_answer
from gateway.http.framing import fault_of
from gateway.policies.api_keys import caller_of
from gateway.policies.authentication import is_open_to_strangers, require, token_of
from gateway.policies.rate_limits import RouteLimits
from gateway.routing.table import ANYBODY, Policy
from gateway.telemetry.metrics import record
from shared.caller import Caller
from shared.errors import InvalidToken, Problem

if TYPE_CHECKING:
    from gateway.forwarding.exchange import Exchange

# So much of a body is awaited before a connection to a backend is taken: whoever trickles it then has none.
# It is no more than what is held anyway while there is no connection.
COLLECTED_BYTES_MAX = 64 * 1024


def admit(exchange: "Exchange") -> None:
    """Forward the exchange, answer it, or raise Refusal."""
    request, route = exchange.request, exchange.route
    if request.fault is not None:
        raise request.fault
    fault = fault_of(request, exchange.fields)
    if fault is not None:
        exchange.keep_alive = False
        raise fault
    assert route is not None
    expected = exchange.fields.seen.get(b"expect")
    if expected is not None and expected.lower() != b"100-continue" and not request.is_http10:
        raise Refusal(errors.EXPECTATION_FAILED)
    if route.policy.ip is not ANYBODY and not route.policy.ip.lets_in(exchange.address):
        raise Refusal(errors.IP_DENIED)
    seen = exchange.fields.seen
    if request.method == b"OPTIONS" and b"access-control-request-method" in seen and b"origin" in seen:
        _answer_preflight(exchange)
        return
    if not route.allows(request.method):
        raise Refusal(errors.METHOD_NOT_ALLOWED, headers={"Allow": exchange.match.allow_header})
    if route.is_public(request.method, exchange.match.path):
        _admit_caller(exchange, None)
        return
    _identify(exchange, route.policy)


def _identify(exchange: "Exchange", policy: Policy) -> None:
    """Admit whoever shows a valid API key or token, and nobody else where the route demands one."""
    try:
        caller = caller_of(exchange) if policy.api_keys else None
        token = None if caller is not None else token_of(exchange.fields.seen.get(b"authorization"))
    except Refusal as refusal:
        if refusal.kind.status == 401:
            _count_failure(exchange)
        raise
    if token is not None:
        caller = exchange.gateway.verifier.remembered(token)
        if caller is None:
            exchange.gateway.failures.require_few(exchange.address, time.monotonic())
            exchange.wait_for(_verify(exchange, token))
            return
    elif caller is None and not is_open_to_strangers(policy):
        _count_stranger(exchange)
        require(policy, None)
    _admit_caller(exchange, caller)


def _count_failure(exchange: "Exchange") -> None:
    """A token or a key was not valid: some of that are refused as such, more are not even looked at."""
    exchange.gateway.failures.add(exchange.address, time.monotonic())
    _count_stranger(exchange)


def _count_stranger(exchange: "Exchange") -> None:
    """The limits of the route hold for requests that are refused before anybody is known, too."""
    assert exchange.route is not None
    exchange.routing.limits[exchange.route.name].take_refused(exchange, time.monotonic())


async def _verify(exchange: "Exchange", token: str) -> None:
    try:
        caller = await exchange.gateway.verifier.verify(token)
    except InvalidToken as error:
        _count_failure(exchange)
        raise Refusal.of(error, errors.UNAUTHENTICATED) from error
    except Problem as error:
        raise Refusal.of(error, errors.UNAVAILABLE) from error
    if not exchange.response_complete:
        _admit_caller(exchange, caller)


def _admit_caller(exchange: "Exchange", caller: Caller | None) -> None:
    assert exchange.route is not None
    policy = exchange.route.policy
    exchange.caller = caller
    if caller is not None:
        require(policy, caller)
    if policy.concurrency is not None:
        exchange.routing.slots[exchange.route.name].take(exchange)
    limits = exchange.routing.limits[exchange.route.name]
    if limits.is_shared:
        exchange.wait_for(_count_with_others(exchange, limits))
    else:
        limits.take(exchange, time.monotonic())
        _let_in(exchange)


async def _count_with_others(exchange: "Exchange", limits: RouteLimits) -> None:
    await limits.take_shared(exchange)
    if not exchange.response_complete:
        _let_in(exchange)


def _let_in(exchange: "Exchange") -> None:
    assert exchange.route is not None
    policy = exchange.route.policy
    seen = exchange.fields.seen
    announced = int(seen.get(b"content-length", 0))
    if max(announced, exchange.received_bytes) > policy.body_max:
        raise too_large(policy.body_max)
    length_max = policy.body_max if b"transfer-encoding" in seen else announced
    is_small = 0 < length_max <= COLLECTED_BYTES_MAX and b"expect" not in seen
    if is_small and not exchange.request_complete:
        exchange.is_collecting = True  # it is forwarded with its end
    else:
        forward(exchange)


def dismiss(exchange: "Exchange") -> None:
    """It has ended, however it did: whoever comes next may have its place, and it is told of."""
    route = exchange.route
    if route is not None and route.policy.concurrency is not None:
        exchange.routing.slots[route.name].free(exchange)
    record(exchange)


def _answer_preflight(exchange: "Exchange") -> None:
    assert exchange.route is not None
    origin = exchange.fields.seen[b"origin"]
    permission = cors_of(exchange).preflight_headers(origin, exchange.match.allow_header)
    if permission is None:
        raise Refusal(errors.ORIGIN_DENIED)
    exchange.answer(204, preflight_answer(exchange, permission))
