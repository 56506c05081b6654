"""Chooses targets for the attempts of a request, and connects to them.

If no connection was made, nothing was sent, so every method may be retried. If a connection closes before
the first byte of a response, the service may have done the work: then only idempotent methods are retried,
and only while all of the body sent so far is still buffered.
"""

import asyncio
import random

import structlog

from gateway import errors
from gateway.errors import Kind, Refusal
from gateway.forwarding.transfer import Transfer
from gateway.telemetry.metrics import RETRIES
from gateway.telemetry.tracing import end_attempt
from gateway.upstream.balancer import is_split
from gateway.upstream.connection import UpstreamConnection
from shared.tracing.spans import log_fields

PIECES_MAX = 64
REPEATABLE = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"))

log = structlog.get_logger(__name__)


def gather(pieces: list[bytes], piece: bytes) -> None:
    """Buffer a piece of a body; join pieces now and then, because thousands of tiny ones waste memory."""
    pieces.append(piece)
    if len(pieces) > PIECES_MAX:
        pieces[:] = [b"".join(pieces)]


def begin(transfer: Transfer) -> UpstreamConnection | None:
    """Choose the target of the first attempt; return an idle connection to it if there is one."""
    route, routing = transfer.route, transfer.routing
    assert route is not None
    group = routing.groups[route.name]
    if route.split is not None and is_split(transfer, route.split):
        other = routing.split_groups[route.name]
        # A response from the main targets is better than none from the split.
        group = other if other.may_be_asked else group
    group.requests += 1
    transfer.group = group
    transfer.backend = backend = group.pick(transfer)
    transfer.attempts = 1
    return backend.take()


def may_repeat(transfer: Transfer, connection: UpstreamConnection, kind: Kind) -> bool:
    """Whether to send the request again after its connection was closed before the response began."""
    assert transfer.group is not None
    is_stale = connection.used and not connection.heard
    if not is_stale:  # otherwise the target closed an idle connection while the request was on its way
        failed(transfer, kind)
    is_safe = transfer.request.method in REPEATABLE and not transfer.request.upgrade
    is_buffered = transfer.received_bytes <= transfer.group.retry.buffer
    return is_safe and is_buffered and not connection.heard


def failed(transfer: Transfer, kind: Kind) -> None:
    """Count a failed attempt against its target."""
    backend = transfer.backend
    assert backend is not None
    assert transfer.route is not None
    backend.standing.failed(transfer)
    end_attempt(transfer, kind.code)
    log.warning(
        "attempt_failed",
        request_id=transfer.request_id,
        route=transfer.route.name,
        target=backend.name,
        attempt=transfer.attempts,
        code=kind.code,
        phase=kind.phase,
        **log_fields(transfer.span),
    )


async def repeat(transfer: Transfer, refusal: Refusal) -> UpstreamConnection | None:
    """Return a new connection for the next attempt; raises `refusal` if no attempt is left."""
    await _choose_next(transfer, refusal)
    return await connect(transfer, fresh=True)


async def connect(transfer: Transfer, *, fresh: bool) -> UpstreamConnection | None:
    """Connect to the target, or to another one if it is unreachable; None if the client is gone."""
    seconds = transfer.policy.timeouts.connect
    while not transfer.response_complete:
        backend = transfer.backend
        assert backend is not None
        try:
            connection = await backend.connect(seconds, fresh=fresh)
        except Refusal as refusal:
            if refusal.kind is errors.OVERLOADED or transfer.response_complete:
                raise
            failed(transfer, refusal.kind)
            await _choose_next(transfer, refusal)
            continue
        if not transfer.response_complete:
            return connection
        backend.release(connection)
    return None


async def _choose_next(transfer: Transfer, refusal: Refusal) -> None:
    """Choose the target of the next attempt, or raise the refusal."""
    group, backend, route = transfer.group, transfer.backend, transfer.route
    assert group is not None
    assert backend is not None
    assert route is not None
    if transfer.attempts > group.retry.attempts:
        raise refusal
    if not group.may_retry:
        RETRIES.labels(route.name, "denied").inc()
        raise refusal
    backend.standing.let_go(transfer)
    transfer.tried = (*transfer.tried, backend)
    try:
        transfer.backend = group.pick(transfer, transfer.tried)
    except Refusal:
        raise refusal from None  # the first failure says more than the lack of another target
    if transfer.attempts > 1:
        RETRIES.labels(route.name, "failed").inc()
    group.retries += 1
    if transfer.backend in transfer.tried:
        retry = group.retry
        most = min(retry.backoff_max, retry.backoff_min * 2**transfer.attempts)
        await asyncio.sleep(random.uniform(retry.backoff_min, most))  # noqa: S311 - spreads load
    if not transfer.response_complete:
        transfer.attempts += 1
