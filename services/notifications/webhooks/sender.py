"""Calls webhooks: several at once, by any number of replicas, each message by one of them.

An attempt is written before it is made. If a process dies after a response but before that is recorded, the
message is sent again when its lease expires, with the same `webhook-id`.
"""

import asyncio
import random
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import structlog
from prometheus_client import Counter
from sqlalchemy import insert, select, update
from sqlmodel import Session

from services.notifications.models import WEBHOOK_ATTEMPTS, WEBHOOK_DELIVERIES, WEBHOOKS
from services.notifications.queue_loop import QueueLoop
from services.notifications.settings import Settings
from services.notifications.webhooks.outbox import QUEUE, Outbox, State
from services.notifications.webhooks.outcomes import Health, Job, Outcome, of_answer, of_failure, put_off_by
from services.notifications.webhooks.signing import signed_headers
from services.notifications.webhooks.subscriptions import Secrets
from services.notifications.webhooks.turns import CALLS_MAX, Active, Plan, messages_due, planned
from shared.clock import now
from shared.data.database import Database
from shared.data.sealed import KeyMissing, SealBroken
from shared.errors import Problem
from shared.events.failpoints import reached
from shared.peers.outbound import BadAddress, CallFailed, Outbound
from shared.process.tasks import end
from shared.work.changes import Changes
from shared.work.leased import Leased, LeaseLost

ANSWER_BYTES_MAX = 64 * 1024
CROWDING_SECONDS = 5.0

SENT = Counter("webhook_calls_total", "Calls of webhooks, by outcome", ["outcome"])

log = structlog.get_logger(__name__)


def calls_to_webhooks(settings: Settings) -> Outbound:
    """Return what calls webhooks. Each has its own breaker, so that its failures do not stop others."""
    return Outbound(
        settings,
        "webhooks",
        seconds_max=settings.webhook_timeout_seconds,
        answer_bytes_max=ANSWER_BYTES_MAX,
        has_breaker=False,
    )


