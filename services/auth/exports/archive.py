"""The archive of an export, written while it is sent: one file of JSON lines for each section."""

import json
from collections.abc import AsyncIterator, Sequence
from io import RawIOBase
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from sqlalchemy import Row, select, tuple_
from sqlmodel import Session

from services.auth.export_models import Export
from services.auth.models import PIECES
from shared.data.database import Database

PIECES_AT_ONCE = 100

README = """\
This archive has everything that Gatehouse stores about you, except secrets. It has a folder for each
service, with a file for each kind of data and one JSON object per line. manifest.json lists the services
that responded. Files that you have uploaded are described but not included: download them at /files.
"""


async def archive(database: Database, export: Export) -> AsyncIterator[bytes]:
    """Yield the archive in pieces; no thread or connection is held between them."""
    writing = _Writing(export)
    while not writing.is_over:
        piece = await database.in_background(_next_piece, database, writing)
        if piece:
            yield piece


def _next_piece(database: Database, writing: "_Writing") -> bytes:
    with database.transaction(write=False) as session:
        rows = _page(session, writing.export.id, writing.after)
        cut = _cut(session, writing.export.id) if not rows else []
    return writing.write(rows) if rows else writing.end(cut)


def _page(session: Session, export_id: str, after: tuple[str, int]) -> Sequence[Row[Any]]:
    place = tuple_(PIECES.c.service, PIECES.c.number)
    later = select(PIECES).where(PIECES.c.export_id == export_id, place > after)
    in_order = later.order_by(PIECES.c.service, PIECES.c.number).limit(PIECES_AT_ONCE)
    return session.connection().execute(in_order).all()


def _cut(session: Session, export_id: str) -> list[str]:
    cut = select(PIECES.c.service, PIECES.c.section).where(PIECES.c.export_id == export_id, PIECES.c.is_cut)
    return [f"{row.service}/{row.section}" for row in session.connection().execute(cut)]


class _Sink(RawIOBase):
    """A buffer in memory that the archive is written to; it is emptied after each piece."""

    def __init__(self) -> None:
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self._written += content
        return len(content)

    def take(self) -> bytes:
        taken = bytes(self._written)
        self._written.clear()
        return taken


class _Writing:
    """The state of the archive between two pieces."""

    def __init__(self, export: Export) -> None:
        self.export, self.after, self.is_over = export, ("", -1), False
        self._sink = _Sink()
        self._zip = ZipFile(self._sink, "w", ZIP_DEFLATED)
        self._member: Any = None
        self._name = ""
        self._zip.writestr(self._info("README.txt"), README)

    def write(self, rows: Sequence[Row[Any]]) -> bytes:
        for row in rows:
            self.after = (row.service, row.number)
            if row.content:
                self._open(f"{row.service}/{row.section}.jsonl")
                self._member.write(row.content.encode())
        return self._sink.take()

    def end(self, cut: list[str]) -> bytes:
        self._open("")
        export = self.export
        manifest = {
            "export": export.id,
            "account": export.account_id,
            "requested": export.created.isoformat(),
            "services": export.services.split(),
            "missing": export.missing.split(),
            "cut": cut,
        }
        self._zip.writestr(self._info("manifest.json"), json.dumps(manifest, indent=2) + "\n")
        self._zip.close()
        self.is_over = True
        return self._sink.take()

    def _open(self, name: str) -> None:
        if name == self._name:
            return
        if self._member is not None:
            self._member.close()
        self._name = name
        self._member = self._zip.open(self._info(name), "w", force_zip64=True) if name else None

    def _info(self, name: str) -> ZipInfo:
        info = ZipInfo(name, (self.export.finished or self.export.created).timetuple()[:6])
        info.compress_type, info.external_attr = ZIP_DEFLATED, 0o600 << 16
        return info
