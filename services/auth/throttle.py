"""A brake on guessing passwords: per name, in the database, so that it holds over all replicas.

A name says what is tried and by whom: `login admin`, `password of <id>`.
"""

import hashlib
import math
from datetime import timedelta

from sqlalchemy import delete
from sqlmodel import Session

from services.auth.errors import LoginThrottled
from services.auth.models import ATTEMPTS, LoginAttempts, delete_expired
from shared.clock import now
from shared.database import insert_into

FREE_FAILURES = 5
BLOCK_SECONDS_MAX = 15 * 60
FORGOTTEN_AFTER = timedelta(hours=24)


def count_attempt(session: Session, name: str) -> None:
    """Count one more attempt, or refuse it.

    It is counted before the password is looked at, so that many guesses at once are many attempts. Names
    that nobody has are counted like the others, and so tell nothing.
    """
    delete_expired(session, ATTEMPTS.c.name_hash, ATTEMPTS.c.updated < now() - FORGOTTEN_AFTER)
    attempts = _locked(session, name)
    wait = (attempts.blocked_until - now()).total_seconds()
    if attempts.failures >= FREE_FAILURES and wait > 0:
        raise LoginThrottled(headers={"Retry-After": str(math.ceil(wait))})
    attempts.failures += 1
    attempts.updated = now()
    attempts.blocked_until = now() + timedelta(seconds=block_seconds(attempts.failures))


def forget_attempts(session: Session, name: str) -> None:
    """Start anew after the right password."""
    session.connection().execute(delete(ATTEMPTS).where(ATTEMPTS.c.name_hash == _hash(name)))


def block_seconds(failures: int) -> int:
    """How long nobody may try again: nothing at first, then twice as long each time."""
    if failures < FREE_FAILURES:
        return 0
    return int(min(2 ** min(failures - FREE_FAILURES + 1, 30), BLOCK_SECONDS_MAX))


def _locked(session: Session, name: str) -> LoginAttempts:
    row = LoginAttempts(name_hash=_hash(name), updated=now()).model_dump()
    # Writing to a row that is there already locks it. Doing nothing would not, and whoever signs in at this
    # moment could delete it before it is read.
    touch = {"updated": row["updated"]}
    adding = insert_into(session, ATTEMPTS).values(row)
    session.connection().execute(adding.on_conflict_do_update(index_elements=["name_hash"], set_=touch))
    attempts = session.get(LoginAttempts, _hash(name))
    assert attempts is not None
    return attempts


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
