"""What tracing costs a request that is not sampled, and one that is: CPU time in one process, no network.

    python -m tests.bench.tracing

The budget for an unsampled request is 2 µs, over all the places that it passes.
"""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from starlette.types import Receive, Scope, Send

from shared.process import observe
from shared.process.access_log import AccessLog
from shared.tracing import spans
from shared.tracing.context import Sampler
from shared.tracing.setup import tracing

ROUNDS = 15
CALLS = 10_000
PLACES = 6  # that ask for the current span: transaction, statements, event, log line
BUDGET_MICROSECONDS = 2.0
SAMPLED = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = SAMPLED[:-1] + b"0"


async def _app(_scope: Scope, _receive: Receive, send: Send) -> None:
    for _ in range(PLACES):
        spans.sampled()
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def _bare(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def _nothing() -> Any: ...


async def _drop(_message: Any) -> None: ...


def _request(trace: bytes) -> Scope:
    headers = [(b"host", b"x"), (b"x-request-id", b"r"), (b"accept", b"*/*"), (b"traceparent", trace)]
    return {"type": "http", "method": "GET", "path": "/x", "headers": headers, "query_string": b""}


async def _microseconds(app: Any, trace: bytes, calls: int = CALLS) -> float:
    watched, scope = observe.Observe(app), _request(trace)
    began = time.process_time()
    for _ in range(calls):
        await watched(scope, _nothing, _drop)
    return (time.process_time() - began) / calls * 1e6


def _gateway_microseconds(decide: Callable[[bytes | None], Any]) -> float:
    began = time.process_time()
    for _ in range(CALLS):
        decide(None)
    return (time.process_time() - began) / CALLS * 1e6


@contextmanager
def _switched(on: spans.Tracing | None) -> Any:
    before, spans.SWITCH.tracing = spans.SWITCH.tracing, on
    try:
        yield
    finally:
        spans.SWITCH.tracing = before
        spans.current.set(None)
        spans.unsampled.set(None)


class _NoTracer:
    def begin(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("an unsampled request entered the SDK")


async def measure() -> dict[str, float]:
    """Return microseconds of CPU; the least of several rounds, because noise only ever adds."""
    from gateway.http.headers import trace_parent

    # The sampler that costs most: it hashes every trace id.
    settings = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "1e-9"}
    unsampled = spans.Tracing(_NoTracer(), Sampler.of(settings, "secret"))
    found: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        with _switched(None):
            found.setdefault("off", []).append(await _microseconds(_bare, UNSAMPLED))
        with _switched(unsampled):
            found.setdefault("unsampled", []).append(await _microseconds(_app, UNSAMPLED))
        found.setdefault("gateway off", []).append(_gateway_microseconds(trace_parent))
        found.setdefault("gateway unsampled", []).append(_gateway_microseconds(unsampled.sampler.decide))
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"
    os.environ["OTEL_BSP_SCHEDULE_DELAY"] = "600000"  # the export itself is not measured
    async with tracing("bench", "secret"):
        found["sampled"] = [await _microseconds(_app, SAMPLED, 300) for _ in range(5)]
        spans.current.set(None)
    return {name: min(values) for name, values in found.items()}


def main() -> None:
    if not __debug__:
        sys.exit("run without -O")
    with patch.object(AccessLog, "add", lambda *_, **__: None):
        least = asyncio.run(measure())
    service = least["unsampled"] - least["off"]
    gateway = least["gateway unsampled"] - least["gateway off"]
    print(f"tracing on, not sampled: {service:.2f} µs in a service, {gateway:.2f} µs in the gateway")
    print(f"tracing on, sampled:     {least['sampled'] - least['off']:.0f} µs in a service, for one span")
    if max(service, gateway) > BUDGET_MICROSECONDS:
        sys.exit(f"more than the budget of {BUDGET_MICROSECONDS:g} µs")


if __name__ == "__main__":
    main()
