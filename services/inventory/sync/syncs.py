"""Syncs: start one, read its state, finish it."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, func, insert, select, update
from sqlmodel import Session

from services.inventory import accounts
from services.inventory.aws import HOME_REGION, Kind
from services.inventory.errors import NothingToSync, SyncNeedsAdmin, SyncRunning
from services.inventory.events import tell_finished
from services.inventory.models import (
    JOBS,
    PARTS,
    SCANS,
    SYNCS,
    AccountStatus,
    PartState,
    SyncState,
)
from services.inventory.settings import Settings
from services.inventory.sync.schemas import PartOut, SyncDetail, SyncOut, SyncStarted
from shared.caller import Caller
from shared.clock import now
from shared.errors import FieldFault, Invalid, NotFound
from shared.http.schemas import Page
from shared.ids import first_id
from shared.lists.pagination import PageQuery, paginate
from shared.work.jobs import Jobs

JOB = "sync"
LOAD, BILLING, PRICES, ADVICE = "load", "billing", "prices", "advice"
# Sources that need the data of others, or that not every sync of everything reads everywhere.
LATER = (LOAD, BILLING, PRICES, ADVICE)
PRICES_LAST = LOADS_LAST = timedelta(days=7)
BY_USAGE = "ce:GetCostAndUsage"
SUBJECT = "aws"  # of every sync job, so that only one runs at a time across all replicas
SCHEDULE = "schedule"
SOURCES = {
    "all": ("directories", "workspaces", "cloudtrail", "usage", "load", "billing", "prices", "advice"),
    "workspaces": ("directories", "workspaces"),
    "directories": ("directories",),
    "cloudtrail": ("cloudtrail",),
    "usage": ("usage",),
    "load": ("load",),
    "billing": ("billing",),
    "prices": ("prices",),
    "advice": ("advice",),
}
LOST = "The sync's job ended without a result; the service's log says why."


def start(
    session: Session,
    jobs: Jobs,
    *,
    kind: str,
    by: str | None,
    account_ids: Sequence[str] | None = None,
    regions: Sequence[str] | None = None,
) -> str:
    """Start a sync when this transaction commits; raises SyncRunning if another has not ended."""
    running = _unfinished(session)
    if running is not None:
        raise SyncRunning(sync_id=running)
    chosen = _chosen(session, account_ids)
    sources = SOURCES[kind]
    parts = [
        *_parts(chosen, [one for one in sources if one not in LATER], regions),
        *_loaded(session, chosen, kind, regions),
        *_billed(session, chosen, kind),
        *_priced(session, chosen, kind, regions),
        *_parts(chosen, [one for one in sources if one == ADVICE], regions),
    ]
    if not parts:
        raise NothingToSync
    sync_id = jobs.start(session, JOB, SUBJECT, by or SCHEDULE)
    trigger = "user" if by else SCHEDULE
    execute = session.connection().execute
    execute(insert(SYNCS).values(id=sync_id, kind=kind, trigger=trigger, by=by, created=now()))
    counts = dict.fromkeys(("seen", "changed", "gone", "calls", "throttled"), 0)
    empty = {"state": PartState.WAITING, "missing": "[]", **counts}
    execute(insert(PARTS), [{**part, **empty, "sync": sync_id, "number": n} for n, part in enumerate(parts)])
    return sync_id


def require_permission(caller: Caller, settings: Settings) -> None:
    """Refuse callers who may neither start nor cancel syncs."""
    if settings.sync_by == "admins" and not caller.is_admin:
        raise SyncNeedsAdmin


def _unfinished(session: Session) -> str | None:
    """Return the sync whose job is waiting or running, if any: its work row exists until the job ends."""
    work = JOBS.work
    found = select(work.c.id).where(work.c.queue == f"job:{JOB}", work.c.given_up.is_(None)).limit(1)
    sync_id: str | None = session.connection().execute(found).scalar()
    return sync_id


def _chosen(session: Session, account_ids: Sequence[str] | None) -> list[dict[str, Any]]:
    """Return the accounts to read; disabled ones and those in error only if they are named."""
    live = accounts.live(session)
    if account_ids is None:
        out = (AccountStatus.DISABLED, AccountStatus.ERROR)
        return [one for one in live if one["status"] not in out]
    known = {one["id"]: one for one in live}
    unknown = [one for one in account_ids if one not in known]
    if unknown:
        message = f"there is no account {unknown[0]}; check its id"
        raise Invalid(errors=[FieldFault(field="accounts", code="unknown_account", message=message)])
    return [known[one] for one in dict.fromkeys(account_ids)]


def _parts(
    chosen: Sequence[Mapping[str, Any]], sources: Sequence[str], regions: Sequence[str] | None
) -> Iterator[dict[str, Any]]:
    for account in chosen:
        for region in json.loads(account["regions"]):
            if regions is None or region in regions:
                for source in sources:
                    yield {"account": account["id"], "region": region, "source": source}


def _loaded(
    session: Session, chosen: Sequence[Mapping[str, Any]], kind: str, regions: Sequence[str] | None
) -> Iterator[dict[str, Any]]:
    """Yield the parts of loads; syncs of everything read those of a place once a week."""
    recent = SCANS.c.source == LOAD, SCANS.c.completed >= now() - LOADS_LAST
    done = select(SCANS.c.account, SCANS.c.region).where(*recent)
    is_done = {*map(tuple, session.connection().execute(done))} if kind == "all" else set()
    for part in _parts(chosen, [one for one in SOURCES[kind] if one == LOAD], regions):
        if (part["account"], part["region"]) not in is_done:
            yield part


def _billed(session: Session, chosen: Sequence[Mapping[str, Any]], kind: str) -> Iterator[dict[str, Any]]:
    """Yield one billing part per account; syncs of everything read a bill at most once a day."""
    if BILLING not in SOURCES[kind]:
        return
    ids = [account["id"] for account in chosen]
    found = select(SCANS.c.account).where(
        SCANS.c.account.in_(ids), SCANS.c.source == BILLING, SCANS.c.completed >= _today()
    )
    is_done = {*session.connection().execute(found).scalars()} if kind == "all" else set[str]()
    for account in ids:
        if account not in is_done:
            yield {"account": account, "region": HOME_REGION, "source": BILLING}


def _priced(
    session: Session, chosen: Sequence[Mapping[str, Any]], kind: str, regions: Sequence[str] | None
) -> Iterator[dict[str, Any]]:
    """Yield one part per region, whatever the account; syncs of everything read prices once a week."""
    if PRICES not in SOURCES[kind]:
        return
    accounts_of: dict[str, str] = {}
    for account in chosen:
        for region in json.loads(account["regions"]):
            if regions is None or region in regions:
                accounts_of.setdefault(region, account["id"])
    recent = SCANS.c.source == PRICES, SCANS.c.completed >= now() - PRICES_LAST
    done = select(SCANS.c.region).where(SCANS.c.region.in_([*accounts_of]), *recent)
    is_done = {*session.connection().execute(done).scalars()} if kind == "all" else set[str]()
    for region, account_id in accounts_of.items():
        if region not in is_done:
            yield {"account": account_id, "region": region, "source": PRICES}


def _today() -> datetime:
    return now().replace(hour=0, minute=0, second=0, microsecond=0)


def requests_today(session: Session, account_id: str) -> int:
    """Count the billing requests made for an account since midnight UTC."""
    mine = PARTS.c.account == account_id, PARTS.c.source == BILLING, PARTS.c.sync >= first_id(_today())
    return int(
        session.connection()
        .execute(select(func.coalesce(func.sum(PARTS.c.calls), 0)).where(*mine))
        .scalar_one()
    )


def denied_costs(session: Session, account_id: str) -> set[str]:
    """Return the permissions that the last sync of an account's costs lacked."""
    columns = PARTS.c
    ended = columns.account == account_id, columns.source == BILLING, columns.finished.is_not(None)
    wanted = select(columns.missing, columns.error_code).where(*ended).order_by(columns.sync.desc()).limit(1)
    row = session.connection().execute(wanted).first()
    if row is None:
        return set()
    return {*json.loads(row[0])} | ({BY_USAGE} if row[1] == Kind.DENIED else set())


