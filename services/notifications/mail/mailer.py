"""Sends queued mails: several at once, by any number of replicas, each mail by one of them.

An attempt is written before it is made. If a process dies after the server has accepted a mail but before
that is recorded, the mail is sent again when its lease expires, with the same Message-ID: a second copy is
better than none.
"""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Literal, Self

import structlog
from prometheus_client import Counter
from sqlalchemy import select, update
from sqlmodel import Session

from contracts.links import open_link
from services.notifications.kinds import Channel
from services.notifications.mail import texts
from services.notifications.mail.addresses import BadAddress
from services.notifications.mail.attachments import Invoices, NotFetched, WantedInvoice
from services.notifications.mail.mails import ATTEMPTS_MAX, QUEUE, Mails, State
from services.notifications.mail.messages import Attachment, Message, Sender, build
from services.notifications.mail.rendering import TextFault, render
from services.notifications.mail.templates import TEMPLATES, Text, built_in
from services.notifications.mail.transports import Away, NotSent, Refused, Transport
from services.notifications.models import ATTEMPTS, DELIVERIES, ERROR_CHARACTERS_MAX
from services.notifications.preferences import timings_of
from services.notifications.settings import Settings
from services.notifications.suppressions import Reason
from services.notifications.timing import DEFAULT
from shared.clock import now
from shared.data.database import Database
from shared.data.sealed import KeyMissing, SealBroken
from shared.errors import Problem
from shared.events.failpoints import reached
from shared.process.tasks import end
from shared.work.changes import Changes
from shared.work.leased import Leased, LeaseLost, clock, pause_after

RETRY_FIRST, RETRY_MAX = timedelta(seconds=30), timedelta(hours=6)
AWAY_FIRST, AWAY_MAX = timedelta(seconds=30), timedelta(minutes=30)
FAILURES_UNTIL_OPEN = 5
OPEN_SECONDS_FIRST, OPEN_SECONDS_MAX = 15.0, 300.0
AFTER_FAULT_SECONDS = 5.0
AFTER_UNKNOWN = timedelta(minutes=5)

SENT = Counter("mails_total", "Attempts to send a mail, by outcome", ["outcome"])

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed mail."""

    leased: Leased
    number: int  # of the attempt
    row: dict[str, Any]
    text: Text


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of an attempt.

    The server accepted or refused it, it is to be retried, the server is down, its attachment is not
    available yet or unknown, or the service stops.
    """

    kind: Literal["sent", "refused", "deferred", "away", "unready", "missing", "stopped"]
    code: str | None = None
    error: str | None = None
    bounced: str | None = None  # the address that does not exist

    @property
    def is_counted(self) -> bool:
        """Whether it uses up an attempt: an outage is not the mail's fault."""
        return self.kind in ("deferred", "missing")


class Breaker:
    """Stops attempts for a while after several failures of the server in a row; then one probes it."""

    def __init__(self) -> None:
        self._failures, self._open_until = 0, 0.0

    @property
    def wait_seconds(self) -> float:
        return max(self._open_until - time.monotonic(), 0.0)

    @property
    def is_probing(self) -> bool:
        return self._failures >= FAILURES_UNTIL_OPEN

    def note(self, outcome: Outcome) -> None:
        if outcome.kind in ("stopped", "unready", "missing") or (
            outcome.kind == "away" and self.wait_seconds
        ):
            return  # these say nothing new about the server
        self._failures = self._failures + 1 if outcome.kind == "away" else 0
        times = self._failures - FAILURES_UNTIL_OPEN
        if times >= 0:
            pause = min(OPEN_SECONDS_FIRST * 2 ** min(times, 10), OPEN_SECONDS_MAX)
            self._open_until = time.monotonic() + pause
            log.error("mail_server_away", seconds=pause, error=outcome.error)


