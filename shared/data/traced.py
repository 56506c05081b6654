"""Spans of transactions and their statements, in sampled traces only. They never contain bound values."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine import Connection, ExceptionContext

from shared.tracing import spans

STATEMENTS_MAX = 100  # spans in one transaction; later statements are only counted
TEXT_CHARACTERS_MAX = 2_000
# A statement is described from at most this much of its text, and no more of it is kept in memory.
READ_CHARACTERS_MAX = 8_000
_OPERATION = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", re.IGNORECASE)
_TABLE = re.compile(r"\b(?:FROM|INTO|UPDATE)\s+\"?([A-Za-z_][A-Za-z0-9_]*)", re.IGNORECASE)
_QUOTED = re.compile(r"'(?:[^']|'')*(?:'|\Z)")  # the last one may have been cut off


class Traced:
    """The engines of one database, with a span for each statement."""

    def __init__(self) -> None:
        self._engines: dict[Engine, Engine] = {}

    def transaction(self, engine: Engine) -> AbstractContextManager[Engine]:
        """Return the engine to use for a transaction. In a sampled trace, it notes its statements."""
        return nullcontext(engine) if spans.sampled() is None else self._noted(engine)

    @contextmanager
    def _noted(self, engine: Engine) -> Iterator[Engine]:
        traced = self._engines.get(engine)
        if traced is None:
            traced = self._engines[engine] = _with_spans(engine)
        with spans.child("transaction") as span:
            assert span is not None
            span.put({"db.system.name": engine.dialect.name})
            try:
                yield traced
            finally:
                if span.children > STATEMENTS_MAX:
                    span.put({"gatehouse.statements": span.children})


def begun(statement: str, system: str) -> spans.Span | None:
    """Begin a span for a statement below the current span, if that one is sampled and has room."""
    above, described = spans.sampled(), _described(statement)
    if above is None or described is None:
        return None
    above.children += 1
    if above.children > STATEMENTS_MAX:
        return None
    name, operation, text = described
    span = above.child(name, "client")
    span.put({"db.system.name": system, "db.operation.name": operation, "db.query.text": text})
    return span


def _described(statement: str) -> tuple[str, str, str] | None:
    """Return a statement's name, operation and text; None if it only begins or sets something.

    Values are bound, never written into a statement; quoted values are removed anyway.
    """
    if len(statement) > READ_CHARACTERS_MAX:
        return _read(statement[:READ_CHARACTERS_MAX])
    return _remembered(statement)


def _read(statement: str) -> tuple[str, str, str] | None:
    found = _OPERATION.match(statement)
    if found is None:
        return None
    operation = found[1].upper()
    table = _TABLE.search(statement)
    name = f"{operation} {table[1]}" if table else operation
    return name, operation, _QUOTED.sub("?", statement)[:TEXT_CHARACTERS_MAX]


_remembered = lru_cache(maxsize=500)(_read)


def _with_spans(engine: Engine) -> Engine:
    """Return an engine on the same pool. Listeners on it cost the original engine nothing."""
    traced = engine.execution_options()

    @event.listens_for(traced, "before_cursor_execute")
    def begin(
        connection: Connection, _cursor: Any, statement: str, _values: Any, context: Any, _many: bool
    ) -> None:
        context.gatehouse_span = begun(statement, connection.dialect.name)

    @event.listens_for(traced, "after_cursor_execute")
    def end(
        _connection: Connection, _cursor: Any, _statement: str, _values: Any, context: Any, _many: bool
    ) -> None:
        if context.gatehouse_span is not None:
            context.gatehouse_span.end()

    @event.listens_for(traced, "handle_error")
    def fail(failure: ExceptionContext) -> None:
        span: spans.Span | None = getattr(failure.execution_context, "gatehouse_span", None)
        if span is not None:
            span.fail(type(failure.original_exception).__name__)
            span.end()

    return traced