def _with_job() -> Select[Any]:
    job = JOBS.jobs
    columns = [job.c[name].label(f"job_{name}") for name in ("state", "progress", "total", "note", "error")]
    return select(SYNCS, *columns).outerjoin(job, job.c.id == SYNCS.c.id)


def history(session: Session, query: PageQuery) -> Page[SyncOut]:
    return paginate(
        session, _with_job(), SYNCS.c.id, query, lambda row: SyncOut.unchecked(_described(session, row))
    )


def show(session: Session, sync_id: str) -> SyncDetail:
    row = _read(session, sync_id)
    found = select(PARTS).where(PARTS.c.sync == sync_id).order_by(PARTS.c.number)
    parts = [PartOut.of(dict(part)) for part in session.connection().execute(found).mappings()]
    return SyncDetail.unchecked(_described(session, row), parts=parts)


def show_started(session: Session, sync_id: str) -> SyncStarted:
    described = _described(session, _read(session, sync_id))
    more = {"sync_id": sync_id, "sync_type": described["kind"], "message": "The sync was started."}
    return SyncStarted.unchecked(described, **more)


def _read(session: Session, sync_id: str) -> dict[str, Any]:
    row = session.connection().execute(_with_job().where(SYNCS.c.id == sync_id)).mappings().first()
    if row is None:
        raise NotFound
    return dict(row)