class Mailer:
    """Sends while it is open: `async with Mailer(…)`."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        mails: Mails,
        changes: Changes,
        transport: Transport,
        invoices: Invoices,
    ) -> None:
        self._settings, self._database, self._invoices = settings, database, invoices
        self._mails, self._changes, self._transport = mails, changes, transport
        self._sender = Sender(settings.mail_from, settings.mail_from_name, settings.mail_reply_to)
        self._breaker = Breaker()
        self._stopping = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._stopping.clear()
        self._threads = ThreadPoolExecutor(self._settings.mail_workers, thread_name_prefix="mail")
        self._task = asyncio.create_task(self._always(), name="mails")
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Finish the mails that are being submitted; return the others to the queue."""
        self._stopping.set()
        self._changes.wake(QUEUE)
        _, late = await asyncio.wait([self._task], timeout=self._settings.mail_timeout_seconds)
        await end(late)
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._transport.close()

    async def _always(self) -> None:
        with self._changes.following(QUEUE) as follower:
            while not self._stopping.is_set():
                try:
                    if await self._turn():
                        continue
                except Problem as error:
                    log.warning("mails_paused", error=repr(error))
                    await self._rest(AFTER_FAULT_SECONDS)
                except Exception:
                    log.exception("mails_interrupted")
                    await self._rest(AFTER_FAULT_SECONDS)
                else:
                    await follower.changed()

    async def _turn(self) -> bool:
        """Send a few mails; return whether there were any."""
        if self._breaker.wait_seconds:
            await self._rest(self._breaker.wait_seconds)
        if self._stopping.is_set() or not await self._database.read(self._mails.queue.is_due):
            return False
        number = 1 if self._breaker.is_probing else 2 * self._settings.mail_workers
        claimed, jobs = await self._database.run(self._claim, number)
        ended = await asyncio.gather(*(self._handle(job) for job in jobs), return_exceptions=True)
        for job, fault in zip(jobs, ended, strict=True):
            if isinstance(fault, Exception):  # the lease expires, and the mail is sent again
                log.error("mail_interrupted", mail_id=job.leased.body, exc_info=fault)
        return claimed > 0

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _handle(self, job: Job) -> None:
        outcome = await self._attempt(job)
        reached("mail: sent")
        self._breaker.note(outcome)
        SENT.labels(outcome.kind).inc()
        try:
            await self._database.run(self._settle, job, outcome)
        except LeaseLost:
            log.warning("mail_lease_lost", mail_id=job.leased.body, outcome=outcome.kind)

    def _claim(self, session: Session, number: int) -> tuple[int, list[Job]]:
        """Lease mails, and write the attempts of those to send; return how many were leased, and those.

        Mails that no longer need to be sent are ended. Those for quiet hours are put off, and so are those
        with a template of a newer version.
        """
        claimed = {one.body: one for one in self._mails.queue.claim(session, number)}
        found = select(DELIVERIES).where(DELIVERIES.c.id.in_(claimed))
        rows = {row["id"]: dict(row) for row in session.connection().execute(found).mappings()}
        changed = texts.changed(session, {row["template"] for row in rows.values()})
        jobs, at = [], clock(session)  # the same clock decides what is due and what is quiet
        quiet = _quiet_until(session, rows.values(), at)
        silenced = self._mails.silenced(session, rows.values())  # since they were queued
        for mail_id, leased in claimed.items():
            row = rows.get(mail_id)
            if row is None:  # of an account that was deleted
                self._mails.queue.finish(session, leased)
                continue
            reason = self._obsolete(row, at, silenced.get(mail_id))
            if reason is not None:
                self._mails.queue.finish(session, leased)
                self._mails.end(session, mail_id, *reason)
                continue
            if (until := quiet.get(mail_id)) is not None:
                self._put_off(session, leased, until, planned=until)
                continue
            if row["template"] not in TEMPLATES:  # of a newer version, whose replicas can render it
                log.warning("mail_template_unknown", mail_id=mail_id, template=row["template"])
                self._put_off(session, leased, at + AFTER_UNKNOWN)
                continue
            text = changed.get(row["template"]) or built_in(row["template"])
            jobs.append(Job(leased, row["attempts"] + 1, row, text))
        self._write_attempts(session, jobs, at)
        return len(claimed), jobs

    def _put_off(self, session: Session, leased: Leased, until: datetime, **values: datetime) -> None:
        """Return a mail to the queue; an attempt of a replica that died may have left it as `sending`."""
        self._mails.queue.put_off_until(session, leased, until, attempts=leased.attempts - 1)
        mine = update(DELIVERIES).where(DELIVERIES.c.id == leased.body)
        session.connection().execute(mine.values(state=State.QUEUED, **values))

    def _obsolete(
        self, row: dict[str, Any], at: datetime, silenced: Reason | None
    ) -> tuple[State, str] | None:
        if silenced is not None:
            return State.SUPPRESSED, silenced
        if row["expires"] is not None and row["expires"] <= at:
            return State.EXPIRED, "expired"
        if (row["planned"] or row["created"]) <= at - timedelta(days=self._settings.mail_days):
            return State.FAILED, "too_old"
        return None

    def _write_attempts(self, session: Session, jobs: Sequence[Job], at: datetime) -> None:
        execute = session.connection().execute
        if jobs:
            begun = [{"delivery_id": job.row["id"], "number": job.number, "started": at} for job in jobs]
            execute(ATTEMPTS.insert(), begun)
            mine = update(DELIVERIES).where(DELIVERIES.c.id.in_([job.row["id"] for job in jobs]))
            execute(mine.values(state=State.SENDING, attempts=DELIVERIES.c.attempts + 1))

    async def _attempt(self, job: Job) -> Outcome:
        """Fetch the attachment if there is one, then submit the mail in a worker thread."""
        mail_id, attached = job.row["id"], None
        try:
            content = json.loads(self._mails.sealed.open(mail_id, job.row["sealed"] or ""))
            if (wanted := content.get("invoice")) is not None:  # missing in mails of earlier versions
                attached = await self._invoices.fetch(WantedInvoice(**wanted))
        except (SealBroken, KeyMissing) as error:
            return _not_made(mail_id, error)
        except NotFetched as error:
            return Outcome(error.kind, error.code)
        if attached is not None and not await self._database.read(self._mails.has, mail_id):
            return Outcome("stopped")  # its account was deleted while the invoice was fetched
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._send, job, content, attached)

    def _send(self, job: Job, content: Mapping[str, Any], attached: Attachment | None) -> Outcome:
        """Make an attempt, in a worker thread."""
        if self._stopping.is_set():
            return Outcome("stopped")
        try:
            message = self._message(job, content, attached)
        except (TextFault, BadAddress) as error:
            return _not_made(job.row["id"], error)
        try:
            self._transport.send(message)
        except Refused as error:
            return Outcome(
                "refused", error.code, error.detail, message.recipient if error.is_bounce else None
            )
        except Away as error:
            return Outcome("away", error.code, error.detail)
        except NotSent as error:
            return Outcome("deferred", error.code, error.detail)
        return Outcome("sent")

    def _message(self, job: Job, content: Mapping[str, Any], attached: Attachment | None) -> Message:
        row = job.row
        values: dict[str, str] = content["values"]
        if content["link"] is not None:
            values["link"] = open_link(self._settings.internal_secrets, row["id"], content["link"])
        if row["expires"] is not None:
            values["expires"] = f"{row['expires']:%Y-%m-%d %H:%M} UTC"
        rendered = render(job.text, values)
        return build(
            row["id"],
            row["template"],
            content["to"],
            row["created"],
            rendered,
            self._sender,
            unsubscribe=content.get("unsubscribe"),  # missing in mails of earlier versions
            attached=attached,
        )

    def _settle(self, session: Session, job: Job, outcome: Outcome) -> None:
        """Record the outcome; raise LeaseLost if another replica has the mail now."""
        mails, leased, mail_id = self._mails, job.leased, job.row["id"]
        error = outcome.error and outcome.error[:ERROR_CHARACTERS_MAX]
        noted = {"finished": now(), "outcome": outcome.kind, "code": outcome.code, "error": error}
        mine = ATTEMPTS.c.delivery_id == mail_id, ATTEMPTS.c.number == job.number
        mails.queue.renew(session, leased)  # locks in the order of a claim: the work, then its mail
        session.connection().execute(update(ATTEMPTS).where(*mine).values(noted))
        if outcome.kind == "sent":
            mails.queue.finish(session, leased)
            mails.end(session, mail_id, State.SENT)
        elif outcome.kind == "refused" or (outcome.is_counted and leased.attempts >= ATTEMPTS_MAX):
            mails.queue.finish(session, leased)
            mails.end(session, mail_id, State.FAILED, outcome.code, error)
            log.error("mail_failed", mail_id=mail_id, template=job.row["template"], code=outcome.code)
            if outcome.bounced is not None:
                mails.suppressions.add(session, Channel.EMAIL, outcome.bounced, Reason.BOUNCE)
        else:
            counted = leased.attempts if outcome.is_counted else leased.attempts - 1
            mails.queue.put_off(session, leased, _pause(outcome, job), attempts=counted)
            again = {"state": State.QUEUED, "code": outcome.code, "error": error}
            session.connection().execute(update(DELIVERIES).where(DELIVERIES.c.id == mail_id).values(again))
        reached("mail: settling")


def _not_made(mail_id: str, error: Exception) -> Outcome:
    log.error("mail_not_made", mail_id=mail_id, error=repr(error))
    return Outcome("refused", "not_made", str(error))


def _quiet_until(
    session: Session, rows: Collection[Mapping[str, Any]], at: datetime
) -> dict[str, datetime | None]:
    """Return when the quiet hours end of mails that respect them: the person may have changed these."""
    timed = {row["id"]: row["user_id"] for row in rows if row["planned"] is not None}
    timings = timings_of(session, set(timed.values()))
    return {one: timings.get(user_id, DEFAULT).quiet_until(at) for one, user_id in timed.items()}


def _pause(outcome: Outcome, job: Job) -> timedelta:
    if outcome.kind == "stopped":
        return timedelta(0)
    if outcome.kind in ("away", "unready"):
        pause = pause_after(job.number, AWAY_FIRST, AWAY_MAX)
    else:
        pause = pause_after(job.leased.attempts, RETRY_FIRST, RETRY_MAX)
    return pause * random.uniform(0.8, 1.2)  # noqa: S311 - spreads retries, is no secret
