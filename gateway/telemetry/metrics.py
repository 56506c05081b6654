"""The access line and the metrics of each request; labels come from the routing table alone."""

import os
import time
from collections import deque
from collections.abc import Collection
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from gateway.errors import CLIENT_GONE, CLIENT_STALLED
from gateway.request import RequestState
from gateway.telemetry.tally import Tally
from gateway.telemetry.tracing import end
from shared.clock import timestamp
from shared.process.access_log import access_log
from shared.process.observe import BOUNDS_SECONDS, DURATION, REQUESTS, Durations
from shared.tracing.spans import SWITCH, log_fields

UNMATCHED = "unmatched"
ERRORS_KEPT_MAX = 200
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # read by the library when it is imported; set for workers only
_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))

UPSTREAM_DURATION = Durations(
    "gateway_upstream_duration_seconds",
    "Time until a backend began its response",
    ["route"],
    buckets=BOUNDS_SECONDS,
)
REFUSALS = Counter(
    "gateway_refusals_total", "Requests that the gateway refused or aborted", ["route", "code", "phase"]
)
RETRIES = Counter(
    "gateway_retries_total",
    "Attempts after the first, by outcome; denied means beyond the budget",
    ["route", "outcome"],
)
EJECTIONS = Counter("gateway_ejections_total", "Ejections of targets after consecutive failures", ["target"])
CONNECTIONS = Gauge("gateway_connections", "Client connections", multiprocess_mode="livesum")
# With several workers, the lowest of their values is reported.
HEALTHY = Gauge(
    "gateway_target_healthy",
    "1 while the target gets requests, 0 while it is ejected or down",
    ["route", "target"],
    multiprocess_mode="livemin",
)

# The latest failures, for the admin listener. Clients that leave are counted and logged only: browsers leave
# whenever somebody opens another page, and would push everything else out.
RECENT: deque[dict[str, Any]] = deque(maxlen=ERRORS_KEPT_MAX)

_tallies: dict[tuple[str, bytes, int], Tally] = {}


def record(request: RequestState) -> None:
    name = request.route.name if request.route is not None else UNMATCHED
    method, target = request.request.method, request.request.target
    seconds = time.perf_counter() - request.started
    key = (name, method, request.status)
    tally = _tallies.get(key) or _tally(key)
    tally.count(seconds, request.upstream_seconds)
    if request.attempts > 1:
        RETRIES.labels(name, "answered" if request.upstream_seconds else "failed").inc()
    failure = request.failure
    if failure is not None:
        REFUSALS.labels(name, failure.code, failure.phase).inc()
    if (failure is not None or request.status >= 500) and failure is not CLIENT_GONE:
        _remember(request, name)
    if SWITCH.tracing is not None:
        end(request, SWITCH.tracing)
    access_log.add(
        method=method.decode(),
        path=target.partition(b"?")[0].decode("latin-1"),
        status=request.status,
        ms=int(seconds * 100_000) / 100,  # truncates, at a third of the cost of `round`
        user_id=request.caller and request.caller.id,
        ip=request.address,
        request_id=request.request_id,
        route=name,
        upstream_ms=int(request.upstream_seconds * 100_000) / 100,
        target=request.backend and request.backend.name,
        attempts=request.attempts,
        bytes_in=request.received_bytes,
        bytes_out=request.sent_bytes,
        **({"code": failure.code, "source": failure.source, "phase": failure.phase} if failure else {}),
        **(log_fields(request.span) if request.span is not None else {}),
    )


def _remember(request: RequestState, route: str) -> None:
    failure = request.failure
    RECENT.append(
        {
            "time": timestamp(),
            "request_id": request.request_id,
            "route": route,
            "status": request.status,
            "code": failure.code if failure else "upstream_status",
            "source": failure.source if failure else "upstream",
            "phase": failure.phase if failure else "answered",
        }
    )


def note_stalled(peer: str) -> None:
    """Record a client that was disconnected for not reading its response; the request is already logged."""
    REFUSALS.labels(UNMATCHED, CLIENT_STALLED.code, CLIENT_STALLED.phase).inc()
    structlog.get_logger(__name__).info("client_stalled", ip=peer)


def exposition(folder: Path | None = None) -> bytes:
    """Return all metrics for Prometheus; with several workers, their sums."""
    pour()
    shared = str(folder) if folder else os.environ.get(METRICS_FOLDER)
    if shared is None:
        return generate_latest()
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=shared)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def pour() -> None:
    """Add all tallies to the metrics."""
    for tally in _tallies.values():
        tally.pour()


def forget(routes: Collection[str]) -> None:
    """Drop the series of removed routes, so that reloads cannot accumulate series."""
    if not routes or METRICS_FOLDER in os.environ:  # series in files of several processes cannot be removed
        return
    for key in [key for key in _tallies if key[0] in routes]:
        del _tallies[key]
    for metric in (REQUESTS, DURATION, UPSTREAM_DURATION, REFUSALS, RETRIES):
        for route in routes:
            metric.remove_by_labels({"route": route})


def forget_targets(before: Collection[tuple[str, str]], now: Collection[tuple[str, str]]) -> None:
    """Drop the series of removed targets, given with their routes."""
    if METRICS_FOLDER in os.environ:
        return
    for route, target in set(before) - set(now):
        HEALTHY.remove_by_labels({"route": route, "target": target})
    for target in {target for _, target in before} - {target for _, target in now}:
        EJECTIONS.remove_by_labels({"target": target})


def _tally(key: tuple[str, bytes, int]) -> Tally:
    route, method, status = key
    known = route != UNMATCHED and method in _METHODS
    label = method.decode() if known else "other"
    tally = Tally(
        REQUESTS.labels(route, label, str(status)), DURATION.labels(route), UPSTREAM_DURATION.labels(route)
    )
    _tallies[key] = tally
    return tally