TOTALS = {
    "seen": "seen",
    "changed": "changed",
    "gone": "gone",
    "api_calls": "calls",
}  # total: its column in sync_parts


def _totals(session: Session, sync_id: str) -> dict[str, int]:
    """Sum the counts of a sync's parts."""
    sums = [func.coalesce(func.sum(PARTS.c[name]), 0) for name in TOTALS.values()]
    numbers = session.connection().execute(select(*sums).where(PARTS.c.sync == sync_id)).one()
    return dict(zip(TOTALS, map(int, numbers), strict=True))


def _described(session: Session, row: Mapping[str, Any]) -> dict[str, Any]:
    """Combine a sync with its job, which knows the state of a sync that has not ended."""
    described = {**row, **{name: row[f"job_{name}"] for name in ("total", "note")}, "error": None}
    described["progress"] = row["job_progress"] or 0
    if row["state"] is None:
        described["error"] = row["job_error"]
        described |= _totals(session, row["id"])
        described["state"] = row["job_state"]
        if row["job_state"] in (None, "done"):  # finished jobs are deleted before syncs are
            described |= {"state": "failed", "error": row["job_error"] or LOST}
    elif row["job_state"] in (
        "waiting",
        "running",
    ):  # the job is about to end, and the next sync can start only then
        described["state"] = row["job_state"]
    return described


def unfinished_parts(session: Session, sync_id: str) -> list[dict[str, Any]]:
    found = select(PARTS).where(PARTS.c.sync == sync_id, PARTS.c.finished.is_(None)).order_by(PARTS.c.number)
    return [dict(row) for row in session.connection().execute(found).mappings()]


def part_count(session: Session, sync_id: str) -> int:
    found = select(func.count()).select_from(PARTS).where(PARTS.c.sync == sync_id)
    return session.connection().execute(found).scalar_one()


def change_part(session: Session, part: Mapping[str, Any], **values: Any) -> None:
    one = update(PARTS).where(PARTS.c.sync == part["sync"], PARTS.c.number == part["number"])
    session.connection().execute(one.values(values))


def finish(session: Session, sync_id: str) -> dict[str, Any]:
    """Save the outcome, emit `sync.finished`, and update the status of the accounts."""
    execute = session.connection().execute
    parts = [dict(row) for row in execute(select(PARTS).where(PARTS.c.sync == sync_id)).mappings()]
    done = [part["state"] == PartState.DONE for part in parts]
    state = SyncState.COMPLETED if all(done) else SyncState.PARTIAL if any(done) else SyncState.FAILED
    totals = _totals(session, sync_id)
    ended = update(SYNCS).where(SYNCS.c.id == sync_id)
    execute(ended.values(state=state, finished=now(), **totals))
    by_account: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for part in parts:
        by_account[part["account"]].append(part)
    for account, its_parts in by_account.items():
        status, detail = status_of(its_parts)
        synced = any(part["state"] == PartState.DONE for part in its_parts)
        accounts.keep_status(session, account, status, detail, synced=synced)
    kind = execute(select(SYNCS.c.kind).where(SYNCS.c.id == sync_id)).scalar_one()
    workspaces_gone = sum(part["gone"] for part in parts if part["source"] == "workspaces")
    finished = {"id": sync_id, "kind": kind, "state": state, "workspaces_gone": workspaces_gone, **totals}
    tell_finished(session, finished, sorted(by_account))
    return {"state": state, **totals}


def status_of(parts: Sequence[Mapping[str, Any]]) -> tuple[AccountStatus, list[str]]:
    """Derive an account's status from the parts of a sync, with sentences that say what to fix.

    Only wrong credentials lead to `error`, because later syncs leave out accounts in error. An outage of AWS
    must not have that effect.
    """
    failed = [part for part in parts if part["state"] == PartState.FAILED]
    detail = [f"{part['source']} in {part['region']}: {part['error']}" for part in failed]
    missing = {action for part in parts for action in json.loads(part["missing"])}
    detail += [f"{action} is missing." for action in sorted(missing)]
    if any(part["error_code"] == Kind.CREDENTIALS for part in failed):
        return AccountStatus.ERROR, detail
    is_limited = bool(missing) or any(part["error_code"] == Kind.DENIED for part in failed)
    return (AccountStatus.LIMITED if is_limited else AccountStatus.CONNECTED), detail
