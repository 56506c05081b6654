"""Old figures are deleted in small transactions; costs and months stay."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import func, insert, select

from services.inventory import retention
from services.inventory.models import (
    CHANGES,
    COSTS,
    PARTS,
    SYNCS,
    TRAIL,
    TRAIL_WORKSPACES,
    USAGE_DAYS,
    USAGE_MONTHS,
)
from services.inventory.settings import Settings
from shared.data.database import Database
from shared.ids import first_id
from tests import databases

OLD, NEW = datetime(2024, 2, 29, 23, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)
TODAY = datetime(2026, 3, 15, 12, tzinfo=UTC)  # so the limit of 24 months is 2024-03-01
ZERO = dict.fromkeys(("connected_minutes", "sessions", "session_hours", "clock_hours"), 0)
TABLES = (USAGE_DAYS, TRAIL, TRAIL_WORKSPACES, CHANGES, SYNCS, PARTS, COSTS, USAGE_MONTHS)


def key(at: datetime, number: int) -> str:
    return f"{first_id(at)[:-6]}{number:06}"


def rows(at: datetime, number: int) -> dict[Any, dict[str, Any]]:
    row_id, workspace = key(at, number), f"ws-{number}{at:%d}"
    amounts = dict.fromkeys(("amount_whole", "amount_part", "quantity_whole", "quantity_part"), 1)
    what = {"service": "s", "usage_type": "u", "region": "", "unit": "Hrs", "currency": "USD"}
    counts = dict.fromkeys(("seen", "changed", "gone", "calls", "throttled"), 0)
    place = {"account": "a", "region": "r"}
    texts = dict.fromkeys(("request", "response", "identity"), "null")
    day = f"{at:%Y-%m-%d}"
    return {
        USAGE_DAYS: {"workspace_id": workspace, "day": day, "complete": True, **ZERO},
        TRAIL: {
            "id": row_id,
            "event_id": row_id,
            "name": "n",
            "at": at,
            "workspaces": "[]",
            **place,
            **texts,
        },
        TRAIL_WORKSPACES: {"workspace_id": workspace, "id": row_id},
        CHANGES: {"id": row_id, "workspace_id": workspace, "at": at, "field": "state"},
        SYNCS: {"id": row_id, "kind": "all", "trigger": "user", "state": "completed", "created": at},
        PARTS: {"sync": row_id, "number": 0, "source": "usage", "state": "done", "missing": "[]"}
        | {**place, **counts},
        COSTS: {"id": row_id, "account": "a", "day": day, "workspace_id": workspace, **what, **amounts}
        | {"estimated": False, "pulled": at},
        USAGE_MONTHS: {"id": row_id, "workspace_id": workspace, "account": "a", "month": day[:7], "hours": 1}
        | {"source": "bill", "updated": at},
    }


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Five old and three new rows in every table."""
    databases.migrate(database_url, Settings.migrations())
    made = Database(database_url)
    with made.transaction() as session:
        for at, number in ((OLD, 5), (NEW, 3)):
            for table in TABLES:
                session.connection().execute(insert(table), [rows(at, one)[table] for one in range(number)])
    yield made
    made.close()


def counts(database: Database) -> dict[str, int]:
    with database.transaction(write=False) as session:
        execute = session.connection().execute
        return {table.name: execute(select(func.count()).select_from(table)).scalar_one() for table in TABLES}


def test_rows_older_than_the_months_to_keep_are_deleted_except_costs_and_months(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "now", lambda: TODAY)
    monkeypatch.setattr(retention, "BATCH", 2)
    retention.forget_old(database, 0, lambda: False)
    assert set(counts(database).values()) == {8}
    retention.forget_old(database, 24, lambda: True)
    assert set(counts(database).values()) == {8}

    retention.forget_old(database, 24, lambda: False)

    kept = {COSTS.name: 8, USAGE_MONTHS.name: 8}
    assert counts(database) == {**{table.name: 3 for table in TABLES}, **kept}
