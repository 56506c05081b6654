"""Accounts that were deleted, but not erased: the owner of the database may have removed the request."""

from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy import and_, select
from sqlmodel import Session

from services.audit.checking import Verification
from services.audit.holds import held_accounts
from services.audit.models import PERSONAL, RECORDS
from services.audit.queries import PLACES_AT_ONCE
from services.audit.statements import ACCOUNT_DELETED, LOG_ITSELF
from shared.clock import now
from shared.data.database import Database

PATIENCE = timedelta(hours=1)  # an outage may delay an erasure; usually it takes seconds


def check_unerased(database: Database, verification: Verification) -> None:
    """Look for personal data of the accounts that were deleted in the range that was checked.

    Only in records before the deletion, because the ones after it may have arrived too late to be erased.
    """
    ledger = verification.ledger
    with database.transaction(write=False) as session:
        held = held_accounts(session) | ledger.holds.keys()
    accounts = sorted(ledger.deleted - held)
    for start in range(0, len(accounts), PLACES_AT_ONCE):
        with database.transaction(write=False) as session:
            for account, seq, kept in _kept(session, accounts[start : start + PLACES_AT_ONCE]):
                what = f"account {account} was deleted, but {kept} of this record were not erased"
                verification.doubt(seq, what)


def _kept(session: Session, accounts: list[str]) -> Iterator[tuple[str, int, str]]:
    """Return those of which, or about which, a record has personal data, each with one such record."""
    service, action, outcome = ACCOUNT_DELETED
    deletions = select(RECORDS.c.resource, RECORDS.c.seq).where(
        RECORDS.c.resource.in_(accounts),
        RECORDS.c.service == service,
        RECORDS.c.action == action,
        RECORDS.c.outcome == outcome,
        RECORDS.c.received < now() - PATIENCE,
    )
    same = and_(PERSONAL.c.seq == RECORDS.c.seq, PERSONAL.c.received == RECORDS.c.received)
    any_before = select(RECORDS.c.seq).join(PERSONAL, same)
    parts = (
        (RECORDS.c.user_id, PERSONAL.c.origin_salt, "ip and user_agent"),
        (RECORDS.c.resource, PERSONAL.c.details_salt, "the details"),
    )
    last = dict(sorted((account, seq) for account, seq in session.connection().execute(deletions)))
    for account, deleted in last.items():
        for of_account, salt, kept in parts:  # one after the other, because each column has an index
            before = any_before.where(
                of_account == account,
                salt.is_not(None),
                RECORDS.c.seq < deleted,
                RECORDS.c.actor != LOG_ITSELF,
            )
            seq = session.connection().execute(before.limit(1)).scalar_one_or_none()
            if seq is not None:
                yield account, seq, kept
                break
