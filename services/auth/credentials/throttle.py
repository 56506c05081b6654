"""Throttling of password guesses, stored in the database so that all replicas share it.

Attempts from a known device are counted for that device alone. All other attempts are counted twice: for the
account together with the network (an IPv4 address or an IPv6 /64), which is blocked early, and for the
account alone, which is slowed down late. So guesses from one network block only that network, and guesses
from many networks do not block the owner's devices.

Names without an account are counted like accounts, so throttling does not reveal which names exist.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count

from sqlalchemy import bindparam, delete, select, update
from sqlmodel import Session

from services.auth.errors import LoginThrottled
from services.auth.models import ATTEMPTS, EXPIRED_PER_CHANGE_MAX
from shared.clock import now
from shared.data.statements import Rows, Statement, deletion_of, upsert_of
from shared.hashing import sha256_hex

FREE_FAILURES = 5
BLOCK_SECONDS_MAX = 15 * 60
# For all unknown devices together, per account. Two networks that guess without pause stay below it.
STRANGERS_AT_ONCE = 100
STRANGERS_INTERVAL = timedelta(minutes=5)
FORGOTTEN_AFTER = timedelta(hours=24)
ROWS_MAX = 100_000
SURPLUS_EVERY = 1_000  # attempts; each adds at most two rows
SURPLUS_DELETED_MAX = 10_000

_attempts_made = count(1)
_is_named = ATTEMPTS.c.name_hash == bindparam("name")
# Updating an existing row locks it. ON CONFLICT DO NOTHING would not, and a concurrent sign-in could delete
# the row before it is read.
_LOCK = Rows(upsert_of(ATTEMPTS, "updated").returning(ATTEMPTS.c.failures, ATTEMPTS.c.blocked_until))
_CHANGE = Statement(
    update(ATTEMPTS).where(_is_named).values(failures=bindparam("failed"), blocked_until=bindparam("until"))
)
_RESET = Statement(delete(ATTEMPTS).where(_is_named))
_DELETE_OLD = Statement(deletion_of(ATTEMPTS.c.name_hash, ATTEMPTS.c.updated, EXPIRED_PER_CHANGE_MAX))


@dataclass(frozen=True, slots=True)
class Attempt:
    """One password attempt, with the names of its counters."""

    own: str
    strangers: str | None = None  # shared by all unknown devices

    @classmethod
    def at_login(cls, account: str, *, network: str, known_device: str | None) -> "Attempt":
        if known_device is not None:
            return cls(f"login {account} on {known_device}")
        return cls(f"login {account} from {network}", f"login {account}")

    def count(self, session: Session) -> None:
        """Count the attempt, or raise LoginThrottled.

        Counting happens before the password is checked, so that concurrent guesses are all counted.
        """
        # Always locked in this order, so that two attempts never wait for each other.
        strangers = None if self.strangers is None else _locked(session, self.strangers)
        own = _locked(session, self.own)
        blocked_until = max(row.blocked_until for row in (strangers, own) if row is not None)
        wait = (blocked_until - now()).total_seconds()
        if wait > 0:
            raise LoginThrottled(headers={"Retry-After": str(math.ceil(wait))})
        own.failures += 1
        own.blocked_until = now() + timedelta(seconds=block_seconds(own.failures))
        if strangers is not None:
            strangers.count(STRANGERS_AT_ONCE, STRANGERS_INTERVAL)
            strangers.write(session)
        own.write(session)
        # Last, so that a transaction waiting for a row deleted here holds no lock that this one needs.
        _clean(session)

    def succeeded(self, session: Session) -> None:
        """Reset the counter after the correct password; other unknown devices' guesses stay counted."""
        if self.strangers is not None:
            strangers = _locked(session, self.strangers)
            strangers.blocked_until -= STRANGERS_INTERVAL
            strangers.write(session)
        _RESET.execute(session, {"name": sha256_hex(self.own)})


@dataclass(frozen=True, slots=True)
class Pace:
    """A rate limit: `at_once` in a burst, then one per interval. For costly actions such as mails."""

    at_once: int
    interval: timedelta

    def wait(self, session: Session, name: str) -> int:
        """Count one use and return 0, or return the seconds until the next use is allowed."""
        row = _locked(session, name)
        wait = (row.blocked_until - now()).total_seconds()
        if wait > 0:
            return math.ceil(wait)
        row.count(self.at_once, self.interval)
        row.write(session)
        _clean(session)
        return 0

    def take(self, session: Session, name: str) -> None:
        """Count one, or raise LoginThrottled."""
        wait = self.wait(session, name)
        if wait:
            raise LoginThrottled(headers={"Retry-After": str(wait)})


def block_seconds(failures: int) -> int:
    """Return how long the device or network is blocked: not at first, then twice as long each time."""
    if failures < FREE_FAILURES:
        return 0
    return int(min(2 ** min(failures - FREE_FAILURES + 1, 30), BLOCK_SECONDS_MAX))


@dataclass(slots=True)
class _Counter:
    """A row of attempts that this transaction has locked."""

    name_hash: str
    failures: int
    blocked_until: datetime

    def count(self, at_once: int, interval: timedelta) -> None:
        self.blocked_until = max(self.blocked_until, now() - (at_once - 1) * interval) + interval

    def write(self, session: Session) -> None:
        values = {"name": self.name_hash, "failed": self.failures, "until": self.blocked_until}
        _CHANGE.execute(session, values)


def _locked(session: Session, name: str) -> _Counter:
    moment, name_hash = now(), sha256_hex(name)
    row = _LOCK.one(
        session, name_hash=name_hash, failures=0, blocked_until=moment - FORGOTTEN_AFTER, updated=moment
    )
    assert row is not None
    return _Counter(name_hash, **row)


def _clean(session: Session) -> None:
    """Delete old rows, and occasionally the surplus: unauthenticated clients can add any number of names."""
    _DELETE_OLD.execute(session, {"before": now() - FORGOTTEN_AFTER})
    if next(_attempts_made) % SURPLUS_EVERY:
        return
    newest_first = select(ATTEMPTS.c.name_hash).order_by(ATTEMPTS.c.updated.desc()).offset(ROWS_MAX)
    surplus = newest_first.limit(SURPLUS_DELETED_MAX).with_for_update(skip_locked=True)
    session.connection().execute(delete(ATTEMPTS).where(ATTEMPTS.c.name_hash.in_(surplus)))
