"""Erasure of a person: personal data is removed from the log, and every proof stays valid.

For the person's own actions, origin and details are erased; for other people's actions on the account, only
the details. The account id stays (it no longer identifies anyone); otherwise deleting an account would erase
the record of what it did. The log records each erasure in a signed statement: the account, and for each month
a digest of the cleared fields, so that clearing other fields cannot pass as an erasure.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Row, Select, and_, bindparam, delete, exists, or_, select, update
from sqlmodel import Session

from services.audit.any_text import is_unreadable
from services.audit.errors import NotErased
from services.audit.holds import is_stated
from services.audit.keys import LogKeys
from services.audit.log import append_own, rfc3339, size_of, take_turn, tree_of
from services.audit.models import ERASURES, HOLDS, PERSONAL, RECORDS
from services.audit.proofs import Erasure, leaf_of, root_by_inclusion
from services.audit.queries import read_places
from services.audit.statements import (
    ACCOUNT_DELETED,
    DELETED,
    LOG_ITSELF,
    MONTH,
    PERSON_ERASED,
    is_deletion,
    month_of,
)
from shared.clock import now
from shared.data.database import Database, insert_into
from shared.errors import Problem

CHUNK_RECORDS = 5_000
# How long records of a deleted account may still arrive.
LATE = timedelta(days=2)
# Another event brings the record of the deletion; usually both arrive together.
PATIENCE = timedelta(minutes=1)
DUE_MAX = 1_000
NOTHING = -1  # `done_to` before the first record is erased

log = structlog.get_logger(__name__)


def ask_for_erasure(session: Session, account_ids: Iterable[str]) -> None:
    """Schedule these accounts for erasure, which may take several transactions."""
    asked = now()
    rows = [{"account_id": account_id, "since": asked, "done_to": NOTHING} for account_id in account_ids]
    session.connection().execute(insert_into(session, ERASURES).on_conflict_do_nothing(), rows)


def erase_due(
    database: Database,
    keys: LogKeys,
    is_stopping: Callable[[], bool] = lambda: False,
    patience: timedelta = timedelta(),
    on_erased: Callable[[], None] = lambda: None,
) -> None:
    """Erase all scheduled accounts that are not under a hold; raise NotErased if one cannot be erased.

    `patience` is how long to wait for the record of the deletion, which the statement names. `on_erased` is
    called after each transaction that erased something, because a later one may fail.
    """
    is_due = or_(ERASURES.c.since <= now() - patience, exists(_deletions(ERASURES.c.account_id)))
    due, failed = _waiting(database, _has_traces(), is_due), 0
    for row in due:
        try:
            _erase_all(database, keys, row, is_stopping, on_erased)
        except Exception as error:
            if isinstance(error, Problem) and not is_unreadable(error):
                raise
            # Whoever owns the database can append a record that no program can read: go on with the others.
            failed += 1
            _note_failure(row.account_id, error)
    over = [row.account_id for row in _waiting(database, ~_has_traces(), ERASURES.c.since < now() - LATE)]
    if over:
        with database.transaction() as session:
            session.connection().execute(delete(ERASURES).where(ERASURES.c.account_id.in_(over)))
    if failed:
        raise NotErased(f"{failed} of {len(due)} accounts could not be erased")


def _erase_all(
    database: Database,
    keys: LogKeys,
    due: Row[Any],
    is_stopping: Callable[[], bool],
    on_erased: Callable[[], None],
) -> None:
    done_to: int | None = due.done_to
    while done_to is not None and not is_stopping():
        with database.transaction() as session:
            done_to = erase(session, keys, due.account_id, done_to)
        if done_to is not None:
            on_erased()


def _note_failure(account_id: str, error: Exception) -> None:
    if is_unreadable(error):
        next_step = "run GET /audit/verify: a record of this account cannot be read"
        log.error("audit_erasure_failed", account_id=account_id, error=repr(error), next_step=next_step)
    else:
        log.error("audit_erasure_failed", account_id=account_id, exc_info=error)


def _waiting(database: Database, *conditions: ColumnElement[bool]) -> Sequence[Any]:
    is_free = ERASURES.c.account_id.not_in(select(HOLDS.c.user_id))
    wanted = select(ERASURES.c.account_id, ERASURES.c.done_to)
    waiting = wanted.where(is_free, *conditions).order_by(ERASURES.c.since).limit(DUE_MAX)
    with database.transaction(write=False) as session:
        return session.connection().execute(waiting).all()


def _has_traces() -> ColumnElement[bool]:
    """Whether an account has records left to erase; one that has none only waits for late records."""
    is_fresh = RECORDS.c.seq > ERASURES.c.done_to
    columns = RECORDS.c.user_id, RECORDS.c.resource  # separate queries, because each has an index
    return or_(
        *(exists().where(column == ERASURES.c.account_id, is_fresh, _IS_NOT_OWN) for column in columns)
    )


# The log's own records about an account hold no personal data and explain why fields are empty.
_IS_NOT_OWN = RECORDS.c.actor != LOG_ITSELF


def erase(session: Session, keys: LogKeys, account_id: str, after: int) -> int | None:
    """Clear the next records of a person; return the last one's number, or None if none is left or held."""
    take_turn(session)
    connection = session.connection()
    if connection.execute(select(HOLDS).where(HOLDS.c.user_id == account_id)).first() is not None:
        return None
    if is_stated(session, keys, account_id):
        log.error(
            "audit_erasure_refused", next_step="run GET /audit/verify: the hold on an account is missing"
        )
        return None
    is_own, is_theirs = RECORDS.c.user_id == account_id, RECORDS.c.resource == account_id
    traces = (
        select(
            RECORDS.c.seq,
            RECORDS.c.received,
            is_own.label("own"),
            PERSONAL.c.origin_salt,
            PERSONAL.c.details_salt,
        )
        .join(PERSONAL, and_(PERSONAL.c.seq == RECORDS.c.seq, PERSONAL.c.received == RECORDS.c.received))
        .where(or_(is_own, is_theirs), RECORDS.c.seq > after, _IS_NOT_OWN)
        .order_by(RECORDS.c.seq)
        .limit(CHUNK_RECORDS)
    )
    found = connection.execute(traces).all()
    if not found:
        return None
    _empty(session, keys, account_id, found)
    done_to: int = found[-1].seq
    mine = update(ERASURES).where(ERASURES.c.account_id == account_id)
    connection.execute(mine.values(done_to=done_to))
    return done_to


