"""Observability: one log line and one set of metrics per request, and the request id."""

import logging
import re
import sys
import time
from collections.abc import Sequence
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, TextIO, cast

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Histogram, generate_latest
from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared import __version__
from shared.ids import new_id
from shared.process.access_log import Output, access_log
from shared.process.settings import ProcessSettings
from shared.tracing import spans

# Keys of the ASGI scope.
REQUEST_ID = "gatehouse.request_id"  # the id in the response and the log
ROUTE = "gatehouse.route"  # the matched route template, for metric labels
SERVICE = "gatehouse.service"  # the name of the calling service
CALLER = "gatehouse.caller"  # the verified account id, for the log
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_METHODS = frozenset(
    "GET HEAD POST PUT PATCH DELETE OPTIONS".split()
)  # callers must not be able to create label values
SERIES_MAX = 2_000
BOUNDS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Durations(Histogram):
    """A histogram that accepts many observations at once."""

    def add(self, total: float, counts: Sequence[int]) -> None:
        """Add observations: their sum, and how many fall into each bucket."""
        self._sum.inc(total)
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)


REQUESTS = Counter("http_requests_total", "Requests that got a response", ["route", "method", "status"])
DURATION = Durations(
    "http_request_duration_seconds", "Duration of requests", ["route"], buckets=BOUNDS_SECONDS
)

# The current request; structlog's own context variables cost five times as much to bind and merge.
current_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

log = structlog.get_logger("access")


def configure_logging(settings: ProcessSettings) -> None:
    """Log to stdout: colours on a terminal, JSON everywhere else unless LOG_FORMAT says otherwise."""
    console = _on_console(settings)
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    render: list[Any] = (
        # The default prints local variables, which hold tokens and passwords.
        [
            structlog.dev.ConsoleRenderer(
                exception_formatter=structlog.dev.plain_traceback, pad_event_to=24, sort_keys=False
            )
        ]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_json)]
    )
    output = Output()
    if not console and level <= logging.INFO:
        access_log.write_json(settings.service, output)
    structlog.configure(
        processors=[
            _with_ids,
            structlog.processors.add_log_level,
            _for_people if console else _named(settings.service),
            structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console),
            *render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", output)),
        cache_logger_on_first_use=True,
    )
    _route_standard_logging(level)


def log_start(settings: ProcessSettings, **facts: object) -> None:
    """Log the settings: all of them in JSON, but on a terminal only those that differ from the defaults."""
    masked = settings.masked()
    if _on_console(settings):
        fields = type(settings).model_fields
        given = {one for one in settings.model_fields_set if getattr(settings, one) != fields[one].default}
        changed = {name.upper(): masked[name] for name in sorted(given & masked.keys() - {"log_format"})}
        log.info("starting", version=__version__, **facts, **changed)
    else:
        log.info("starting", version=__version__, **facts, settings=masked)


def _on_console(settings: ProcessSettings) -> bool:
    return settings.log_format == "console" or (settings.log_format == "auto" and sys.stdout.isatty())


def _json(entry: structlog.types.EventDict, **_options: object) -> str:
    return to_json(entry, fallback=repr).decode()


def _with_ids(_logger: object, _method: str, entry: structlog.types.EventDict) -> structlog.types.EventDict:
    request_id = current_request_id.get()
    if request_id is not None:
        entry.setdefault("request_id", request_id)
    return {**entry, **spans.log_fields(span)} if (span := spans.sampled()) is not None else entry


def _for_people(_logger: object, _method: str, entry: structlog.types.EventDict) -> structlog.types.EventDict:
    """Format a request as one line for a terminal: request, response, and the id to search for."""
    if entry["event"] != "request" or not {"method", "path", "status", "ms"} <= entry.keys():
        return entry
    shown = ("level", "code", "request_id")
    return {
        "event": f"{entry['method']} {_printable(entry['path'])} {entry['status']} in {entry['ms']:g} ms",
        **{name: entry[name] for name in shown if entry.get(name) is not None},
    }


def _printable(text: str) -> str:
    # Quoted like any other log value, so that it cannot forge a line or move the cursor.
    return text if text.isprintable() and " " not in text else repr(text)


