"""The tabs of an account: which terminal each of them has, and the list that its page shows."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from services.terminal.errors import TabTaken, TooManyTerminals
from services.terminal.models import LIVE, TABS, TERMINALS
from shared.clock import now
from shared.data.database import insert_into, one_row
from shared.data.statements import insert_row
from shared.http.preconditions import IfMatch
from shared.ids import new_id

FIRST_TAB = "1"
RACES_MAX = 3  # retries while other requests keep opening and closing the tab


def live_by_tab(session: Session, owner: str) -> dict[str, str]:
    """Return the id of the live terminal of each tab."""
    mine = select(TERMINALS.c.tab, TERMINALS.c.id).where(
        TERMINALS.c.owner == owner, TERMINALS.c.state.in_(LIVE)
    )
    return {row.tab: row.id for row in session.connection().execute(mine)}


def reserve(session: Session, owner: str, tab: str, terminals_max: int) -> Mapping[str, Any]:
    """Insert a terminal for this tab; raises TabTaken with the id of the terminal that has it."""
    for _ in range(RACES_MAX):
        live = live_by_tab(session, owner)
        if tab in live:
            raise TabTaken(session=live[tab])
        if len(live) >= terminals_max:
            raise TooManyTerminals(
                f"You have reached the limit of {len(live)} open terminals; close one first."
            )
        try:
            with session.begin_nested():
                return insert_row(session, TERMINALS, owner=owner, tab=tab, epoch=new_id())
        except IntegrityError:  # a concurrent request for the same tab was first
            continue
    raise TabTaken


def show(session: Session, owner: str) -> dict[str, Any]:
    """Return the tab list, with the live terminal of each tab; one tab if none was saved."""
    row = one_row(session, select(TABS).where(TABS.c.owner == owner))
    shown = _shown(row) if row else {"tabs": [FIRST_TAB], "names": {}, "active": FIRST_TAB, "version": 0}
    return {**shown, "sessions": live_by_tab(session, owner)}


def save(session: Session, owner: str, wanted: Mapping[str, Any], match: IfMatch) -> dict[str, Any]:
    """Replace the tab list; raises Stale if it has changed since the caller read it."""
    run = session.connection().execute
    none = {"owner": owner, "tabs": "[]", "names": "{}", "active": "", "version": 0, "updated": now()}
    run(insert_into(session, TABS).on_conflict_do_nothing(), none)
    version: int = run(select(TABS.c.version).where(TABS.c.owner == owner).with_for_update()).scalar_one()
    match.check(version)
    values = {"tabs": json.dumps(wanted["tabs"]), "names": json.dumps(wanted["names"])}
    change = update(TABS).where(TABS.c.owner == owner)
    run(change.values(**values, active=wanted["active"], version=version + 1, updated=now()))
    return show(session, owner)


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "tabs": json.loads(row["tabs"]), "names": json.loads(row["names"])}
