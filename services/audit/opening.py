"""The first statement of a log: from here on, every statement is signed, together with the tree before it."""

import structlog
from sqlmodel import Session

from services.audit.checking import Verification
from services.audit.checkpoints import Checkpoints
from services.audit.export import FullExport
from services.audit.feed import check, pinned
from services.audit.holds import restate_holds, stated
from services.audit.keys import LogKeys
from services.audit.log import append_own, kept_from, size_of, take_turn
from services.audit.models import RECORDS
from services.audit.queries import EVERYTHING, checked_metadata, scan
from services.audit.statements import LOG_ITSELF, LOG_OPENED, LOG_SERVICE, RETENTION_CUT, Fault

OPENING = (LOG_OPENED, RETENTION_CUT)  # a cut may have removed LOG_OPENED

log = structlog.get_logger(__name__)


def open_new_log(session: Session, keys: LogKeys) -> None:
    """Open a log that has no records yet."""
    take_turn(session)  # several replicas may start at once
    if not size_of(session):
        open_log(session, keys)


def open_older_log(checkpoints: Checkpoints) -> None:
    """Open a log of a version whose statements had another form, if the log is as it was signed.

    Otherwise the owner of the database could hide the statements while the service starts, so that it would
    state a hold that nobody placed.
    """
    database = checkpoints.database
    with database.transaction(write=False) as session:
        if _is_opened(session, checkpoints.keys):
            return
    checkpoints.make(whole=True)
    fault, checked = _fault(checkpoints)
    if fault is not None:
        next_step = "run GET /audit/verify; until it reports intact, holds are not stated again"
        log.error("audit_opening_refused", kind=fault.kind, seq=fault.seq, next_step=next_step)
        return
    with database.transaction() as session:
        take_turn(session)
        # If there are newer statements, the next run looks again: another replica may have been faster.
        if not scan(session, checked, size_of(session), f"actor = '{LOG_ITSELF}'", limit=1):
            open_log(session, checkpoints.keys)


def open_log(session: Session, keys: LogKeys) -> None:
    """Append LOG_OPENED and restate the existing holds, unless that was done before."""
    take_turn(session)
    if _is_opened(session, keys):
        return
    append_own(session, keys, LOG_OPENED, LOG_SERVICE, {"statements": "signed"})
    restate_holds(session, keys)


def _fault(checkpoints: Checkpoints) -> tuple[Fault | None, int]:
    """Check the whole log; return what forbids opening it, and the size that was checked."""
    # Read before the log: checkpoints signed while the log is read would otherwise look like a rollback.
    length = checkpoints.anchor_bytes()
    with checkpoints.database.transaction(write=False) as session:
        newest, first = pinned(session), kept_from(session)
    kept = checkpoints.anchored(range(first + 1, newest.size + 1), length)
    found = Verification(checkpoints.keys.known, kept, metadata_text=checked_metadata)
    check(checkpoints.database, FullExport(newest, first), found, newest.size)
    hidden = (one for one in found.ledger.here if one.action in OPENING and one.root is not None)
    for one in hidden:  # by an index, because it was found by its position
        found.report("changed", one.seq, "the log was opened before, and the database hides it")
    return next(iter(found.faults), None), newest.size


def _is_opened(session: Session, keys: LogKeys) -> bool:
    return any(_is_in_this_form(session, keys, action) for action in OPENING)


def _is_in_this_form(session: Session, keys: LogKeys, action: str) -> bool:
    """Whether the newest statement of this kind has the form of this version."""
    mine = EVERYTHING.where(RECORDS.c.action == action, RECORDS.c.actor == LOG_ITSELF)
    newest = session.connection().execute(mine.order_by(RECORDS.c.id.desc()).limit(1)).mappings().first()
    one = stated({**newest}, keys) if newest is not None else None
    return one is not None and one.root is not None
