"""Verification of the log in place, by the same rules as the stand-alone verifier."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import and_, func, or_, select
from sqlalchemy.exc import InvalidRequestError
from sqlmodel import Session

from services.audit.any_text import is_unreadable_text, reading_any_text
from services.audit.checking import Verification
from services.audit.checkpoints import Checkpoints
from services.audit.errors import NotYetSigned, VerificationRunning
from services.audit.export import FullExport, Pinned
from services.audit.log import kept_from, size_of, tree_of
from services.audit.models import CHECKPOINTS, HOLDS, RECORDS
from services.audit.proofs import NotAnExport
from services.audit.queries import (
    EVERYTHING,
    PLACES_AT_ONCE,
    erased_by,
    read_erasures,
    read_range,
    read_statements,
)
from services.audit.schemas import SEQ_MAX
from services.audit.statements import (
    ACCOUNT_DELETED,
    HOLD_LIFTED,
    LASTING,
    LOG_ITSELF,
    RETENTION_CUT,
    Fault,
    Statement,
)
from services.audit.tree import TileMissing
from shared.data.database import Database
from shared.errors import Unavailable

_OTHER_TREE = "the hashes of the tree are not those that were signed"

log = structlog.get_logger(__name__)

_running = threading.Lock()


@dataclass(frozen=True, slots=True)
class Checked:
    """The range that was checked, and the result."""

    verification: Verification
    first: int
    end: int
    size: int
    seconds: float


def pinned(session: Session, size: int | None = None) -> Pinned:
    """Return the oldest checkpoint of at least this size; the newest by default."""
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
    """Check `limit` records from a position on, up to the next checkpoint. Only one check runs at a time."""
    if not _running.acquire(blocking=False):
        raise VerificationRunning
    try:
        return _verify_any_text(database, checkpoints, first, limit)
    except _NEVER_WRITTEN as error:
        log.exception("audit_log_unreadable")
        found = Verification(checkpoints.keys.known)
        found.report(
            "malformed", None, f"the database contains values that the log never wrote: {error!r}"[:500]
        )
        return Checked(found, 0, 0, 0, 0.0)
    finally:
        _running.release()


# Errors from reading tampered values, rows or tiles.
_NEVER_WRITTEN = (
    TileMissing,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    InvalidRequestError,
)


def _verify_any_text(database: Database, checkpoints: Checkpoints, first: int | None, limit: int) -> Checked:
    """If a value is not readable as text, read again in a slower way that finds its position."""
    with _despite_unreadable_text():
        checkpoints.make(whole=True)
    with _despite_unreadable_text():
        return _verify(database, checkpoints, first, limit)
    with reading_any_text(database) as damaged:
        return _verify(damaged, checkpoints, first, limit)


@contextmanager
def _despite_unreadable_text() -> Iterator[None]:
    try:
        yield
    except Unavailable as error:
        if not is_unreadable_text(error):
            raise


def _verify(database: Database, checkpoints: Checkpoints, first: int | None, limit: int) -> Checked:
    remembered = checkpoints.remembered
    started = time.monotonic()
    with database.transaction(write=False) as session:
        # In this order, because the log may grow meanwhile.
        lowest, highest = session.connection().execute(_EDGES).one()
        is_placeless = session.connection().execute(_PLACELESS).first() is not None
        oldest, size, newest = kept_from(session), size_of(session), _newest(session)
        is_ahead = newest is not None and newest.size > size_of(session)
        if newest is None:
            return _unsigned(checkpoints, size)
        first = max(oldest, min(first or 0, newest.size))
        wanted = first + limit
        end = newest if wanted >= newest.size else pinned(session, wanted)
    # The anchor's checkpoints of later records are compared with the range that reaches the end.
    sizes = range(first + 1, SEQ_MAX if end == newest else end.size + 1)
    kept = checkpoints.anchored(sizes)
    if remembered is not None and remembered.size in sizes and remembered not in kept:
        kept.append(remembered)
    verification = Verification(
        checkpoints.keys.known,
        kept,
        begins_inside=first > oldest,
        ends_inside=end != newest,
        metadata_text=str,
    )
    _check(database, FullExport(end, first), verification, newest.size)
    if size > newest.size:
        verification.remarks.append(f"records {newest.size} to {size - 1} are not signed")
    _check_edges(verification, lowest, highest, oldest, size)
    if is_ahead:
        verification.report("changed", newest.size, "there is a checkpoint of more records than the log has")
    if is_placeless:
        verification.report("changed", None, "there is a record without a position")
    if end == newest:
        with database.transaction(write=False) as session:
            _check_holds(session, verification, end.size)
    return Checked(verification, first, end.size, size, time.monotonic() - started)


def _newest(session: Session) -> Pinned | None:
    try:
        return pinned(session)
    except NotYetSigned:
        return None


def _unsigned(checkpoints: Checkpoints, size: int) -> Checked:
    """Handle a log without checkpoints: it is new, or it was replaced if an anchor has checkpoints."""
    anchored = checkpoints.newest_anchored() or checkpoints.remembered
    if anchored is None:
        raise NotYetSigned
    found = Verification(checkpoints.keys.known)
    found.report("rolled_back", 0, f"no record is signed, but {anchored.size} records were signed before")
    return Checked(found, 0, 0, size, 0.0)


_EDGES = select(func.min(RECORDS.c.seq), func.max(RECORDS.c.seq))
_PLACELESS = select(RECORDS.c.id).where(RECORDS.c.seq.is_(None)).limit(1)


def _check_holds(session: Session, verification: Verification, size: int) -> None:
    """Check that each hold is still in force, or was lifted by a signed statement since the checkpoint."""
    stated = verification.ledger.holds.items()
    here = set(session.connection().execute(select(HOLDS.c.user_id)).scalars())
    for account, seq in stated:
        if account in here:
            continue
        lifted = read_statements(session, _LIFTED.where(RECORDS.c.resource == account, RECORDS.c.seq >= size))
        keys = verification.keys
        if not any(Statement.of(one, one["metadata"] or "null", keys).is_signed for one in lifted):
            verification.report(
                "changed", seq, "the hold that it placed is missing, and no statement lifted it"
            )


_LIFTED = EVERYTHING.where(RECORDS.c.action == HOLD_LIFTED, RECORDS.c.actor == LOG_ITSELF)


def _check_edges(
    verification: Verification, lowest: int | None, highest: int | None, oldest: int, size: int
) -> None:
    """Report rows outside the log, which lists would show all the same."""
    if lowest is not None and lowest < 0:
        verification.report("changed", lowest, "there is a record before the first one")
    elif lowest is not None and lowest < oldest:
        verification.doubt(
            lowest, f"records before {oldest} were cut off, but some are still there or were restored"
        )
    if highest is not None and highest >= size:
        verification.report("changed", highest, "there is a record that is not in the tree")


class _BeforeCut(Verification):
    """Takes the time of each record from its verified content, not from a query."""

    def __init__(self, checkpoints: Checkpoints, sizes: range, cut: range, before: str) -> None:
        kept = checkpoints.anchored(sizes)
        super().__init__(checkpoints.keys.known, kept, ends_inside=True, metadata_text=str)
        self._cut, self._before = cut, before

    def add_record(self, record: Mapping[str, Any]) -> None:
        super().add_record(record)
        if record["seq"] in self._cut and record["received"] >= self._before:
            self.report("changed", record["seq"], "it is not old enough to be cut off")


def checked_before_cut(checkpoints: Checkpoints, first: int, end: int, before: str) -> list[Fault]:
    """Return the faults of a range of records that is about to be cut off."""
    database = checkpoints.database
    checkpoints.make(whole=True)
    with database.transaction(write=False) as session:
        newest, last = pinned(session), pinned(session, end)
    found = _BeforeCut(checkpoints, range(first + 1, last.size + 1), range(first, end), before)
    _check(database, FullExport(last, first), found, newest.size)
    return found.faults


def _check(database: Database, export: FullExport, verification: Verification, size: int) -> None:
    feed = _Feed(export, verification, size)
    try:
        with database.transaction(write=False) as session:
            verification.begin(export.header(session))
            feed.elsewhere(session)
        is_going_on = True
        while is_going_on:
            with database.transaction(write=False) as session:
                is_going_on = feed.chunk(session)
        with database.transaction(write=False) as session:
            feed.deletions(session)
        verification.finish()
    except TileMissing:
        verification.report("removed", verification.place, "the hashes of the tree are missing from here on")
    except NotAnExport as error:
        verification.report("changed", verification.place, str(error))


class _Feed:
    """Feeds a range of the log to its verification, and statements from outside the range.

    Those are compared only with their own hash and signature; the rest is checked with the range they are in.
    """

    def __init__(self, export: FullExport, verification: Verification, size: int) -> None:
        self._export, self._verification, self._size = export, verification, size

    def elsewhere(self, session: Session) -> None:
        first, end = self._export.first, self._export.end
        before = and_(RECORDS.c.action.in_(LASTING), RECORDS.c.seq < first)
        after = and_(RECORDS.c.action == RETENTION_CUT, RECORDS.c.seq >= end, RECORDS.c.seq < self._size)
        said = EVERYTHING.where(RECORDS.c.actor == LOG_ITSELF, or_(before, after))
        self._state(read_statements(session, said))
        for line in read_range(session, first - 1, first):
            self._verification.follows(line["received"])

    def chunk(self, session: Session) -> bool:
        """Return a chunk in a transaction of its own; False after the last."""
        lines: list[dict[str, Any]] = self._export.chunk(session)
        tree = tree_of(session)
        later = {by for by in erased_by(lines) if self._export.end <= by < self._size}
        known = self._verification.ledger.statements
        self._state(read_erasures(session, later - known.keys()))
        for line in lines:
            if line["type"] == "record":
                self._verification.add_record(line)
            elif line["type"] == "checkpoint":
                said = self._verification.add_checkpoint(line["note"])
                # The stored tree, from which proofs are made, must match the records.
                if said is not None and tree.root(said.size) != said.root:
                    self._verification.report("changed", self._verification.place, _OTHER_TREE)
        return bool(lines)

    def _state(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            self._verification.add_statement(line, is_proven=True)

    def deletions(self, session: Session) -> None:
        """Look for the deletions of accounts erased in this range in the rest of the log as well."""
        service, action, outcome = ACCOUNT_DELETED
        deleted = select(RECORDS.c.resource).where(
            RECORDS.c.service == service, RECORDS.c.action == action, RECORDS.c.outcome == outcome
        )
        ledger = self._verification.ledger
        accounts = [one.resource for one in ledger.erased_but_not_deleted()]
        for start in range(0, len(accounts), PLACES_AT_ONCE):
            some = deleted.where(RECORDS.c.resource.in_(accounts[start : start + PLACES_AT_ONCE]))
            ledger.deleted.update(session.connection().execute(some).scalars())
