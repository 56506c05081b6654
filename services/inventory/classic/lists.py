"""Lists of the classic API: pages by offset, each with the number of all rows up to a bound."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Column, Select, func, select
from sqlmodel import Session

from services.inventory.classic.filters import CostFilter, EventFilter, Offset, UsageFilter, WorkspaceFilter
from services.inventory.classic.schemas import (
    BEGINS,
    TERMINATED,
    ClassicCost,
    ClassicEvent,
    ClassicUsage,
    ClassicWorkspace,
    SyncRecord,
    rounded,
)
from services.inventory.dated import first_day, midnight, next_month
from services.inventory.exact import joined
from services.inventory.ldap import people
from services.inventory.models import (
    COSTS,
    GONE,
    PRESENT,
    SEARCH,
    TRAIL,
    TRAIL_WORKSPACES,
    USAGE_MONTHS,
    WORKSPACES,
)
from services.inventory.sync import syncs
from services.inventory.sync.schemas import SyncOut
from services.inventory.trail import EventOut, id_bound
from services.inventory.usage import hours
from shared.data.database import Database
from shared.http.schemas import Output
from shared.ids import first_id
from shared.lists.pagination import PAGE_ROWS_MAX, PageQuery, rows_of
from shared.lists.search import Search, find_page, searchable

COUNTED_MAX = 100_000  # a larger total is reported as this
# A search for users reads the newest WorkSpaces that contain the text anywhere, in at most this many steps.
SEARCHES_MAX, USERS_AT_ONCE = 5, 100
UNKNOWN: Mapping[str, Any] = dict.fromkeys(("user_name", "bundle_id", "running_mode"))
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Listing:
    """A list: its rows, its filters, and the form in which rows are shown."""

    name: str
    key: Column[str]
    found: Callable[[Session, Any], Select[Any]]
    shown: Callable[[Session, Rows], list[Any]]
    columns: Sequence[str]  # of the export

    def page(self, session: Session, query: Offset) -> dict[str, Any]:
        """Return the rows of one page, newest first, and the number of all rows."""
        found = self.found(session, query)
        counted = found.with_only_columns(self.key).limit(COUNTED_MAX).subquery()
        total = session.connection().execute(select(func.count()).select_from(counted)).scalar_one()
        page = found.order_by(self.key.desc()).limit(query.limit).offset(query.offset)
        data = self.shown(session, rows_of(session, page))
        return {"data": data, "total": total, "limit": query.limit, "offset": query.offset}

    async def exported(self, database: Database, query: Any, most: int) -> AsyncIterator[list[list[Any]]]:
        """Yield the rows of the export, page by page along the key."""
        found = await database.read(self.found, query)  # which may search for users
        before: str | None = None
        while most > 0:
            size = min(PAGE_ROWS_MAX, most)
            rows, before = await database.read(self._after, found, before, size)
            yield [[getattr(row, name) for name in self.columns] for row in rows]
            most -= len(rows)
            if before is None:
                return

    def _after(
        self, session: Session, every: Select[Any], before: str | None, size: int
    ) -> tuple[list[Output], str | None]:
        found = every.order_by(self.key.desc()).limit(size)
        rows = rows_of(session, found if before is None else found.where(self.key < before))
        return self.shown(session, rows), rows[-1][self.key.key] if len(rows) == size else None


def _workspaces(_: Session, query: WorkspaceFilter) -> Select[Any]:
    columns = WORKSPACES.c
    is_terminated = query.terminated
    conditions = [
        columns[name] == getattr(query, name)
        for name in ("user_name", "running_mode")
        if getattr(query, name) is not None
    ]
    if query.state == TERMINATED:
        conditions += [columns.gone.is_(None)] if is_terminated is False else []
        is_terminated = True
    elif query.state is not None:
        conditions += [columns.state == query.state]
        conditions += [columns.gone.is_not(None)] if is_terminated else []
        is_terminated = False
    if is_terminated is not None and conditions:
        # Not by `presence`: its index would be walked instead of that of a rarer value.
        conditions.append(columns.gone.is_not(None) if is_terminated else columns.gone.is_(None))
    elif is_terminated is not None:
        conditions.append(columns.presence == (GONE if is_terminated else PRESENT))
    return select(WORKSPACES).where(*conditions)


def shown_workspaces(session: Session, rows: Rows) -> list[ClassicWorkspace]:
    begins = _begins(session, [row["workspace_id"] for row in rows])
    known = people.named(session, [row["user_name"] for row in rows])
    return [
        ClassicWorkspace.of(row, begins.get(row["workspace_id"], {}), known.get(row["user_name"].casefold()))
        for row in rows
    ]


def _begins(session: Session, ids: Sequence[str]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Return the calls that created or terminated these WorkSpaces, if CloudTrail still had them."""
    if not ids:
        return {}  # SQLite would read all calls
    named, columns = TRAIL_WORKSPACES.c, TRAIL.c
    wanted = select(named.workspace_id, columns.name, columns.at, columns.username)
    calls = wanted.join(TRAIL, columns.id == named.id).where(named.workspace_id.in_(ids))
    done = calls.where(columns.name.in_(BEGINS), columns.error_code.is_(None)).order_by(columns.id.desc())
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in session.connection().execute(done).mappings():
        found.setdefault(row["workspace_id"], {}).setdefault(row["name"], dict(row))
    return found


def _usage(session: Session, query: UsageFilter) -> Select[Any]:
    columns = USAGE_MONTHS.c
    found = _of_user(session, select(USAGE_MONTHS), columns.workspace_id, query.user_name)
    if query.workspace_id is not None:
        found = found.where(columns.workspace_id == query.workspace_id)
    if query.month_from is not None:
        found = found.where(columns.id >= first_id(midnight(first_day(query.month_from))))
    if query.month_to is not None:
        found = found.where(columns.id < first_id(midnight(first_day(next_month(query.month_to)))))
    return found


