"""Retention: after the configured time the content of records is deleted, and their hashes stay.

Retention deletes whole months, by the time at which the log received a record. PostgreSQL has a partition for
each month, created in advance and dropped as a whole; in SQLite rows are deleted in batches.
"""

from collections.abc import Callable
from datetime import datetime

import structlog
from sqlalchemy import Table, and_, delete, func, select, text
from sqlmodel import Session

from services.audit.before_cut import checked_before_cut
from services.audit.checking import FUTURE_MAX
from services.audit.checkpoints import Checkpoints
from services.audit.log import append_own, kept_from, move_horizon, rfc3339, size_of, take_turn
from services.audit.models import HOLDS, PERSONAL, RECORDS
from services.audit.queries import scan
from services.audit.statements import (
    HOLD_PLACED,
    LOG_ITSELF,
    LOG_SERVICE,
    RETENTION_CUT,
    ROOTED,
    SIGNED,
    SINCE,
)
from shared.data.database import Database

CHUNK_RECORDS = 2_000
MONTHS_AHEAD = 3
PARTITIONED = (RECORDS, PERSONAL)  # in the order in which queries name them, and so lock them
LOCK_SECONDS = 5
# Of the log itself: any service may record an action of this name, and could put off every cut.
_PLACED = f"actor = '{LOG_ITSELF}' AND action = '{HOLD_PLACED}'"

log = structlog.get_logger(__name__)


def prepare_months(session: Session, moment: datetime) -> None:
    """Create partitions for the current month and the following ones."""
    if session.get_bind().dialect.name == "sqlite":
        return
    take_turn(session)  # several replicas may start at once
    there = set(_partitions(session))
    for ahead in range(MONTHS_AHEAD):
        begin, end = _month(moment, ahead), _month(moment, ahead + 1)
        for table in PARTITIONED:
            name = f"{table.name}_{begin:%Y_%m}"
            if name in there:
                continue
            values = f"FROM ('{begin.isoformat()}') TO ('{end.isoformat()}')"
            session.connection().execute(
                text(f"CREATE TABLE partitions.{name} PARTITION OF {table.name} FOR VALUES {values}")
            )
            session.connection().execute(
                text(
                    f"CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON partitions.{name} "
                    "EXECUTE FUNCTION refuse_change()"
                )
            )


def cut(
    checkpoints: Checkpoints, moment: datetime, months: int, is_stopping: Callable[[], bool] = lambda: False
) -> None:
    """Delete content older than this number of whole months; 0 keeps everything."""
    database = checkpoints.database
    _warn_of_the_future(database, moment)
    if months:
        _move_horizon(checkpoints, _month(moment, -months), months)
    while not is_stopping() and _delete_some(database):
        pass


def _warn_of_the_future(database: Database, moment: datetime) -> None:
    """Every later record gets at least the time of the last one, so none of them would ever be cut off.

    They are stored all the same: a clock that was wrong once must not stop the log forever.
    """
    with database.transaction(write=False) as session:
        of_last = select(RECORDS.c.received).order_by(RECORDS.c.seq.desc()).limit(1)
        last: datetime | None = session.connection().execute(of_last).scalar_one_or_none()
    if last is not None and last > moment + FUTURE_MAX:
        next_step = "check the clock; records from this time on are kept until RETENTION_MONTHS after it"
        log.error("audit_log_dated_in_the_future", received=rfc3339(last), next_step=next_step)


def _move_horizon(checkpoints: Checkpoints, before: datetime, months: int) -> None:
    """Record the cut before it happens, and only if the records match what was signed.

    Otherwise the owner of the database could backdate records to have them cut off.
    """
    with checkpoints.database.transaction(write=False) as session:
        past, seq, before = _to_be_cut(session, before)
    if seq <= past:
        return
    found, checked = checked_before_cut(checkpoints, past, seq, rfc3339(before))
    if found.faults:
        next_step = "run GET /audit/verify; nothing is cut off until it reports intact"
        fault = found.faults[0]
        log.error("audit_cut_refused", kind=fault.kind, seq=fault.seq, next_step=next_step)
        return
    forms = {form: since for form in (SIGNED, ROOTED) if (since := found.ledger.since(form)) is not None}
    with checkpoints.database.transaction() as session:
        take_turn(session)
        held = scan(session, checked, size_of(session), _PLACED, limit=1)
        if held or _to_be_cut(session, before) != (past, seq, before):
            return  # there is a new hold, or another replica was faster
        said = {"kept_from": seq, "before": rfc3339(before), "months": months, SINCE: forms}
        append_own(session, checkpoints.keys, RETENTION_CUT, LOG_SERVICE, said)
        move_horizon(session, seq)
    log.info("audit_log_cut", **said)


