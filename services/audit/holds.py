"""Holds, as the signed statements of the log show them: the owner of the database can empty their table."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import select
from sqlmodel import Session

from services.audit.checking import Verification
from services.audit.keys import LogKeys
from services.audit.log import append_own, size_of, tree_of
from services.audit.models import HOLDS, RECORDS
from services.audit.queries import PLACES_AT_ONCE, read_places, scan
from services.audit.statements import HOLD_LIFTED, HOLD_PLACED, LOG_ITSELF, Statement

_OF_HOLDS = f"actor = '{LOG_ITSELF}' AND action IN ('{HOLD_PLACED}', '{HOLD_LIFTED}')"


def state_hold(session: Session, keys: LogKeys, account: str) -> None:
    """Record the position from which all must be kept, so that the end of a hold cannot be forged."""
    own = scan(session, 0, size_of(session), "user_id = :account", limit=1, account=account)
    append_own(session, keys, HOLD_PLACED, account, {"first": own[0] if own else None})


def restate_holds(session: Session, keys: LogKeys) -> None:
    """State every hold again, with a single scan for all of them, because a scan may take long."""
    places = scan(session, 0, size_of(session), "user_id IN (SELECT user_id FROM holds)")
    first = dict[str, int]()
    for start in range(0, len(places), PLACES_AT_ONCE):
        some = RECORDS.c.seq.in_(places[start : start + PLACES_AT_ONCE])
        owners = select(RECORDS.c.user_id, RECORDS.c.seq).where(some).order_by(RECORDS.c.seq)
        for account, seq in session.connection().execute(owners):
            first.setdefault(account, seq)
    for account in sorted(held_accounts(session)):
        append_own(session, keys, HOLD_PLACED, account, {"first": first.get(account)})


def held_accounts(session: Session) -> set[str]:
    """Return the accounts in the table of holds."""
    return set(session.connection().execute(select(HOLDS.c.user_id)).scalars())


def is_stated(session: Session, keys: LogKeys, account: str) -> bool:
    """Whether a statement placed a hold on the account, and none has lifted it."""
    about = select(RECORDS.c.seq).where(RECORDS.c.resource == account, RECORDS.c.actor == LOG_ITSELF)
    places = session.connection().execute(about).scalars().all()
    return account in _in_force(_signed(session, keys, places))


def stated_accounts(session: Session, keys: LogKeys, low: int) -> set[str]:
    """Return the accounts under a hold according to the statements from position `low` on."""
    return _in_force(_signed(session, keys, scan(session, low, size_of(session), _OF_HOLDS)))


def _in_force(stated: Iterable[Statement]) -> set[str]:
    placed = dict[str, Statement]()
    for one in stated:
        if one.action == HOLD_PLACED:
            placed[one.resource] = one
        elif one.resource in placed and one.may_lift(placed[one.resource]):
            del placed[one.resource]
    return set(placed)


def _signed(session: Session, keys: LogKeys, places: Iterable[int]) -> Iterator[Statement]:
    """Return the statements at these positions that the key signed; a lift must be for this very log."""
    tree, lines = tree_of(session), read_places(session, places)
    for line in lines:
        one = stated(line, keys)
        is_of_hold = one is not None and one.is_signed and one.action in (HOLD_PLACED, HOLD_LIFTED)
        if (
            one is not None
            and is_of_hold
            and (one.action == HOLD_PLACED or one.root in (None, tree.root(one.seq).hex()))
        ):
            yield one


def stated(record: Mapping[str, Any], keys: LogKeys) -> Statement | None:
    """Return the statement in this record; None if it cannot be read. A signed one always can."""
    try:
        return Statement.of(record, record["metadata"] or "null", keys.known)
    except (ValueError, RecursionError):
        return None


def check_holds(session: Session, keys: LogKeys, verification: Verification, size: int) -> None:
    """Compare the table of holds with the statements: those that were verified, and newer ones."""
    session.connection().execute(select(HOLDS)).all()  # the list fails with an error if it cannot be read
    here = held_accounts(session)  # first, because a hold and its statement may be committed meanwhile
    newer = list(_signed(session, keys, scan(session, size, size_of(session), _OF_HOLDS)))
    lifted = {one.resource for one in newer if one.action == HOLD_LIFTED}
    placed = {one.resource for one in newer if one.action == HOLD_PLACED}
    stated = verification.ledger.holds
    for account, seq in stated.items():
        if account not in here | lifted:
            verification.report(
                "changed", seq, "the hold that it placed is missing, and no statement lifted it"
            )
    for account in sorted(here - stated.keys() - placed):
        verification.report("changed", None, f"there is a hold on account {account} that no statement placed")
