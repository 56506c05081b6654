"""Exports, streamed in chunks so that memory does not grow with the log."""

import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic_core import to_json
from sqlalchemy import select
from sqlmodel import Session

from services.audit.keys import LogKeys
from services.audit.log import kept_from, tree_of
from services.audit.models import CHECKPOINTS, RECORDS
from services.audit.proofs import FORMAT, end_text
from services.audit.queries import (
    CHUNK_RECORDS,
    erased_by,
    matching,
    metadata_of,
    read_erasures,
    read_lines,
    read_places,
    read_range,
)
from services.audit.schemas import FilterLogs
from services.audit.statements import LOG_ITSELF, LOG_OPENED, RETENTION_CUT
from shared.data.database import Database
from shared.lists.spreadsheets import csv_lines

OPENED_MAX = 8
CSV_COLUMNS = (
    "seq timestamp user_id actor action resource outcome status service ip user_agent metadata request_id"
    " trace_id id received"
).split()


@dataclass(frozen=True, slots=True)
class Pinned:
    """The checkpoint with which an export ends; it has no later records."""

    size: int
    note: str


class Export(Protocol):
    """A source of lines that are read in chunks."""

    kept: int | None  # the size of a checkpoint that the log continues, to be proven

    def header(self, session: Session) -> dict[str, Any]: ...

    def chunk(self, session: Session) -> list[dict[str, Any]]: ...


class FullExport:
    """Every record from a position up to a checkpoint, with the checkpoints in between."""

    def __init__(self, pinned: Pinned, first: int | None = None) -> None:
        self._pinned, self._first, self._next = pinned, first, 0
        self.kept: int | None = None

    @property
    def first(self) -> int:
        return self._first or 0

    @property
    def end(self) -> int:
        return self._pinned.size

    def header(self, session: Session) -> dict[str, Any]:
        first = self._next = kept_from(session) if self._first is None else self._first
        frontier = tree_of(session).frontier(first)
        header = _header(self._pinned, is_partial=False, first=first, frontier=frontier)
        return {**header, **_continued(session, self.kept, self._pinned.size)}

    def chunk(self, session: Session) -> list[dict[str, Any]]:
        low, high = self._next, min(self._next + CHUNK_RECORDS, self._pinned.size)
        self._next = high
        if low >= high:
            return []
        notes = self._notes(session, low, high)
        lines: list[dict[str, Any]] = []
        for line in read_range(session, low, high):
            lines.append(line)
            if line["seq"] + 1 in notes:
                lines.append({"type": "checkpoint", "note": notes[line["seq"] + 1]})
        return lines or [{"type": "nothing"}]

    def _notes(self, session: Session, low: int, high: int) -> dict[int, str]:
        within = select(CHECKPOINTS.c.size, CHECKPOINTS.c.note).where(
            CHECKPOINTS.c.size > low, CHECKPOINTS.c.size <= high
        )
        return {row.size: row.note for row in session.connection().execute(within)}


