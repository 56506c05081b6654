"""Runs a sync part by part and page by page; each page is saved in one transaction with the next cursor."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

import structlog
from sqlalchemy import select
from sqlmodel import Session

from services.inventory import accounts
from services.inventory.aws import HOME_REGION, WHO, Aws, AwsFailed, Kind, Tally
from services.inventory.models import PARTS, SCANS, PartState
from services.inventory.settings import Settings
from services.inventory.sync import syncs
from services.inventory.sync.advice import AdviceSource
from services.inventory.sync.billing import Billing
from services.inventory.sync.directories import Directories
from services.inventory.sync.load import Loads
from services.inventory.sync.prices import Prices
from services.inventory.sync.source import Fetched, Place, Reading, Source
from services.inventory.sync.trail import Trail
from services.inventory.sync.usage import Usage
from services.inventory.sync.workspaces import Workspaces
from shared.clock import now
from shared.data.database import Database, insert_into
from shared.errors import NotFound
from shared.work.jobs import Running

SOURCES: Mapping[str, Callable[[Settings], Source]] = {
    "directories": lambda _: Directories(),
    "workspaces": lambda _: Workspaces(),
    "cloudtrail": lambda _: Trail(),
    "usage": Usage,
    "load": lambda _: Loads(),
    "billing": Billing,
    "prices": lambda _: Prices(),
    "advice": AdviceSource,
}
FORGOTTEN_AT_ONCE = 200
READ = "read"  # the cursor of a part that was read completely

log = structlog.get_logger(__name__)


class Syncer:
    """Runs jobs of the kind `sync`."""

    def __init__(self, database: Database, aws: Aws) -> None:
        self._database, self._aws = database, aws

    async def run(self, job: Running) -> dict[str, Any]:
        """Run every part that has not ended; an attempt after a kill resumes there."""
        total = await self._database.read(syncs.part_count, job.id)
        refused: dict[str, AwsFailed] = {}  # by account; wrong credentials are tried only once
        for part in await self._database.read(syncs.unfinished_parts, job.id):
            await self._run(job, part, total, refused)
        work = partial(syncs.finish, sync_id=job.id)
        return await job.do(work, cursor=None, progress=total, total=total)

    async def _run(
        self, job: Running, part: Mapping[str, Any], total: int, refused: dict[str, AwsFailed]
    ) -> None:
        tally = Tally()
        try:
            if part["account"] in refused:
                raise refused[part["account"]]
            await _Part(self._database, self._aws, job, part, total, tally).run()
        except AwsFailed as error:
            if error.kind is Kind.CREDENTIALS:
                refused[part["account"]] = error
            log.warning("sync_part_failed", sync_id=job.id, source=part["source"], error=str(error))
            work = partial(_fail, part=part, error=error, tally=tally)
            await job.do(work, cursor=None, progress=part["number"] + 1, total=total)


class _Part:
    """One source of one account in one region."""

    def __init__(
        self,
        database: Database,
        aws: Aws,
        job: Running,
        part: Mapping[str, Any],
        total: int,
        tally: Tally,
    ) -> None:
        self._database, self._aws, self._job = database, aws, job
        self._part, self._total, self._tally = part, total, tally
        self._source = SOURCES[part["source"]](aws.settings)
        self._seen: int = part["seen"]

    async def run(self) -> None:
        reading = await self._begin()
        if self._part["cursor"] != READ:
            await self._read(reading)
        while True:
            work = partial(_forget, part=self._part, source=self._source, place=reading.place)
            if await self._do(work, ended=True):
                return

    async def _begin(self) -> Reading:
        """Mark the part as running, and return what its source needs."""
        part = self._part
        try:
            account = await self._database.read(accounts.read, part["account"])
        except NotFound:
            raise AwsFailed(Kind.OTHER, "", "Deleted", "The account was deleted.") from None
        target, number = accounts.target_of(account), account["account_number"]
        if number is None:
            who = await self._aws.call(target, HOME_REGION, WHO, self._tally)
            number = str(who["Account"])
            twin = await self._database.read(accounts.twin, part["account"], number)
            if twin is not None:
                message = f"This is the same AWS account as {twin}."
                raise AwsFailed(Kind.CREDENTIALS, WHO.action, "SameAccount", message)
        started = part["started"] or now()
        work = partial(_start, part=part, number=number, started=started)
        last_scan = await self._do(work)
        place = Place(part["account"], part["region"], number, started, last_scan)
        if part["source"] == "billing":
            used = await self._database.read(syncs.requests_today, part["account"])
            place = replace(place, budget=self._aws.settings.ce_requests_per_day - used)
        return Reading(self._aws, self._database, target, place, self._tally)

    async def _read(self, reading: Reading) -> None:
        cursor, may_restart = self._part["cursor"], True
        while True:
            try:
                fetched = await self._source.fetch(reading, cursor)
            except AwsFailed as error:
                if error.kind is not Kind.CURSOR or cursor is None or not may_restart:
                    raise
                # The cursor has expired. Start over; saving a page twice is harmless.
                cursor, may_restart, self._seen = None, False, 0
                continue
            cursor = fetched.next
            self._seen += fetched.number
            work = partial(
                _keep,
                part=self._part,
                source=self._source,
                place=reading.place,
                page=fetched,
                seen=self._seen,
                tally=self._tally,
            )
            await self._do(work)
            if cursor is None:
                return

    async def _do(self, work: Callable[[Session], Any], *, ended: bool = False) -> Any:
        part = self._part
        note = f"{part['source']} in {part['region']}: {self._seen}"
        done = part["number"] + ended
        return await self._job.do(work, cursor=None, progress=done, total=self._total, note=note)


def _start(session: Session, part: Mapping[str, Any], number: str, started: datetime) -> datetime | None:
    """Mark the part as running; return when the last complete scan began."""
    syncs.change_part(session, part, state=PartState.RUNNING, started=started)
    accounts.keep_number(session, part["account"], number)
    scan = [SCANS.c[name] == part[name] for name in ("account", "region", "source")]
    last: datetime | None = session.connection().execute(select(SCANS.c.completed).where(*scan)).scalar()
    return last


def _keep(
    session: Session,
    part: Mapping[str, Any],
    source: Source,
    place: Place,
    page: Fetched,
    seen: int,
    tally: Tally,
) -> None:
    """Save a page and the next cursor."""
    changed = source.keep(session, place, page.rows) if page.rows else 0
    one = (PARTS.c.sync == part["sync"]) & (PARTS.c.number == part["number"])
    known = session.connection().execute(select(PARTS.c.missing).where(one)).scalar_one()
    syncs.change_part(
        session,
        part,
        cursor=page.next or READ,
        seen=seen,
        changed=PARTS.c.changed + changed,
        missing=json.dumps(sorted({*json.loads(known), *page.missing})),
        **_taken(tally),
    )


def _forget(session: Session, part: Mapping[str, Any], source: Source, place: Place) -> bool:
    """Mark a batch of unseen rows as gone; after the last batch, finish the part and return True."""
    gone = source.forget(session, place, FORGOTTEN_AT_ONCE)
    syncs.change_part(session, part, gone=PARTS.c.gone + gone)
    if gone == FORGOTTEN_AT_ONCE:
        return False
    syncs.change_part(session, part, state=PartState.DONE, finished=now())
    scan = {name: part[name] for name in ("account", "region", "source")}
    row = insert_into(session, SCANS).values(**scan, completed=place.started)
    upsert = row.on_conflict_do_update(index_elements=[*scan], set_={"completed": row.excluded.completed})
    session.connection().execute(upsert)
    return True


def _fail(session: Session, part: Mapping[str, Any], error: AwsFailed, tally: Tally) -> None:
    reason = f"{error.action} failed: {error.message}" if error.action else error.message
    syncs.change_part(
        session,
        part,
        state=PartState.FAILED,
        error_code=error.kind,
        error=reason[:500],
        finished=now(),
        **_taken(tally),
    )


def _taken(tally: Tally) -> dict[str, Any]:
    """Return the counts since the last call as column increments, and reset them."""
    counts = {"calls": PARTS.c.calls + tally.calls, "throttled": PARTS.c.throttled + tally.throttled}
    tally.calls = tally.throttled = 0
    return counts