class WebhookSender(QueueLoop):
    """Sends while it is open: `async with WebhookSender(…)`."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        outbox: Outbox,
        secrets: Secrets,
        changes: Changes,
        health: Health,
        outbound: Outbound,
    ) -> None:
        super().__init__(QUEUE, "webhooks", changes, settings.webhook_timeout_seconds)
        self._settings, self._database = settings, database
        self._outbox, self._secrets, self._health = outbox, secrets, health
        self._outbound = outbound
        self._calls = set[asyncio.Task[None]]()
        self._active = Active()
        self._crowded = 0  # turns in a row that postponed messages of full webhooks

    async def close(self) -> None:
        """Finish the calls that are being made."""
        if self._calls:
            _, late = await asyncio.wait(self._calls, timeout=self._settings.webhook_timeout_seconds)
            await end(late)
        await self._outbound.close()

    async def turn(self) -> bool:
        """Begin as many calls as there is room for; return whether there may be more to do now."""
        free = CALLS_MAX - len(self._calls)
        if free == 0:
            await asyncio.wait(self._calls, return_when=asyncio.FIRST_COMPLETED)
            return True
        due = await self._database.read(messages_due, QUEUE)
        plan = planned(due, free, self._active, now())
        self._crowded = self._crowded + 1 if plan.crowding else 0
        if plan.is_empty:
            return False
        number, jobs = await self._database.run(self._take, plan)
        for job in jobs:
            self._active.begin(job.row["webhook_id"], job.row["user_id"])
            call = asyncio.create_task(self._handle(job), name="webhooks: call")
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
        return number > 0

    def _take(self, session: Session, plan: Plan) -> tuple[int, list[Job]]:
        """Lease messages, and record their attempts; return how many were changed, and which to send.

        Messages of resting webhooks are postponed without counting an attempt, usually many in one statement.
        """
        queue, at = self._outbox.queue, now()
        number = 0
        for until, work_ids in plan.resting.items():
            number += queue.postpone(session, work_ids, _spread(max(until - at, timedelta(0))))
        if plan.crowding:  # longer each time, so that a large backlog is not postponed again soon
            pause = timedelta(seconds=CROWDING_SECONDS * self._crowded)
            number += queue.postpone(session, plan.crowding, _spread(pause))
        claimed = {one.body: one for one in queue.claim(session, len(plan.claimed), among=plan.claimed)}
        jobs = self._claim(session, claimed, at) if claimed else []
        return number + len(claimed), jobs

    def _claim(self, session: Session, claimed: Mapping[str, Leased], at: datetime) -> list[Job]:
        queue, jobs = self._outbox.queue, list[Job]()
        rows = {row["id"]: row for row in _with_webhooks(session, claimed)}
        for row in rows.values():
            leased = claimed[row["id"]]
            if not row["is_enabled"]:
                queue.finish(session, leased)
                self._outbox.end(session, row["id"], State.FAILED, "disabled")
            elif row["expires"] is not None and row["expires"] <= at:
                queue.finish(session, leased)
                self._outbox.end(session, row["id"], State.FAILED, "expired")
            elif self._health.rests(session, row, at):
                pause = _spread(max(row["open_until"] - at, timedelta(0)))
                queue.put_off(session, leased, pause, attempts=leased.attempts - 1)
            else:
                jobs.append(Job(leased, row["attempts"] + 1, row))
        # They were queued while their webhook was being deleted.
        self._outbox.delete(session, claimed.keys() - rows.keys())
        _write_attempts(session, jobs)
        return jobs

    async def _handle(self, job: Job) -> None:
        try:
            outcome = await self._call(job)
            reached("webhook: called")
            SENT.labels(outcome.kind).inc()
            await self._database.run(self._settle, job, outcome)
        except LeaseLost:
            log.warning("webhook_lease_lost", delivery_id=job.row["id"])
        except Problem as error:  # the lease expires, and the message is sent again
            log.warning("webhook_not_noted", delivery_id=job.row["id"], error=repr(error))
        except Exception:
            log.exception("webhook_interrupted", delivery_id=job.row["id"])
        finally:
            self._active.end(job.row["webhook_id"], job.row["user_id"])
            self._changes.wake(QUEUE)

    async def _call(self, job: Job) -> Outcome:
        row, at = job.row, now()
        body = row["body"].encode()
        try:
            keys = self._secrets.valid(row["webhook_id"], row["sealed"], row["rotated"], at)
        except (SealBroken, KeyMissing) as error:
            log.error("webhook_secret_unreadable", webhook_id=row["webhook_id"], error=repr(error))  # noqa: TRY400
            return Outcome("failed", "no_secret")
        signed = signed_headers(keys, row["id"], int(time.time()), body)
        headers = {"Content-Type": "application/json", "User-Agent": "gatehouse-webhooks", **signed}
        try:
            return of_answer(await self._outbound.call("POST", row["url"], body=body, headers=headers))
        except (BadAddress, CallFailed) as error:
            return of_failure(error)

    def _settle(self, session: Session, job: Job, outcome: Outcome) -> None:
        """Record the outcome; raise LeaseLost if another replica has the message now."""
        queue, delivery_id, at = self._outbox.queue, job.row["id"], now()
        queue.renew(session, job.leased)  # locks in the order of a claim: the work, then its webhook
        noted = {"finished": at, "outcome": outcome.kind, "code": outcome.code, "status": outcome.status}
        mine = WEBHOOK_ATTEMPTS.c.delivery_id == delivery_id, WEBHOOK_ATTEMPTS.c.number == job.number
        session.connection().execute(update(WEBHOOK_ATTEMPTS).where(*mine).values(noted))
        goes_on = self._health.note(session, job.row, outcome, at)
        pause = put_off_by(outcome, job.leased.attempts, self._settings.webhook_retry_seconds)
        if outcome.kind == "delivered":
            queue.finish(session, job.leased)
            self._outbox.end(session, delivery_id, State.DELIVERED)
        elif outcome.kind == "failed" and (pause is None or not goes_on):
            queue.finish(session, job.leased)
            self._outbox.end(session, delivery_id, State.FAILED, outcome.code)
        else:
            counted = job.leased.attempts - (outcome.kind == "busy")
            queue.put_off(session, job.leased, pause or timedelta(0), attempts=counted)
            again = {"state": State.QUEUED, "code": outcome.code}
            one = update(WEBHOOK_DELIVERIES).where(WEBHOOK_DELIVERIES.c.id == delivery_id)
            session.connection().execute(one.values(again))
        reached("webhook: settling")


def _spread(pause: timedelta) -> timedelta:
    return (pause + timedelta(seconds=0.05)) * random.uniform(1, 1.5)  # noqa: S311 - spreads load, is no secret


def _with_webhooks(session: Session, delivery_ids: Any) -> list[dict[str, Any]]:
    joined = WEBHOOK_DELIVERIES.join(WEBHOOKS, WEBHOOK_DELIVERIES.c.webhook_id == WEBHOOKS.c.id)
    of_webhook = ("url", "sealed", "rotated", "is_enabled", "failures", "failing_since", "open_until")
    columns = [*WEBHOOK_DELIVERIES.c, *(WEBHOOKS.c[name] for name in of_webhook)]
    found = select(*columns).select_from(joined).where(WEBHOOK_DELIVERIES.c.id.in_(delivery_ids))
    in_order = found.order_by(WEBHOOK_DELIVERIES.c.webhook_id, WEBHOOK_DELIVERIES.c.id)
    rows = session.connection().execute(in_order).mappings()
    return [dict(row) for row in rows]


def _write_attempts(session: Session, jobs: list[Job]) -> None:
    if not jobs:
        return
    at: datetime = now()
    begun = [{"delivery_id": job.row["id"], "number": job.number, "started": at} for job in jobs]
    session.connection().execute(insert(WEBHOOK_ATTEMPTS), begun)
    mine = update(WEBHOOK_DELIVERIES).where(WEBHOOK_DELIVERIES.c.id.in_([job.row["id"] for job in jobs]))
    sending = {"state": State.SENDING, "attempts": WEBHOOK_DELIVERIES.c.attempts + 1}
    session.connection().execute(mine.values(sending))
