"""What the responses of webhooks mean for the message, and for the webhook itself."""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from urllib.parse import urlsplit

import structlog
from sqlalchemy import bindparam, func, or_, select, update
from sqlmodel import Session

from services.notifications.kinds import NoticeType, Severity
from services.notifications.models import WEBHOOKS
from services.notifications.notices import Desk, Notice
from services.notifications.settings import Settings
from services.notifications.wording import Phrase
from shared.peers.outbound import Answer, BadAddress, CallFailed
from shared.work.leased import Leased, pause_after

ATTEMPTS_MAX = 16
RETRY_MAX = timedelta(hours=12)
FAILURES_UNTIL_OPEN = 5
OPEN_MAX = timedelta(hours=1)
OPEN_RETRIES = 6  # the first rest of a failing webhook, in multiples of the first pause before a retry
GONE = 410

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed message, with the columns of its webhook."""

    leased: Leased
    number: int  # of the attempt
    row: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a call. `busy` means that no slot was free: the call was not made."""

    kind: Literal["delivered", "failed", "busy"]
    code: str | None = None
    status: int | None = None
    retry_after: float | None = None


def of_answer(answer: Answer) -> Outcome:
    if answer.is_success:
        return Outcome("delivered", None, answer.status)
    return Outcome("failed", f"status_{answer.status}", answer.status, answer.retry_after)


def of_failure(error: BadAddress | CallFailed) -> Outcome:
    """Return the outcome of a call without a response.

    A refused address and an unknown name share one code: two codes would reveal to the owner of a webhook
    which names exist in the private network.
    """
    if isinstance(error, BadAddress) or error.reason == "unknown_host":
        return Outcome("failed", "bad_address")
    return Outcome("busy" if error.reason == "busy" else "failed", error.reason)


def put_off_by(outcome: Outcome, attempts: int, first_seconds: float) -> timedelta | None:
    """Return the pause before the next attempt; None if that was the last one."""
    if outcome.kind == "busy":
        return timedelta(seconds=first_seconds)
    if attempts >= ATTEMPTS_MAX:
        return None
    pause = pause_after(attempts, timedelta(seconds=first_seconds), RETRY_MAX)
    pause *= random.uniform(0.8, 1.2)  # noqa: S311 - spreads retries, is no secret
    return max(pause, timedelta(seconds=outcome.retry_after or 0))


class Health:
    """Lets failing webhooks rest, and disables those that fail for days."""

    def __init__(self, settings: Settings, desk: Desk) -> None:
        self._disable_after = timedelta(days=settings.webhook_disable_days)
        self._open_first = timedelta(seconds=OPEN_RETRIES * settings.webhook_retry_seconds)
        self._probe = timedelta(seconds=2 * settings.webhook_timeout_seconds)
        self._desk = desk

    def rests(self, session: Session, row: dict[str, Any], at: datetime) -> bool:
        """Whether a webhook rests. Afterwards one call probes it, and the others wait for the result.

        The database decides which call probes, because replicas share no memory.
        """
        if row["open_until"] is None:
            return False
        if row["open_until"] > at:
            return True
        if row["failures"] < FAILURES_UNTIL_OPEN:  # it asked for a pause by Retry-After
            return False
        mine = WEBHOOKS.c.id == row["webhook_id"], WEBHOOKS.c.open_until <= at
        probing = update(WEBHOOKS).where(*mine).values(open_until=at + self._probe)
        if session.connection().execute(probing).rowcount:
            return False
        row["open_until"] = at + self._probe
        return True

    def note(self, session: Session, row: dict[str, Any], outcome: Outcome, at: datetime) -> bool:
        """Record an outcome of a webhook; return whether it stays enabled.

        A response from a URL that was replaced in the meantime says nothing about the new one.
        """
        if outcome.kind == "busy":
            return True
        same_url = WEBHOOKS.c.id == row["webhook_id"], WEBHOOKS.c.url == row["url"]
        mine = update(WEBHOOKS).where(*same_url)
        execute = session.connection().execute
        if outcome.kind == "delivered":
            # Written only after failures: a busy webhook's row is not rewritten with every message.
            failed = or_(WEBHOOKS.c.failures > 0, WEBHOOKS.c.open_until.is_not(None))
            execute(mine.where(failed).values(failures=0, failing_since=None, open_until=None))
            return True
        counted = mine.values(
            failures=WEBHOOKS.c.failures + 1,
            failing_since=_first(WEBHOOKS.c.failing_since, at),
        )
        columns = WEBHOOKS.c.failures, WEBHOOKS.c.failing_since, WEBHOOKS.c.is_enabled
        found = execute(counted.returning(*columns)).first()
        if found is None:
            enabled = select(WEBHOOKS.c.is_enabled).where(WEBHOOKS.c.id == row["webhook_id"])
            return bool(execute(enabled).scalar())
        if not found.is_enabled:
            return False
        if outcome.status == GONE or at - found.failing_since >= self._disable_after:
            self._disable(session, row, "gone" if outcome.status == GONE else "failing", at)
            return False
        pause = self._pause(found.failures, outcome)
        if pause:
            execute(mine.values(open_until=at + pause))
        return True

    def _pause(self, failures: int, outcome: Outcome) -> timedelta:
        asked = timedelta(seconds=outcome.retry_after or 0)
        times = failures - FAILURES_UNTIL_OPEN
        return max(asked, pause_after(times + 1, self._open_first, OPEN_MAX)) if times >= 0 else asked

    def _disable(self, session: Session, row: dict[str, Any], because: str, at: datetime) -> None:
        mine = update(WEBHOOKS).where(WEBHOOKS.c.id == row["webhook_id"], WEBHOOKS.c.is_enabled.is_(True))
        values = {"is_enabled": False, "disabled_because": because, "updated": at}
        if not session.connection().execute(mine.values(values)).rowcount:
            return
        log.warning("webhook_disabled", webhook_id=row["webhook_id"], because=because)
        # The host only: the rest of the URL may hold a secret, and other webhooks receive this notice too.
        host = urlsplit(row["url"]).hostname
        notice = Notice(
            row["user_id"],
            NoticeType.WEBHOOK_DISABLED,
            Phrase("webhook_disabled", {"host": host or "?", "because": because}),
            Severity.WARNING,
            {"webhook_id": row["webhook_id"]},
        )
        self._desk.deliver(session, [notice])


def _first(column: Any, at: datetime) -> Any:
    """Return the value of a column, or the given time if there is none."""
    return func.coalesce(column, bindparam(None, at, type_=column.type), type_=column.type)