class PartialExport:
    """Some records, each with a proof that it is in the log, and the filter that selected them."""

    def __init__(self, pinned: Pinned, query: FilterLogs, user_id: str | None) -> None:
        self._pinned, self._filter = pinned, query.in_words(user_id)
        self.kept: int | None = None
        signed = matching(query, user_id).where(RECORDS.c.seq < pinned.size)
        self._signed = signed.order_by(RECORDS.c.id).limit(CHUNK_RECORDS)
        self._after, self._number = "", 0
        self._stated: set[int] = set()
        self._is_begun = False

    def header(self, session: Session) -> dict[str, Any]:
        header = _header(self._pinned, is_partial=True, first=0, frontier=[])
        continued = _continued(session, self.kept, self._pinned.size)
        return {**header, **continued, "filter": self._filter}

    def chunk(self, session: Session) -> list[dict[str, Any]]:
        tree = tree_of(session)
        lines = read_lines(session, self._signed.where(RECORDS.c.id > self._after))
        if len(lines) == CHUNK_RECORDS:
            lines += self._namesakes(session, lines)
        for line in lines:
            self._after, self._number = line["id"], self._number + 1
            line["number"] = self._number
            line["proof"] = [one.hex() for one in tree.inclusion(line["seq"], self._pinned.size)]
        statements = self._statements(session, lines)
        # A later record may name one of these as the reason why it was cleared.
        self._stated |= {line["seq"] for line in lines if line["actor"] == LOG_ITSELF}
        return [*statements, *lines]

    def _namesakes(self, session: Session, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the other records with the chunk's last id: it may repeat, because services choose ids."""
        last = lines[-1]["id"]
        here = [line["seq"] for line in lines if line["id"] == last]
        return read_lines(session, self._signed.where(RECORDS.c.id == last, RECORDS.c.seq.not_in(here)))

    def _statements(self, session: Session, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return statements on the erasures that cleared fields of these records, if not exported yet."""
        wanted = erased_by(lines) - self._stated
        self._stated |= wanted
        found = read_erasures(session, wanted)
        if not self._is_begun:  # before all records, because they may be among those
            self._is_begun = True
            found = [*read_places(session, _forms(session)), *found]
        found = [one for one in found if one["seq"] < self._pinned.size]
        tree = tree_of(session)
        for one in found:
            one["proof"] = [each.hex() for each in tree.inclusion(one["seq"], self._pinned.size)]
        return found


def _forms(session: Session) -> list[int]:
    """Return the statements that show since when statements are signed, and since when with a root."""
    mine = select(RECORDS.c.seq).where(RECORDS.c.actor == LOG_ITSELF)
    opened = mine.where(RECORDS.c.action == LOG_OPENED).order_by(RECORDS.c.id).limit(OPENED_MAX)
    last_cut = mine.where(RECORDS.c.action == RETENTION_CUT).order_by(RECORDS.c.id.desc()).limit(1)
    return [seq for one in (opened, last_cut) for seq in session.connection().execute(one).scalars()]


def _header(pinned: Pinned, *, is_partial: bool, first: int, frontier: list[bytes]) -> dict[str, Any]:
    return {
        "type": "header",
        "format": FORMAT,
        "partial": is_partial,
        "first": first,
        "frontier": [one.hex() for one in frontier],
        "checkpoint": pinned.note,
    }


def _continued(session: Session, kept: int | None, size: int) -> dict[str, Any]:
    """Return the proof that the log continues a checkpoint of this size, if it can be one."""
    if kept is None or not 0 < kept < size:
        return {}
    return {"consistency": {str(kept): [one.hex() for one in tree_of(session).consistency(kept, size)]}}


async def ndjson(database: Database, export: Export, keys: LogKeys) -> AsyncIterator[bytes]:
    """One JSON document per line; the last one signs all others."""
    digest, records = hashlib.sha256(), 0
    header = to_json(await database.read(export.header)) + b"\n"
    digest.update(header)
    yield header
    while True:
        count, piece = await database.read(_written, export)
        if not piece:
            break
        digest.update(piece)
        records += count
        yield piece
    end = keys.sign(end_text(keys.name, records, digest.digest()))
    yield to_json({"type": "end", "note": end}) + b"\n"


def _written(session: Session, export: Export) -> tuple[int, bytes]:
    """Return the number of the next records, and their lines as bytes; runs in a thread."""
    lines = export.chunk(session)
    piece = b"".join(to_json(_readable(one)) + b"\n" for one in lines)
    return sum(one["type"] == "record" for one in lines), piece


def _readable(one: dict[str, Any]) -> dict[str, Any]:
    return {**one, "metadata": metadata_of(one["metadata"])} if "metadata" in one else one


async def spreadsheet(database: Database, export: Export) -> AsyncIterator[bytes]:
    """CSV (RFC 4180) with a header line, for spreadsheets."""
    yield csv_lines([CSV_COLUMNS])
    await database.read(export.header)
    while lines := await database.read(export.chunk):
        yield csv_lines(_cells(one) for one in lines if one["type"] == "record")


def _cells(one: Mapping[str, Any]) -> list[Any]:
    return [one[name] for name in CSV_COLUMNS]
