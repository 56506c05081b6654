"""Verification of the log in place, by the same rules as the stand-alone verifier."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import func, select
from sqlalchemy.exc import DatabaseError, InvalidRequestError
from sqlmodel import Session

from services.audit.any_text import is_unreadable_text, reading_any_text
from services.audit.checking import Verification
from services.audit.checkpoints import Checkpoints
from services.audit.errors import NotYetSigned, VerificationRunning
from services.audit.export import FullExport, Pinned
from services.audit.feed import check, pinned
from services.audit.holds import check_holds
from services.audit.indexes import MAY_DIFFER, check_indexes
from services.audit.leftovers import check_leftovers
from services.audit.log import kept_from, size_of, tree_of
from services.audit.models import RECORDS
from services.audit.proofs import Checkpoint
from services.audit.queries import checked_metadata
from services.audit.schemas import SEQ_MAX
from services.audit.statements import REPEAT_IT
from services.audit.tables import odd_tables
from services.audit.tiles import HASHES_PER_RECORD, check_cut_off, check_levels
from services.audit.tree import TileMissing
from services.audit.unerased import check_unerased
from shared.data.database import Database
from shared.errors import Unavailable

CHECKS_MAX = 5  # of one range, if erasures interrupt them

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


def verify(database: Database, checkpoints: Checkpoints, first: int | None, limit: int) -> Checked:
    """Check `limit` records from a position on, up to the next checkpoint. Only one check runs at a time."""
    if not _running.acquire(blocking=False):
        raise VerificationRunning
    try:
        return _verify_beside_cuts(database, checkpoints, first, limit)
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
    RecursionError,
    TypeError,
    ValueError,
    DatabaseError,
    InvalidRequestError,
)


def _verify_beside_cuts(
    database: Database, checkpoints: Checkpoints, first: int | None, limit: int
) -> Checked:
    """Check again if records were cut off or erased meanwhile, because then they seem to be tampered with.

    An account with many records is erased in several transactions, and the next account may follow at once.
    """
    for _ in range(CHECKS_MAX):
        before = _horizon(database)
        checked = _verify_any_text(database, checkpoints, first, limit)
        faults, unproven = checked.verification.faults, checked.verification.unproven
        is_erased = any(one.detail.endswith(REPEAT_IT) for one in faults)
        is_cut = bool(faults or unproven) and _horizon(database) != before
        if not (is_erased or is_cut):
            break
    return checked


def _horizon(database: Database) -> int:
    with database.transaction(write=False) as session:
        return kept_from(session)


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
    # Read before the log: checkpoints signed while the log is read would otherwise look like a rollback.
    remembered, anchored_to = checkpoints.remembered, checkpoints.anchor_bytes()
    started = time.monotonic()
    with database.transaction(write=False) as session:
        # In this order, because the log may grow meanwhile.
        lowest, highest = session.connection().execute(_EDGES).one()
        is_placeless = session.connection().execute(_PLACELESS).first() is not None
        oldest, size, newest = kept_from(session), size_of(session), _newest(session)
        odd = list(odd_tables(session))
        is_ahead = newest is not None and newest.size > size_of(session)
        if newest is None:
            return _unsigned(checkpoints, size)
        asked = first or 0
        first = max(oldest, 0, min(asked, newest.size))
        wanted = first + limit
        end = newest if wanted >= newest.size else pinned(session, wanted)
    # The anchor's checkpoints of later records are compared with the range that reaches the end.
    sizes = range(first + 1, SEQ_MAX if end == newest else end.size + 1)
    verification = Verification(
        checkpoints.keys.known,
        _kept(checkpoints, sizes, remembered, anchored_to, cut_off=first if first == oldest else 0),
        consistency=lambda size, to: _consistency(database, size, to),
        begins_inside=first > oldest,
        ends_inside=end != newest,
        metadata_text=checked_metadata,
    )
    check(database, FullExport(end, first), verification, newest.size)
    if first == oldest:
        _check_cut_off(database, verification, min(asked, first), first, limit)
    if size > newest.size:
        verification.remarks.append(f"records {newest.size} to {size - 1} are not signed")
    if checkpoints.is_swallowed:
        verification.report("changed", newest.size, "the database does not store checkpoints from here on")
    _check_edges(verification, lowest, highest, oldest, size)
    if type(lowest) is int and 0 <= lowest < oldest:
        check_leftovers(database, verification, lowest, oldest, limit)
    _check_lists(
        database, verification, odd, FullExport(end, first), is_whole=first == oldest and end == newest
    )
    check_unerased(database, verification)
    if is_ahead:
        verification.report("changed", newest.size, "there is a checkpoint of more records than the log has")
    if is_placeless:
        verification.report("changed", None, "there is a record without a position")
    if end == newest:
        check_levels(database, verification.report)
        with database.transaction(write=False) as session:
            check_holds(session, checkpoints.keys, verification, end.size)
    return Checked(verification, first, end.size, size, time.monotonic() - started)


def _check_lists(
    database: Database, verification: Verification, odd: Sequence[str], here: FullExport, *, is_whole: bool
) -> None:
    for what in odd:
        verification.doubt(None, f"{MAY_DIFFER}: {what}")
    if not odd:  # a view has no indexes
        check_indexes(database, verification.doubt, here.first, here.end, is_whole=is_whole)


def _check_cut_off(database: Database, verification: Verification, first: int, end: int, limit: int) -> None:
    checked = check_cut_off(database, verification.report, first, end, limit * HASHES_PER_RECORD)
    if checked < end:
        verification.remarks.append(
            f"the hashes of records {checked} to {end - 1}, which were cut off, are not checked: "
            f"continue with from={checked}"
        )


def _kept(
    checkpoints: Checkpoints, sizes: range, remembered: Checkpoint | None, anchored_to: int, cut_off: int
) -> list[Checkpoint]:
    """Return checkpoints from outside the database: of these sizes, and the newest of what was cut off."""
    kept = checkpoints.anchored(sizes, anchored_to)
    older = checkpoints.newest_anchored_of(range(1, cut_off + 1))
    if older is not None:
        kept.append(older)
    is_here = remembered is not None and (remembered.size in sizes or remembered.size <= cut_off)
    if remembered is not None and is_here and remembered not in kept:
        kept.append(remembered)
    return kept


def _consistency(database: Database, size: int, to: int) -> list[bytes]:
    with database.transaction(write=False) as session:
        return tree_of(session).consistency(size, to)


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


# Each in a query of its own: for both at once, SQLite would read a whole index, which may also be damaged.
_EDGES = select(*(select(end(RECORDS.c.seq)).scalar_subquery() for end in (func.min, func.max)))
_PLACELESS = select(RECORDS.c.id).where(RECORDS.c.seq.is_(None)).limit(1)


def _check_edges(
    verification: Verification, lowest: int | None, highest: int | None, oldest: int, size: int
) -> None:
    """Report rows outside the log, which lists would show nevertheless."""
    if oldest < 0:
        verification.report("changed", None, "the first record that is kept has a negative position")
    if lowest is not None and lowest < 0:
        verification.report("changed", _position(lowest), "there is a record before the first one")
    elif lowest is not None and type(lowest) is not int:
        verification.report("changed", None, "there is a record whose position is not a whole number")
    if highest is not None and highest >= size:
        verification.report("changed", _position(highest), "there is a record that is not in the tree")


def _position(found: Any) -> int | None:
    """Return a position; if the owner of a SQLite database removed the key, it may be any value."""
    return found if type(found) is int else None
