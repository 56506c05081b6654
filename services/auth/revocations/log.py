"""The log of revocations: written in the transactions that cause them, and read in commit order."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from sqlalchemy import event, func, insert, select, update
from sqlmodel import Session

from services.auth.models import COUNTER, REVOCATIONS, delete_expired
from services.auth.settings import Settings
from shared.clock import now
from shared.data.database import execute_in_driver
from shared.identity.revocations import Kind, Revocation, RevocationPage
from shared.identity.tokens import LEEWAY_SECONDS

MARGIN_SECONDS = 300  # for clock differences, and for tokens that are being signed during the revocation
FOR_GOOD = timedelta(days=36_500)
PAGE_ROWS = 1_000
_PENDING = "revocations"


class RevocationLog:
    """Writes revocations in the transaction that causes them.

    A reader asks for what follows the last number it has seen, so no number may appear after a higher one.
    Numbers are therefore assigned under the lock of one row, as the last step before the commit. So they are
    in commit order, the lock is held briefly, and it cannot cause a deadlock.
    """

    def __init__(self, settings: Settings) -> None:
        self.kept = timedelta(seconds=settings.access_token_seconds + LEEWAY_SECONDS + MARGIN_SECONDS)
        self.on_commit: Callable[[], None] = lambda: None

    def add(
        self,
        session: Session,
        kind: Kind,
        subjects: Iterable[str],
        *,
        below: int | None = None,
        for_good: bool = False,
    ) -> None:
        """Revoke the subjects when the transaction commits; with `below`, only tokens of older versions.

        A revocation `for_good` never expires.
        """
        kept = FOR_GOOD if for_good else self.kept
        rows = [{"kind": kind, "subject": subject, "below": below, "expires": kept} for subject in subjects]
        if not rows:
            return
        if _PENDING not in session.info:
            session.info[_PENDING] = []
            event.listen(session, "before_commit", self._write)
            event.listen(session, "after_commit", self._announce)
        session.info[_PENDING] += rows

    def _write(self, session: Session) -> None:
        pending: list[dict[str, Any]] = session.info.pop(_PENDING, [])
        if not pending:
            return
        session.flush()  # acquire all other locks before this one
        delete_expired(session, REVOCATIONS.c.number, REVOCATIONS.c.expires <= now())
        connection, moment = session.connection(), now()
        counted = update(COUNTER).values(last=COUNTER.c.last + len(pending)).returning(COUNTER.c.last)
        last: int = connection.execute(counted).scalar_one()
        numbers = range(last - len(pending) + 1, last + 1)
        rows = [
            {**row, "number": number, "created": moment, "expires": moment + row["expires"]}
            for number, row in zip(numbers, pending, strict=True)
        ]
        connection.execute(insert(REVOCATIONS), rows)

    def _announce(self, _session: Session) -> None:
        self.on_commit()


def newest_number(session: Session) -> int:
    """Return the number of the newest revocation; asked four times a second by every replica."""
    counter = f"SELECT last FROM {COUNTER.name}"  # noqa: S608 - a name of ours
    return int(execute_in_driver(session.connection(), counter, ()).fetchone()[0])


def read_page(session: Session, after: int) -> RevocationPage:
    """Return one page of the unexpired revocations after a number."""
    connection = session.connection()
    lowest = select(func.min(REVOCATIONS.c.number)).scalar_subquery()
    # Read the counter first: rows committed in between are then extra rows, never missing ones.
    newest, oldest = connection.execute(select(COUNTER.c.last, lowest)).one()
    living = select(REVOCATIONS).where(REVOCATIONS.c.number > after, REVOCATIONS.c.expires > now())
    rows = connection.execute(living.order_by(REVOCATIONS.c.number).limit(PAGE_ROWS)).mappings().all()
    found = [Revocation(**{name: row[name] for name in Revocation.model_fields}) for row in rows]
    last = found[-1].number if found else 0
    newest = max(newest, last)
    end = last if len(found) == PAGE_ROWS else newest
    return RevocationPage(revocations=found, next=end, oldest=oldest or newest + 1, newest=newest)