def _empty(session: Session, keys: LogKeys, account_id: str, found: Sequence[Row[Any]]) -> None:
    places: dict[str, list[int]] = {"origin": [], "details": []}
    erasure, months = Erasure(found[0].seq), dict[str, Erasure]()
    for row in found:
        month = months.setdefault(rfc3339(row.received)[MONTH], Erasure(row.seq))
        parts = {"origin": row.own and row.origin_salt, "details": row.details_salt}
        for part, is_there in parts.items():
            if is_there:
                places[part].append(row.seq)
                erasure.add(row.seq, part)
                month.add(row.seq, part)
    if not erasure.places:
        return
    emptied = {name: month_of(month) for name, month in months.items() if month.places}
    # The totals are for old verifiers, which do not read the months.
    said = {"first": erasure.first, **month_of(erasure), "months": emptied}
    deleted = _deletion(session, account_id)
    if deleted is not None:
        said[DELETED] = deleted
    by = append_own(session, keys, PERSON_ERASED, account_id, said)
    for part, values in _EMPTY.items():
        statement = update(PERSONAL).where(PERSONAL.c.seq == bindparam("place"))
        rows = [{"place": seq} for seq in places[part]]
        if rows:
            session.connection().execute(statement.values({**values, f"{part}_erased_by": by}), rows)
    log.info("person_erased", places=erasure.places, seq=by)


def _deletion(session: Session, account_id: str) -> int | None:
    """Return the record of the deletion, if the tree proves it and retention has not cut it off."""
    of_account = _deletions(account_id).order_by(RECORDS.c.id).limit(1)
    places = session.connection().execute(of_account).scalars().all()
    tree, size = tree_of(session), size_of(session)
    for line in read_places(session, places):
        seq, leaf = line["seq"], leaf_of(line).digest()
        is_in_tree = root_by_inclusion(leaf, seq, size, tree.inclusion(seq, size)) == tree.root(size)
        if is_in_tree and line["resource"] == account_id and is_deletion(line):
            return int(seq)
    return None


def _deletions(account_id: str | ColumnElement[str]) -> Select[Any]:
    service, action, outcome = ACCOUNT_DELETED
    return select(RECORDS.c.seq).where(
        RECORDS.c.resource == account_id,
        RECORDS.c.service == service,
        RECORDS.c.action == action,
        RECORDS.c.outcome == outcome,
    )


_EMPTY: dict[str, dict[str, None]] = {
    "origin": {"ip": None, "user_agent": None, "origin_salt": None},
    "details": {"metadata": None, "details_salt": None},
}
