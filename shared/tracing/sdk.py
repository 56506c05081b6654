"""Spans of the OpenTelemetry SDK, exported in the background. Imported only while tracing is on."""

import logging
import threading
import time
from collections.abc import Sequence

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.util.re import parse_env_headers

from shared import __version__
from shared.ids import new_id
from shared.tracing.context import PARENT_ID, TRACE_ID
from shared.tracing.spans import Kind, Value

CLOSE_SECONDS = 2.0  # for the last spans, when the process stops
WARN_SECONDS = 60.0

log = structlog.get_logger(__name__)


class SdkTracer:
    """Begins spans in the SDK. Only sampled traces get here, so the SDK itself keeps everything."""

    def __init__(self, service: str, headers: str) -> None:
        # Its messages name every failed batch, with tracebacks; `_Exporter` reports them once a minute.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._ids = _Ids()
        self._provider = TracerProvider(
            sampler=ALWAYS_ON, resource=_resource(service), id_generator=self._ids, shutdown_on_exit=False
        )
        self._exporter = _Exporter(OTLPSpanExporter(headers=parse_env_headers(headers, liberal=True)))
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("gatehouse", __version__)

    def begin(
        self,
        name: str,
        kind: Kind,
        *,
        parent: bytes | None,
        trace_id: int | None,
        links: Sequence[bytes],
        start: int | None,
    ) -> tuple["_Recording", int, int]:
        context = Context()
        if parent is None:
            self._ids.use(trace_id)
        else:
            above = NonRecordingSpan(_context_of(parent, is_remote=kind == "server"))
            context = set_span_in_context(above, context)
        span = self._tracer.start_span(
            name,
            context,
            SpanKind[kind.upper()],
            links=[Link(_context_of(link, is_remote=True)) for link in links],
            start_time=start,
        )
        ids = span.get_span_context()
        return _Recording(span), ids.trace_id, ids.span_id

    def close(self) -> None:
        """Send what waits, for a moment only: a collector that is down must not delay the end."""
        flush, milliseconds = self._provider.force_flush, int(CLOSE_SECONDS * 1000)
        sending = threading.Thread(target=flush, args=(milliseconds,), daemon=True)
        sending.start()
        sending.join(CLOSE_SECONDS)
        self._exporter.stop()
        self._provider.shutdown()


class _Recording:
    def __init__(self, span: Span) -> None:
        self._span = span

    def put(self, name: str, value: Value) -> None:
        self._span.set_attribute(name, value)

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def fail(self) -> None:
        self._span.set_status(StatusCode.ERROR)

    def end(self, at: int | None) -> None:
        self._span.end(at)


class _Ids(RandomIdGenerator):
    """Gives a new trace the id by which it was sampled, so that every process decides alike."""

    def __init__(self) -> None:
        self._next = threading.local()

    def use(self, trace_id: int | None) -> None:
        self._next.trace_id = trace_id

    def generate_trace_id(self) -> int:
        return getattr(self._next, "trace_id", None) or super().generate_trace_id()


class _Exporter(SpanExporter):
    """Exports to a collector. A failed export loses its spans, and causes at most one warning a minute."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self._lost = 0
        self._warned = float("-inf")
        self._is_stopped = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self._is_stopped:
            return SpanExportResult.FAILURE
        error = "refused"
        try:
            if self._inner.export(spans) is SpanExportResult.SUCCESS:
                return SpanExportResult.SUCCESS
        except Exception as failure:  # noqa: BLE001 - whatever it is, the service goes on
            error = type(failure).__name__
        self._lost += len(spans)
        if time.monotonic() > self._warned + WARN_SECONDS and not self._is_stopped:
            self._warned = time.monotonic()
            log.warning("traces_not_exported", error=error, spans_lost=self._lost)
            self._lost = 0
        return SpanExportResult.FAILURE

    def stop(self) -> None:
        """Give up what is being sent, and send nothing more."""
        self._is_stopped = True
        self._inner.shutdown()

    def shutdown(self) -> None:
        self.stop()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)


def _resource(service: str) -> Resource:
    """Describe this process; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES may say otherwise."""
    own = {
        "service.name": service,
        "service.namespace": "gatehouse",
        "service.version": __version__,
        "service.instance.id": new_id(),
    }
    given = OTELResourceDetector().detect().attributes
    return Resource.create({name: value for name, value in own.items() if name not in given})


def _context_of(header: bytes, *, is_remote: bool) -> SpanContext:
    return SpanContext(
        int(header[TRACE_ID], 16), int(header[PARENT_ID], 16), is_remote, TraceFlags(TraceFlags.SAMPLED)
    )
