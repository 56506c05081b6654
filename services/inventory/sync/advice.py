"""Works out advice from what the other sources have read; it makes no calls to AWS."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import select, update
from sqlmodel import Session

from services.inventory import advices
from services.inventory.advising import Facts, advise
from services.inventory.dated import month_before, month_of
from services.inventory.ldap import people
from services.inventory.models import ADVICE, LOADS, PRESENT, USAGE_MONTHS, WORKSPACES
from services.inventory.pricing import PriceList
from services.inventory.settings import Settings
from services.inventory.sizing import Load
from services.inventory.sync.source import Fetched, Place, Reading, Values
from services.inventory.usage import hours
from services.inventory.usage_months import is_complete
from shared.clock import now
from shared.lists.pagination import rows_of

PAGE_ROWS = 100
MONTHS = 3


class AdviceSource:
    """Reads the WorkSpaces of a place page by page; the cursor is the last row read."""

    def __init__(self, settings: Settings) -> None:
        self._unused_days = settings.unused_days
        self._prices: PriceList | None = None  # read once for all pages of a part

    async def fetch(self, reading: Reading, cursor: str | None) -> Fetched:
        rows = await reading.database.read(_workspaces, reading.place, cursor)
        return Fetched(rows, rows[-1]["id"] if len(rows) == PAGE_ROWS else None)

    def keep(self, session: Session, place: Place, rows: Sequence[Values]) -> int:
        self._prices = prices = self._prices or PriceList(session, place.region)
        used = _complete_months(
            session, [row["workspace_id"] for row in rows], month_of(place.started.date())
        )
        users = people.Users(session, [row["user_name"] for row in rows])
        loads = _loads(session, [row["workspace_id"] for row in rows])
        known, changed = advices.known(session, [row["workspace_id"] for row in rows]), 0
        for row in rows:
            facts = Facts(
                running_mode=row["running_mode"],
                last_connection=row["last_connection"],
                knows_connections=row["connection_state"] is not None,
                first_seen=row["first_seen"],
                hours=used.get(row["workspace_id"], {}),
                rates=prices.rates(row),
                missing_user=users.missing(row["user_name"], row["first_seen"]),
                size=row["compute_type"],
                load=loads.get(row["workspace_id"]),
                smaller=prices.smaller(row),
            )
            found = advise(facts, place.started, self._unused_days)
            changed += advices.keep(session, row, found, known.get(row["workspace_id"], {}))
        return changed

    def forget(self, session: Session, place: Place, _most: int) -> int:
        """Let the advice on WorkSpaces that are gone expire; return 0, since advice is never gone itself."""
        here = WORKSPACES.c.account == place.account, WORKSPACES.c.region == place.region
        gone = select(WORKSPACES.c.workspace_id).where(*here, WORKSPACES.c.gone.is_not(None))
        active = ADVICE.c.state.in_(advices.ACTIVE), ADVICE.c.account == place.account
        values = {"state": advices.EXPIRED, "updated": now(), "version": ADVICE.c.version + 1}
        expired = update(ADVICE).where(*active, ADVICE.c.workspace_id.in_(gone))
        session.connection().execute(expired.values(values))
        return 0


def _workspaces(session: Session, place: Place, after: str | None) -> list[dict[str, Any]]:
    columns = WORKSPACES.c
    here = columns.account == place.account, columns.region == place.region, columns.presence == PRESENT
    names = """
        id workspace_id account running_mode last_connection connection_state first_seen compute_type os
        root_gib user_gib user_name
    """.split()
    found = select(*(columns[name] for name in names)).where(*here)
    if after is not None:
        found = found.where(columns.id > after)
    rows = session.connection().execute(found.order_by(columns.id).limit(PAGE_ROWS)).mappings()
    return [dict(row) for row in rows]


def _loads(session: Session, ids: Sequence[str]) -> Mapping[str, Load]:
    found = select(LOADS).where(LOADS.c.workspace_id.in_(ids))
    rows = session.connection().execute(found).mappings()
    return {row["workspace_id"]: Load(row["hours"], row["cpu"], row["memory"]) for row in rows}


def _complete_months(
    session: Session, ids: Sequence[str], this_month: str
) -> Mapping[str, Mapping[str, Decimal]]:
    """Return the hours of the last months that are over and were read from the first to the last day."""
    columns, months = USAGE_MONTHS.c, [this_month]
    for _ in range(MONTHS):
        months.append(month_before(months[-1]))
    recent = select(USAGE_MONTHS).where(columns.workspace_id.in_(ids), columns.month.in_(months[1:]))
    found: dict[str, dict[str, Decimal]] = {}
    for row in rows_of(session, recent.order_by(columns.id)):
        if is_complete(row):
            found.setdefault(row["workspace_id"], {})[row["month"]] = hours(row["hours"])
    return found
