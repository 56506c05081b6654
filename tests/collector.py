"""A trace collector for tests. It decodes with the types that collectors themselves use."""

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
PATIENCE_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Received:
    service: str
    resource: dict[str, Any]
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[str, ...]  # ids of spans
    values: dict[str, Any]
    is_failed: bool
    start: int
    end: int


class Collector:
    def __init__(self) -> None:
        self.spans: list[Received] = []
        self.headers: dict[str, str] = {}  # of the last request
        self._changed = threading.Condition()

    def take(self, body: bytes) -> None:
        message = ExportTraceServiceRequest.FromString(body)
        with self._changed:
            for resource in message.resource_spans:
                about = _values(resource.resource.attributes)
                for scope in resource.scope_spans:
                    self.spans += [_received(about, span) for span in scope.spans]
            self._changed.notify_all()

    def until(self, wanted: Callable[[list[Received]], Any]) -> Any:
        """Wait until `wanted` finds something among all spans, and return that."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        with self._changed:
            while not (found := wanted(self.spans)):
                left = deadline - time.monotonic()
                assert left > 0, [(one.service, one.kind, one.name) for one in self.spans]
                self._changed.wait(left)
            return found

    def of_trace(self, trace_id: str) -> list[Received]:
        with self._changed:
            return [span for span in self.spans if span.trace_id == trace_id]


@contextmanager
def collecting() -> Iterator[tuple[Collector, str]]:
    """Run a collector; yields it and its endpoint."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.headers = {name.lower(): value for name, value in self.headers.items()}
            collector.take(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield collector, f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            serving.join()


def _received(about: dict[str, Any], span: Any) -> Received:
    return Received(
        service=about["service.name"],
        resource=about,
        name=span.name,
        kind=KINDS[span.kind],
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        links=tuple(link.span_id.hex() for link in span.links),
        values=_values(span.attributes),
        is_failed=span.status.code == 2,
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