def _to_be_cut(session: Session, before: datetime) -> tuple[int, int, datetime]:
    """Return the first record kept now, the first kept after the cut, and the latter's month."""
    accounts = select(HOLDS.c.user_id)
    of_account = RECORDS.c.user_id.in_(accounts)
    # The record of the hold stays as well: it proves that the account is under a hold.
    placed = and_(
        RECORDS.c.resource.in_(accounts), RECORDS.c.action == HOLD_PLACED, RECORDS.c.actor == LOG_ITSELF
    )
    held = [select(func.min(RECORDS.c.received)).where(one) for one in (of_account, placed)]
    moments = [session.connection().execute(one).scalar_one() for one in held]
    first_held: datetime | None = min(filter(None, moments), default=None)
    if first_held is not None:
        before = min(before, _month(first_held, 0))
    past = kept_from(session)
    oldest = (
        select(RECORDS.c.seq)
        .where(RECORDS.c.seq >= past, RECORDS.c.received >= before)
        .order_by(RECORDS.c.seq)
    )
    found = session.connection().execute(oldest.limit(1)).scalar_one_or_none()
    return past, size_of(session) if found is None else found, before


def _delete_some(database: Database) -> bool:
    """Delete some of the records before the horizon; False if nothing is left there."""
    with database.transaction() as session:
        horizon = kept_from(session)
        if not database.is_sqlite:
            return _drop_partitions(session, horizon)
        deleted = [_delete_oldest(session, table, horizon) for table in PARTITIONED]
        return any(deleted)


def _delete_oldest(session: Session, table: Table, horizon: int) -> int:
    oldest = select(table.c.seq).where(table.c.seq < horizon).order_by(table.c.seq).limit(CHUNK_RECORDS)
    return session.connection().execute(delete(table).where(table.c.seq.in_(oldest))).rowcount


def _drop_partitions(session: Session, horizon: int) -> bool:
    take_turn(session)
    old = [name for name in _partitions(session) if _is_before(session, name, horizon)]
    if old:
        _lock_like_readers(session)
    for name in old:
        session.connection().execute(text(f"DROP TABLE partitions.{name}"))
    return False


def _is_before(session: Session, partition: str, horizon: int) -> bool:
    of_partition = text(f"SELECT max(seq) FROM partitions.{partition}")  # noqa: S608 - a name of ours
    newest: int | None = session.connection().execute(of_partition).scalar_one()
    return newest is not None and newest < horizon


def _lock_like_readers(session: Session) -> None:
    """Lock the tables in the order in which queries lock them.

    Dropping partitions in the order of their names would lock them the other way round. PostgreSQL would then
    cancel a reader in between, and an export would end in the middle of the file. Everybody waits behind this
    lock, so give up early if something reads for long, such as a backup; the cut is repeated within an hour.
    """
    session.connection().execute(text(f"SET LOCAL lock_timeout = {LOCK_SECONDS * 1000:.0f}"))
    for table in PARTITIONED:
        session.connection().execute(text(f"LOCK TABLE ONLY {table.name} IN ACCESS EXCLUSIVE MODE"))


def _partitions(session: Session) -> list[str]:
    names = text(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'partitions'"
        " AND tablename ~ '^(records|personal)_[0-9]{4}_[0-9]{2}$' ORDER BY tablename"
    )
    return list(session.connection().execute(names).scalars())


def _month(moment: datetime, ahead: int) -> datetime:
    """Return the beginning of the month this number of months ahead."""
    count = moment.year * 12 + moment.month - 1 + ahead
    return datetime(count // 12, count % 12 + 1, 1, tzinfo=moment.tzinfo)
