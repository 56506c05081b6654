"""Checking the log where it is, by the same rules that the stand-alone verifier follows."""

import threading
import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlmodel import Session

from services.audit.checkpoints import Checkpoints
from services.audit.errors import NotYetSigned, VerificationRunning
from services.audit.export import FullExport, Pinned
from services.audit.log import kept_from, size_of, tree_of
from services.audit.models import CHECKPOINTS
from services.audit.proofs import NotAnExport
from services.audit.schemas import SEQ_MAX
from services.audit.tree import TileMissing
from services.audit.verifier import Verification
from shared.database import Database

_OTHER_TREE = "the hashes of the tree are not those that were signed"

_running = threading.Lock()


@dataclass(frozen=True, slots=True)
class Checked:
    """What was checked, and what came out of it."""

    verification: Verification
    first: int
    end: int
    size: int
    seconds: float


def pinned(session: Session, size: int | None = None) -> Pinned:
    """The oldest checkpoint of at least this size; the newest by default."""
    statement = select(CHECKPOINTS.c.size, CHECKPOINTS.c.note)
    if size is None:
        statement = statement.order_by(CHECKPOINTS.c.size.desc())
    else:
        statement = statement.where(CHECKPOINTS.c.size >= size).order_by(CHECKPOINTS.c.size)
    row = session.connection().execute(statement.limit(1)).one_or_none()
    if row is None:
        raise NotYetSigned
    return Pinned(row.size, row.note)


def verify(database: Database, checkpoints: Checkpoints, first: int | None, limit: int) -> Checked:
    """Check so many records from a place on, and up to the checkpoint that follows. One at a time."""
    if not _running.acquire(blocking=False):
        raise VerificationRunning
    try:
        checkpoints.make(whole=True)
        started = time.monotonic()
        with database.transaction(write=False) as session:
            oldest, size, newest = kept_from(session), size_of(session), pinned(session)
            first = max(oldest, min(first or 0, newest.size))
            wanted = first + limit
            end = newest if wanted >= newest.size else pinned(session, wanted)
        # What the anchor knows of later records is for the range that reaches the end.
        sizes = range(first + 1, SEQ_MAX if end == newest else end.size + 1)
        verification = Verification(
            checkpoints.keys.known,
            checkpoints.anchored(sizes),
            is_range=first > oldest or end != newest,
            metadata_text=str,
        )
        _verify(database, FullExport(end, first), verification)
        if size > newest.size:
            verification.remarks.append(f"records {newest.size} to {size - 1} are not signed")
        return Checked(verification, first, end.size, size, time.monotonic() - started)
    finally:
        _running.release()


def _verify(database: Database, export: FullExport, verification: Verification) -> None:
    try:
        with database.transaction(write=False) as session:
            verification.begin(export.header(session))
        while _feed(database, export, verification):
            pass
        verification.finish()
    except TileMissing:
        verification.report("removed", verification.place, "the hashes of the tree are missing from here on")
    except NotAnExport as error:
        verification.report("changed", verification.place, str(error))


def _feed(database: Database, export: FullExport, verification: Verification) -> bool:
    """A chunk in a transaction of its own; False after the last."""
    with database.transaction(write=False) as session:
        lines: list[dict[str, Any]] = export.chunk(session)
        tree = tree_of(session)
        for line in lines:
            if line["type"] == "record":
                verification.add_record(line)
            elif line["type"] == "checkpoint":
                said = verification.add_checkpoint(line["note"])
                # The tree that proofs are made of must be the one that the records make.
                if said is not None and tree.root(said.size) != said.root:
                    verification.report("changed", verification.place, _OTHER_TREE)
    return bool(lines)
