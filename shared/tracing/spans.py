"""The spans of sampled traces: what the other modules use, whether tracing is on or off.

The current span is in a context variable, which is empty in unsampled requests, outside of requests and while
tracing is off. So whether something is sampled is one look-up everywhere.
"""

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Literal, Protocol

from shared.tracing.context import TRACE_ID, TRACEPARENT, Sampler, is_sampled

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Value = str | int | float

_NOTHING = nullcontext()


class Recording(Protocol):
    """A span of the SDK."""

    def put(self, name: str, value: Value) -> None: ...

    def rename(self, name: str) -> None: ...

    def fail(self) -> None: ...

    def end(self, at: int | None) -> None: ...


class Tracer(Protocol):
    """What begins spans: the SDK, or a stand-in for it in tests."""

    def begin(
        self,
        name: str,
        kind: Kind,
        *,
        parent: bytes | None,
        trace_id: int | None,
        links: Sequence[bytes],
        start: int | None,
    ) -> tuple[Recording, int, int]:
        """Begin a span; return it, its trace id and its span id. A root gets `trace_id` if that is given."""


class Span:
    """A span that is being recorded. Every method may be called from any thread."""

    __slots__ = ("_recording", "_tracer", "children", "header", "span_id", "trace_id")

    def __init__(self, tracer: Tracer, recording: Recording, trace_id: int, span_id: int) -> None:
        self._tracer = tracer
        self._recording = recording
        self.trace_id = f"{trace_id:032x}"
        self.span_id = f"{span_id:016x}"
        self.header = f"00-{self.trace_id}-{self.span_id}-01"
        self.children = 0  # as counted by the modules that limit them

    def child(self, name: str, kind: Kind, *, start: int | None = None) -> "Span":
        return begun(self._tracer, name, kind, parent=self.header.encode(), start=start)

    def put(self, values: Mapping[str, Value | None]) -> None:
        """Set attributes that are not None. Never pass secrets, or what people have typed."""
        for name, value in values.items():
            if value is not None:
                self._recording.put(name, value)

    def rename(self, name: str) -> None:
        self._recording.rename(name)

    def fail(self, reason: str) -> None:
        """Mark it as failed; `reason` is a word such as a code, never the text of an error."""
        self._recording.put("error.type", reason)
        self._recording.fail()

    def end(self, at: int | None = None) -> None:
        self._recording.end(at)


class Tracing:
    """Tracing of one process while it is on."""

    def __init__(self, tracer: Tracer, sampler: Sampler) -> None:
        self.tracer = tracer
        self.sampler = sampler


class _Switch:
    """Whether this process traces. One object, so that every module sees a change."""

    __slots__ = ("tracing",)

    def __init__(self) -> None:
        self.tracing: Tracing | None = None


SWITCH = _Switch()
current: ContextVar[Span | None] = ContextVar("span", default=None)
unsampled: ContextVar[bytes | None] = ContextVar("unsampled trace", default=None)
sampled = current.get  # returns the current span if the current trace is sampled; an alias saves a call


def log_fields(span: Span | None) -> dict[str, str]:
    """Return the fields of log lines within a sampled trace; other traces are stored nowhere."""
    return {} if span is None else {"trace_id": span.trace_id, "span_id": span.span_id}


def header() -> str | None:
    """Return the `traceparent` of calls to other services; None outside of requests or without tracing."""
    span, context = current.get(), unsampled.get()
    if span is not None:
        return span.header
    return None if context is None else context.decode()


def begun(
    tracer: Tracer,
    name: str,
    kind: Kind,
    *,
    parent: bytes | None = None,
    trace_id: int | None = None,
    links: Sequence[bytes] = (),
    start: int | None = None,
) -> Span:
    recording, trace, span = tracer.begin(
        name, kind, parent=parent, trace_id=trace_id, links=links, start=start
    )
    return Span(tracer, recording, trace, span)


def received(
    tracing: Tracing, context: bytes, given: bytes | None, name: str, *, start: int | None = None
) -> Span:
    """Begin the span of a sampled request: a child of its caller's, or the first of a trace."""
    is_continued = given is not None and context[:52] == given[:52]
    if is_continued:
        return begun(tracing.tracer, name, "server", parent=context, start=start)
    return begun(tracing.tracer, name, "server", trace_id=int(context[TRACE_ID], 16), start=start)


@contextmanager
def within(span: Span) -> Iterator[Span]:
    """Make a span current until it ends with the block."""
    token = current.set(span)
    try:
        yield span
    except BaseException as error:
        span.fail(type(error).__name__)
        raise
    finally:
        current.reset(token)
        span.end()


def child(name: str, kind: Kind = "internal") -> AbstractContextManager[Span | None]:
    """Begin a child of the current span. Without one nothing happens, which costs almost nothing."""
    parent = sampled()
    return _NOTHING if parent is None else within(parent.child(name, kind))


def consuming(name: str, contexts: Sequence[str | None]) -> AbstractContextManager[Span | None]:
    """Begin a trace for received events, linked to the spans that published them, if one was sampled."""
    tracing = SWITCH.tracing
    if tracing is None:
        return _NOTHING
    links = [
        context
        for one in contexts
        if one is not None and TRACEPARENT.fullmatch(context := one.encode()) and is_sampled(context)
    ]
    if not links:
        return _NOTHING
    return within(begun(tracing.tracer, name, "consumer", trace_id=random.getrandbits(128), links=links))


def nanoseconds_ago(seconds: float) -> int:
    """Return the time some seconds ago, in nanoseconds, as spans store it."""
    return time.time_ns() - int(seconds * 1e9)
