"""Spans of requests in the gateway: one for the request, and one for each attempt at a target.

They contain no path, because some paths contain secrets, and nothing about the client.
"""

import time

from gateway.http.headers import trace_parent
from gateway.request import RequestState
from shared.tracing.spans import SWITCH, Tracing, nanoseconds_ago, received

_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))


def trace_for_target(state: RequestState, given: bytes | None) -> bytes:
    """Return the `traceparent` of an attempt; `given` is the caller's."""
    tracing = SWITCH.tracing
    if tracing is None:
        return trace_parent(given)
    if not state.trace:
        _enter(state, tracing, given)
    if state.span is None:
        return state.trace
    end_attempt(state)
    attempt = state.attempt_span = state.span.child(_method(state), "client")
    assert state.backend is not None
    origin = state.backend.origin
    attempt.put(
        {
            "http.request.method": _method(state),
            "http.request.resend_count": state.attempts - 1 if state.attempts > 1 else None,
            "server.address": origin.host,
            "server.port": origin.port,
        }
    )
    return attempt.header.encode()


def end_attempt(state: RequestState, failure: str | None = None) -> None:
    attempt, state.attempt_span = state.attempt_span, None
    if attempt is None:
        return
    if state.upstream_seconds:
        attempt.put({"http.response.status_code": state.status})
    if failure is not None or (state.upstream_seconds and state.status >= 400):
        attempt.fail(failure or str(state.status))
    attempt.end()


def end(state: RequestState, tracing: Tracing) -> None:
    """End the span of a request; one that was refused before it reached a target gets its span here."""
    if not state.trace:
        _enter(state, tracing, state.fields.seen.get(b"traceparent"))
    span, failure = state.span, state.failure
    if span is None:
        return
    end_attempt(state, failure.code if failure else None)
    span.put(
        {
            "http.request.method": _method(state),
            "http.route": None if state.route is None else state.route.path.decode(),
            "http.response.status_code": state.status,
            "gatehouse.request_id": state.request_id,
        }
    )
    if failure is not None or state.status >= 500:
        span.fail(failure.code if failure else str(state.status))
    span.end()


def _enter(state: RequestState, tracing: Tracing, given: bytes | None) -> None:
    state.trace, is_sampled = tracing.sampler.decide(given)
    if is_sampled:
        route = "unmatched" if state.route is None else state.route.path.decode()
        start = nanoseconds_ago(time.perf_counter() - state.started)
        state.span = received(tracing, state.trace, given, f"{_method(state)} {route}", start=start)


def _method(state: RequestState) -> str:
    method = state.request.method
    return method.decode() if method in _METHODS else "_OTHER"