def _named(service: str) -> structlog.types.Processor:
    def add_service(
        _logger: object, _method: str, entry: structlog.types.EventDict
    ) -> structlog.types.EventDict:
        return {"service": service, **entry}

    return add_service


class Observe:
    """The outermost middleware: handles the request id, the log line and the metrics of each request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = request_id_of(scope["headers"])
        scope[REQUEST_ID] = request_id
        current_request_id.set(request_id)
        span = None if spans.SWITCH.tracing is None else _entered(scope, spans.SWITCH.tracing)
        status, begun = 500, False
        id_header = (b"x-request-id", request_id.encode())

        async def send_with_id(message: Message) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
                message["headers"] = [*message["headers"], id_header]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            # Starlette would respond outside of all middleware, without the request id, and then re-raise
            # the error, which the server would log again.
            answer = _handler_of(scope["app"], error)
            if begun:
                log.exception("unhandled_error", path=scope["path"])
            if begun or answer is None:
                raise
            await answer(Request(scope), error)(scope, receive, send_with_id)
        finally:
            record(scope, status, time.perf_counter() - started)
            if span is not None:
                _end(span, scope, status)


def _entered(scope: Scope, tracing: spans.Tracing) -> spans.Span | None:
    """Make the caller's trace current, or begin one; return the request's span if the trace is sampled."""
    given = None
    for name, value in scope["headers"]:
        if name == b"traceparent":
            given = value
            break
    if given is None and scope["path"] in QUIET:
        return None
    context, is_sampled = tracing.sampler.decide(given)
    if not is_sampled:
        spans.unsampled.set(context)
        return None
    span = spans.received(tracing, context, given, scope["method"])
    spans.current.set(span)
    return span


def _end(span: spans.Span, scope: Scope, status: int) -> None:
    """End a request's span. Its path is not noted, because some paths contain secrets; its template is."""
    method, route = scope["method"], scope.get(ROUTE)
    span.rename(f"{method if method in _METHODS else 'HTTP'} {route or 'unmatched'}")
    span.put(
        {
            "http.request.method": method if method in _METHODS else "_OTHER",
            "http.route": route,
            "http.response.status_code": status,
            "gatehouse.request_id": scope[REQUEST_ID],
        }
    )
    if status >= 500:
        span.fail(str(status))
    span.end()


def _handler_of(app: Starlette, error: Exception) -> Any:
    """Return the application's handler for the nearest class of this error."""
    handlers = app.exception_handlers
    return next((handlers[kind] for kind in type(error).__mro__ if kind in handlers), None)


def record(scope: Scope, status: int, seconds: float) -> None:
    route = scope.get(ROUTE, "unmatched")
    method = scope["method"] if route != "unmatched" and scope["method"] in _METHODS else "other"
    _requests(route, method, status).inc()
    _durations(route).observe(seconds)
    if route in QUIET and status < 500:
        return
    access_log.add(
        method=scope["method"],
        path=scope["path"],
        status=status,
        ms=round(seconds * 1000, 2),
        user_id=scope.get(CALLER),
        request_id=scope[REQUEST_ID],
        **spans.log_fields(spans.sampled()),
    )


# Cached: looking up a series by its labels costs several times as much as counting.


@lru_cache(maxsize=SERIES_MAX)
def _requests(route: str, method: str, status: int) -> Counter:
    return REQUESTS.labels(route, method, str(status))


@lru_cache(maxsize=SERIES_MAX)
def _durations(route: str) -> Durations:
    return DURATION.labels(route)


QUIET = frozenset(
    {"/health", "/health/live", "/health/ready", "/metrics", "/internal/events", "/internal/revocations"}
)  # polled by machines; counted, not logged


def request_id_of(headers: list[tuple[bytes, bytes]]) -> str:
    """Return the caller's request id if it is a plain token, otherwise a new one."""
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return value.decode()
    return new_id()


async def metrics(request: Request) -> Response:
    request.scope[ROUTE] = "/metrics"
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


class _ToStructlog(logging.Handler):
    """Forwards records of standard logging to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger(record.name)
        logger.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)


def _route_standard_logging(level: int) -> None:
    root = logging.getLogger()
    root.handlers = [_ToStructlog()]
    root.setLevel(max(level, logging.WARNING))
