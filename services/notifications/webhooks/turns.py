"""Chooses which of the messages that are due are sent now, so that no webhook or account blocks others."""

from collections import Counter as Tally
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from sqlalchemy import select
from sqlmodel import Session

from services.notifications.models import WEBHOOK_DELIVERIES, WEBHOOKS, WORK
from shared.work.leased import clock

CALLS_MAX = 16  # at once, by each replica
CALLS_PER_ACCOUNT = 6  # an account with several slow webhooks must leave slots to others
CALLS_PER_WEBHOOK = 4
LOOKED_AT = 1_000  # messages that are due, in each turn
KEPT_DUE = 100  # messages of full webhooks that are not postponed, so that a free slot is used at once


@dataclass(frozen=True, slots=True)
class Due:
    """A message that is due. `webhook_id` is None if it was deleted with its webhook or account."""

    work_id: str
    webhook_id: str | None
    user_id: str | None
    is_enabled: bool | None
    open_until: datetime | None


@dataclass(slots=True)
class Active:
    """The calls that this replica is making, by webhook and account."""

    webhooks: Tally[str] = field(default_factory=Tally)
    accounts: Tally[str] = field(default_factory=Tally)

    def copy(self) -> Self:
        return type(self)(Tally(self.webhooks), Tally(self.accounts))

    def begin(self, webhook_id: str, user_id: str) -> None:
        self.webhooks[webhook_id] += 1
        self.accounts[user_id] += 1

    def end(self, webhook_id: str, user_id: str) -> None:
        for tally, key in ((self.webhooks, webhook_id), (self.accounts, user_id)):
            tally[key] -= 1
            if not tally[key]:
                del tally[key]

    def is_full(self, webhook_id: str, user_id: str) -> bool:
        calls, of_account = self.webhooks[webhook_id], self.accounts[user_id]
        return calls >= CALLS_PER_WEBHOOK or of_account >= CALLS_PER_ACCOUNT


@dataclass(slots=True)
class Plan:
    """What to do in a turn: the work to claim, and the work of resting and crowding webhooks to postpone."""

    claimed: list[str] = field(default_factory=list)
    resting: dict[datetime, list[str]] = field(default_factory=dict)  # by the time at which it may continue
    crowding: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.claimed or self.resting or self.crowding)


def planned(due: Sequence[Due], free: int, active: Active, at: datetime) -> Plan:
    """Choose from the messages that are due, in their order.

    Messages of full webhooks stay due: the end of a call begins the next turn. If so many are due that they
    may hide those of others, the newer ones are `crowding` and are postponed together.
    """
    plan, active, waiting = Plan(), active.copy(), list[str]()
    for one in due:
        if one.open_until is not None and one.open_until > at and one.is_enabled:
            plan.resting.setdefault(one.open_until, []).append(one.work_id)
        elif (
            one.webhook_id and one.user_id and one.is_enabled and active.is_full(one.webhook_id, one.user_id)
        ):
            waiting.append(one.work_id)
        elif len(plan.claimed) < free:
            plan.claimed.append(one.work_id)
            if one.webhook_id and one.user_id and one.is_enabled:
                active.begin(one.webhook_id, one.user_id)
    if len(due) >= LOOKED_AT:
        plan.crowding = waiting[KEPT_DUE:]
    return plan


def messages_due(session: Session, queue: str) -> list[Due]:
    """Return the messages that have been due longest, with the columns that decide if they are sent now."""
    work, messages, webhooks = WORK.work, WEBHOOK_DELIVERIES, WEBHOOKS
    joined = work.outerjoin(messages, work.c.body == messages.c.id)
    joined = joined.outerjoin(webhooks, messages.c.webhook_id == webhooks.c.id)
    columns: Iterable[Any] = (
        work.c.id,
        webhooks.c.id.label("webhook_id"),
        webhooks.c.user_id,
        webhooks.c.is_enabled,
        webhooks.c.open_until,
    )
    found = select(*columns).select_from(joined)
    found = found.where(work.c.queue == queue, work.c.due <= clock(session))
    oldest = found.order_by(work.c.due, work.c.id).limit(LOOKED_AT)
    return [Due(*row) for row in session.connection().execute(oldest)]
