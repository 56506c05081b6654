"""A service's part of a data export: what it stores about a person, sent to auth as events in portions.

A service lists its sections and adds `exporting(…)` to what it consumes. Each section becomes a file of JSON
lines in the archive. A portion is one short transaction; a larger part continues with the next event.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, select
from sqlmodel import Session

from contracts.events import ExportContinued, ExportPart, ExportRequested
from shared.events import Consumers, emit

PORTION_ROWS = 500
SECTION_ROWS_MAX = 100_000
# Rows differ in size. Both limits are exceeded by one row or one portion at most.
PORTION_BYTES = 256 * 1024
SECTION_BYTES_MAX = 32 * 1024 * 1024
# In an event each character takes four bytes at most, or two when it is escaped.
PIECE_CHARACTERS = 3_500

Row = tuple[str | int, dict[str, Any]]  # the key to continue after, and the content


@dataclass(frozen=True, slots=True)
class Section:
    """One kind of data. `rows` returns a limited number of a person's rows after a given one, in order."""

    name: str
    rows: Callable[[Session, str, str | int | None, int], Sequence[Row]]


def section(
    name: str,
    rows: Select[Any],
    owner: ColumnElement[Any],
    key: ColumnElement[Any],
    *,
    without: Sequence[str] = (),
) -> Section:
    """Return a section of the rows that the person owns, in the order of a unique column.

    The columns in `without` say nothing about the person, or are secrets.
    """

    def some(session: Session, account_id: str, after: str | int | None, limit: int) -> list[Row]:
        mine = rows.where(owner == account_id).order_by(key).limit(limit)
        found = session.connection().execute(mine if after is None else mine.where(key > after))
        return [(row[key], _without(row, without)) for row in found.mappings()]

    return Section(name, some)


def table_section(
    name: str, table: Table, owner: str, *, key: str = "id", without: Sequence[str] = ()
) -> Section:
    return section(name, select(table), table.c[owner], table.c[key], without=without)


def exporting(service: str, sections: Sequence[Section]) -> Consumers:
    """Return the consumers with which a service takes part in exports."""
    part = _Part(service, sections)
    return {ExportRequested: part.begin, ExportContinued: part.go_on}


@dataclass(frozen=True, slots=True)
class _Part:
    """The part of one service."""

    service: str
    sections: Sequence[Section]

    def begin(self, session: Session, events: Sequence[ExportRequested]) -> None:
        """Send the first portion."""
        for event in events:
            first = {"section": 0, "after": None, "number": 0, "sent": 0}
            self._send(session, ExportContinued(service=self.service, **event.model_dump(), **first))

    def go_on(self, session: Session, events: Sequence[ExportContinued]) -> None:
        """Send the next portion."""
        for event in events:
            if event.service == self.service:
                self._send(session, event)

    def _send(self, session: Session, at: ExportContinued) -> None:
        tell = partial(ExportPart, service=self.service, export_id=at.export_id)
        index, number, left, room = at.section, at.number, PORTION_ROWS, PORTION_BYTES
        after, sent, sent_bytes = at.after, at.sent, at.sent_bytes
        for one in self.sections[index:]:
            found = one.rows(session, at.account_id, after, left)
            lines, size = _first_lines(found, room)
            for piece in _pieces(lines):
                emit(session, tell(number=number, section=one.name, content=piece))
                number += 1
            sent, sent_bytes, left, room = (
                sent + len(lines),
                sent_bytes + size,
                left - len(lines),
                room - size,
            )
            is_stopped = left == 0 or room <= 0
            if is_stopped and sent < SECTION_ROWS_MAX and sent_bytes < SECTION_BYTES_MAX:
                emit(session, _continued(at, index, found[len(lines) - 1][0], number, sent, sent_bytes))
                return
            if is_stopped:
                emit(session, tell(number=number, section=one.name, is_cut=True))
                emit(session, _continued(at, index + 1, None, number + 1, 0, 0))
                return
            index, after, sent, sent_bytes = index + 1, None, 0, 0
        emit(session, tell(number=number, is_last=True))


def _continued(
    at: ExportContinued, section: int, after: str | int | None, number: int, sent: int, sent_bytes: int
) -> ExportContinued:
    where = {"section": section, "after": after, "number": number, "sent": sent, "sent_bytes": sent_bytes}
    return at.model_copy(update=where)


def _first_lines(rows: Sequence[Row], room: int) -> tuple[list[str], int]:
    """Return rows as lines of JSON until the space is used up, and their size in bytes."""
    lines, size = list[str](), 0
    for _, row in rows:
        if size >= room:
            break
        lines.append(f"{json.dumps(row, ensure_ascii=False, default=_as_text)}\n")
        size += len(lines[-1].encode())
    return lines, size


def _pieces(lines: Sequence[str]) -> Iterator[str]:
    text = "".join(lines)
    for start in range(0, len(text), PIECE_CHARACTERS):
        yield text[start : start + PIECE_CHARACTERS]


def _without(row: Mapping[Any, Any], names: Sequence[str]) -> dict[str, Any]:
    return {str(name): value for name, value in row.items() if name not in names}


def _as_text(value: object) -> str:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)