def _shown_usage(session: Session, rows: Rows) -> list[ClassicUsage]:
    users = _users(session, rows)
    return [
        ClassicUsage.unchecked(
            row,
            usage_hours=rounded(hours(row["hours"])),
            created_at=row["updated"],
            updated_at=row["updated"],
            **users.get(row["workspace_id"], UNKNOWN),
        )
        for row in rows
    ]


def _costs(session: Session, query: CostFilter) -> Select[Any]:
    columns = COSTS.c
    found = _of_user(session, select(COSTS), columns.workspace_id, query.user_name)
    for name in ("workspace_id", "service"):
        if getattr(query, name) is not None:
            found = found.where(columns[name] == getattr(query, name))
    if query.start_date is not None:
        found = found.where(columns.id >= first_id(midnight(query.start_date)))
    if query.end_date is not None:
        found = found.where(columns.id < first_id(midnight(query.end_date) + timedelta(days=1)))
    return found


def _shown_costs(session: Session, rows: Rows) -> list[ClassicCost]:
    users = _users(session, rows)
    return [
        ClassicCost.unchecked(
            row,
            start_date=row["day"],
            end_date=(date.fromisoformat(row["day"]) + timedelta(days=1)).isoformat(),
            amount=rounded(joined(row["amount_whole"], row["amount_part"])),
            created_at=row["pulled"],
            user_name=users.get(row["workspace_id"], UNKNOWN)["user_name"],
            full_name=None,
        )
        for row in rows
    ]


def _events(_: Session, query: EventFilter) -> Select[Any]:
    columns, named = TRAIL.c, TRAIL_WORKSPACES.c
    found = select(TRAIL)
    if query.workspace_id is not None:
        ids = select(named.id).where(named.workspace_id == query.workspace_id)
        found = found.where(columns.id.in_(ids))
    for name, value in (("name", query.event_name), ("username", query.username)):
        if value is not None:
            found = found.where(columns[name] == value)
    since = [query.start_time, midnight(query.from_date) if query.from_date else None]
    until = [query.end_time, midnight(query.to_date) + timedelta(days=1) if query.to_date else None]
    first = [columns.id >= id_bound(at) for at in since if at]
    return found.where(*first, *(columns.id < id_bound(at) for at in until if at))


def _shown_events(_: Session, rows: Rows) -> list[ClassicEvent]:
    return [_event(row) for row in rows]


def _event(row: Mapping[str, Any]) -> ClassicEvent:
    native = EventOut.of(row)
    return ClassicEvent.unchecked(
        row,
        event_name=row["name"],
        event_time=row["at"],
        event_source=row["source"],
        user_identity=native.identity,
        workspace_id=native.workspaces[0] if native.workspaces else None,
        request_parameters=native.request,
        response_elements=native.response,
        event_region=row["region"],
        aws_region=row["region"],
        source_ip_address=row["source_ip"],
        created_at=row["at"],
    )


def sync_records(session: Session, most: int) -> list[SyncRecord]:
    return [_sync_record(one) for one in syncs.history(session, PageQuery(limit=most)).items]


def _sync_record(native: SyncOut) -> SyncRecord:
    return SyncRecord(
        id=native.id,
        sync_type=native.kind,
        status="running" if native.state == "waiting" else native.state,
        records_processed=native.seen,
        error_message=native.error,
        started_at=native.created,
        completed_at=native.finished,
        created_at=native.created,
    )


class _Found(Output):
    workspace_id: str


def _of_user(session: Session, found: Select[Any], column: Column[str], text: str | None) -> Select[Any]:
    """Narrow to the newest WorkSpaces of users whose name contains a text."""
    if text is None:
        return found
    wanted = searchable(text)
    name = func.lower(WORKSPACES.c.user_name).contains(wanted, autoescape=True)
    search = Search([{"presence": PRESENT}, {"presence": GONE}], {"search": wanted}, [name])
    ids, cursor = list[str](), None
    for _ in range(SEARCHES_MAX):
        query = PageQuery(limit=USERS_AT_ONCE, cursor=cursor)
        page = find_page(session, SEARCH, search, query, _Found.unchecked)
        ids += [one.workspace_id for one in page.items]
        cursor = page.next
        if cursor is None:
            break
    return found.where(column.in_(ids))


def _users(session: Session, rows: Rows) -> dict[str, Mapping[str, Any]]:
    """Return the user, bundle and running mode of each WorkSpace of these rows."""
    columns, ids = WORKSPACES.c, {row["workspace_id"] for row in rows}
    wanted = select(columns.workspace_id, *(columns[name] for name in UNKNOWN))
    found = session.connection().execute(wanted.where(columns.workspace_id.in_(ids))).mappings()
    return {row["workspace_id"]: {name: row[name] for name in UNKNOWN} for row in found}


def _names(kind: type[Output]) -> list[str]:
    return [*kind.model_fields]


WORKSPACE_LIST = Listing(
    "workspaces", WORKSPACES.c.id, _workspaces, shown_workspaces, _names(ClassicWorkspace)
)
USAGE_LIST = Listing("usage", USAGE_MONTHS.c.id, _usage, _shown_usage, _names(ClassicUsage))
COST_LIST = Listing("billing", COSTS.c.id, _costs, _shown_costs, _names(ClassicCost))
EVENT_LIST = Listing("cloudtrail", TRAIL.c.id, _events, _shown_events, _names(ClassicEvent))
