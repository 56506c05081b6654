"""Sending a request to a target, and to another one when that is sure to do no harm.

Nothing was sent when no connection came about, so every method may try again. A connection that is closed
before any byte of an answer may have done its work: then only methods that may be repeated are, as long as
all that was sent of the body is still at hand.
"""

import asyncio
import random
from typing import TYPE_CHECKING

import structlog

from gateway import errors
from gateway.errors import Kind, Refusal
from gateway.telemetry.metrics import RETRIES
from gateway.upstream.balancer import is_split
from gateway.upstream.connection import UpstreamConnection

if TYPE_CHECKING:
    from gateway.forwarding.exchange import Exchange

PIECES_MAX = 64
REPEATABLE = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"))

log = structlog.get_logger(__name__)


def gather(pieces: list[bytes], piece: bytes) -> None:
    """Keep one more piece of a body. Thousands of a few bytes each would take many times their size."""
    pieces.append(piece)
    if len(pieces) > PIECES_MAX:
        pieces[:] = [b"".join(pieces)]


def forward(exchange: "Exchange") -> None:
    """It is let in: send it on a connection that is open already, or on a new one."""
    route, routing = exchange.route, exchange.routing
    assert route is not None
    group = routing.groups[route.name]
    if route.split is not None and is_split(exchange, route.split):
        other = routing.split_groups[route.name]
        # Being served is worth more than being served by the new version.
        group = other if other.may_be_asked else group
    group.requests += 1
    exchange.group = group
    exchange.backend = backend = group.pick(exchange)
    exchange.attempts = 1
    connection = backend.take()
    if connection is None:
        exchange.wait_for(_connect(exchange, fresh=False))
    else:
        exchange.send(connection)


def lost(exchange: "Exchange", connection: UpstreamConnection, kind: Kind) -> None:
    """The connection was closed before the answer began."""
    assert exchange.group is not None
    refusal = Refusal(kind)
    is_stale = connection.used and not connection.heard
    if not is_stale:  # else it was closed while it lay idle, and the request crossed with that
        failed(exchange, kind)
    is_safe = exchange.request.method in REPEATABLE and not exchange.request.upgrade
    if connection.heard or not is_safe or exchange.received_bytes > exchange.group.retry.buffer:
        exchange.refuse(refusal)
    else:
        exchange.hold_all()
        exchange.wait_for(_again(exchange, refusal))


def failed(exchange: "Exchange", kind: Kind) -> None:
    """An attempt got no answer, and the target is to blame."""
    backend = exchange.backend
    assert backend is not None
    assert exchange.route is not None
    backend.standing.failed(exchange)
    log.warning(
        "attempt_failed",
        request_id=exchange.request_id,
        route=exchange.route.name,
        target=backend.name,
        attempt=exchange.attempts,
        code=kind.code,
        phase=kind.phase,
    )


async def _again(exchange: "Exchange", refusal: Refusal) -> None:
    await _turn_elsewhere(exchange, refusal)
    await _connect(exchange, fresh=True)


async def _connect(exchange: "Exchange", *, fresh: bool) -> None:
    assert exchange.route is not None
    seconds = exchange.route.policy.timeouts.connect
    while not exchange.response_complete:  # else the client has gone away meanwhile
        assert exchange.backend is not None
        try:
            connection = await exchange.backend.connect(seconds, fresh=fresh)
        except Refusal as refusal:
            if refusal.kind is errors.OVERLOADED or exchange.response_complete:
                raise
            failed(exchange, refusal.kind)
            await _turn_elsewhere(exchange, refusal)
            continue
        if exchange.response_complete:
            exchange.backend.release(connection)
        else:
            exchange.send(connection)
        return


async def _turn_elsewhere(exchange: "Exchange", refusal: Refusal) -> None:
    """Choose the target of the next attempt, or raise why there is none."""
    group, backend, route = exchange.group, exchange.backend, exchange.route
    assert group is not None
    assert backend is not None
    assert route is not None
    if exchange.attempts > group.retry.attempts:
        raise refusal
    if not group.may_retry:
        RETRIES.labels(route.name, "denied").inc()
        raise refusal
    backend.standing.let_go(exchange)
    exchange.tried = (*exchange.tried, backend)
    try:
        exchange.backend = group.pick(exchange, exchange.tried)
    except Refusal:
        raise refusal from None  # what went wrong tells more than that nothing is left to ask
    if exchange.attempts > 1:
        RETRIES.labels(route.name, "failed").inc()
    group.retries += 1
    if exchange.backend in exchange.tried:
        retry = group.retry
        most = min(retry.backoff_max, retry.backoff_min * 2**exchange.attempts)
        await asyncio.sleep(random.uniform(retry.backoff_min, most))  # noqa: S311 - spreads load
    if not exchange.response_complete:
        exchange.attempts += 1
