"""Reads all content again and reports differences."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TextIO

from sqlalchemy import func, select
from sqlalchemy.engine import Row

from services.files.models import BLOBS, FILES
from services.files.storage.staging import Landed, measured
from services.files.storage.store import BlobMissing, BlobStore
from shared.data.database import Database

BATCH = 500
BAR_CHARACTERS = 30


@dataclass
class Findings:
    """The result: what was read, and one line per fault."""

    files: int = 0
    bytes: int = 0
    faults: list[str] = field(default_factory=list)


def check(database: Database, store: BlobStore, progress: "Progress") -> Findings:
    findings = Findings()
    with database.transaction(write=False) as session:
        total = session.connection().execute(select(func.coalesce(func.sum(FILES.c.size), 0))).scalar_one()
    for row in _rows(database):
        fault = _fault_of(store, row)
        if fault is not None and _is_there_still(database, row):
            findings.faults.append(f"{fault}: file {row.id} of {row.user_id}, blob {row.blob_key}")
        findings.files += 1
        findings.bytes += row.size
        progress.show(findings.bytes, total)
    progress.end()
    findings.faults += [f"orphaned: blob {key}" for key in _orphans(database, store)]
    return findings


class Progress:
    """A progress bar on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream if stream.isatty() else None
        self._shown = -1

    def show(self, done: int, total: int) -> None:
        percent = 100 * done // total if total else 100
        if self._stream is not None and percent != self._shown:
            self._shown = percent
            bar = ("#" * (percent * BAR_CHARACTERS // 100)).ljust(BAR_CHARACTERS, ".")
            self._stream.write(f"\r[{bar}] {percent} %")
            self._stream.flush()

    def end(self) -> None:
        if self._stream is not None:
            self._stream.write("\n")


def _rows(database: Database) -> Iterator[Row[tuple[object, ...]]]:
    """Yield all files including the trash, in batches, because reading their content may take hours."""
    last = ""
    while True:
        with database.transaction(write=False) as session:
            following = select(FILES).where(FILES.c.id > last).order_by(FILES.c.id).limit(BATCH)
            rows = session.connection().execute(following).all()
        yield from rows
        if len(rows) < BATCH:
            return
        last = rows[-1].id


def _fault_of(store: BlobStore, row: Row[tuple[object, ...]]) -> str | None:
    try:
        landed = _read(store, row.blob_key, row.size)
    except BlobMissing:
        return "missing"
    size = store.size(row.blob_key)
    return None if (landed.sha256, size) == (row.sha256, row.size) else "changed"


def _is_there_still(database: Database, row: Row[tuple[object, ...]]) -> bool:
    """Whether the file still exists; its row may have been read hours ago."""
    with database.transaction(write=False) as session:
        found = session.connection().execute(select(FILES.c.id).where(FILES.c.id == row.id))
        return found.one_or_none() is not None


def _read(store: BlobStore, key: str, size: int) -> Landed:
    reader = store.open(key, 0, size)
    try:
        return measured(reader)
    finally:
        reader.close()


def _orphans(database: Database, store: BlobStore) -> Iterator[str]:
    """Yield blobs without a row. Rows are written before blobs, so blobs are listed before rows are read."""
    keys: list[str] = []
    for stored in store.list():
        keys.append(stored.key)
        if len(keys) == BATCH:
            yield from _unknown(database, keys)
            keys = []
    yield from _unknown(database, keys)


def _unknown(database: Database, keys: list[str]) -> list[str]:
    with database.transaction(write=False) as session:
        known = set(session.connection().execute(select(BLOBS.c.key).where(BLOBS.c.key.in_(keys))).scalars())
    return [key for key in keys if key not in known]
