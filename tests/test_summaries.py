"""What services tell the dashboard: only to other services, about one person or about everybody."""

import importlib
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from contracts import summaries
from services.orders.models import ORDERS
from services.orders.summary import rows_of
from shared.data.database import Database
from shared.data.migrate import upgrade
from shared.data.statements import insert_row
from shared.ids import new_id
from shared.testing import TEST_INTERNAL_SECRET, TEST_JWT_SECRET, bearer, internal_token, running, token

SERVICES = {
    "orders": {"total", "pending", "confirmed", "shipped"},
    "files": {"private", "public", "trash"},
    "support": {"total", "open", "in_progress", "waiting"},
    "notifications": {"total", "unread"},
    "inventory": {"workspaces", "available", "stopped", "error"},
    "terminal": {"total", "open"},
    "audit": {"records", "refused"},
}


@pytest.mark.parametrize("service", SERVICES)
async def test_summary_is_for_services_only(service: str, tmp_path: Path) -> None:
    def module(name: str) -> Any:
        return importlib.import_module(f"services.{service}.{name}")

    settings = module("settings").Settings.model_validate(
        {"data_dir": tmp_path, "jwt_secret": TEST_JWT_SECRET, "internal_secret": TEST_INTERNAL_SECRET}
    )
    person = new_id()
    async with running(module("app").create_app, settings) as client:
        for headers in ({}, bearer(token(role="admin")), bearer(internal_token("users"))):
            refused = await client.get(f"{summaries.SUMMARY}?all=true", headers=headers)
            assert refused.status_code == 401
        peer = bearer(internal_token(service))
        for query in ("", f"?all=true&user_id={person}", "?user_id=me"):
            assert (await client.get(f"{summaries.SUMMARY}{query}", headers=peer)).status_code == 422
        own = await client.get(f"{summaries.SUMMARY}?user_id={person}", headers=peer)
        every = await client.get(f"{summaries.SUMMARY}?all=true", headers=peer)

    assert own.status_code == every.status_code == 200, own.text
    assert own.json() == dict.fromkeys(SERVICES[service], 0)
    # The audit log has recorded the refusals above; nothing else has rows.
    assert set(every.json().values()) <= {0, 1}


def test_numbers_are_those_of_the_person_or_of_everybody_up_to_the_limit(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade(database_url, Path("services/orders/migrations"))
    ada, bob = new_id(), new_id()
    placed = [(ada, "pending"), (ada, "pending"), (ada, "delivered"), (bob, "pending"), (bob, "shipped")]
    with closing(Database(database_url)) as database, database.transaction() as session:
        for owner, status in placed:
            content = {"product_name": "Laptop", "quantity": 1, "total_minor": 1, "currency": "USD"}
            insert_row(session, ORDERS, user_id=owner, status=status, **content)

        def numbers(user_id: str | None) -> dict[str, int]:
            return summaries.counted(session, rows_of(user_id)).root

        assert numbers(ada) == {"total": 3, "pending": 2, "confirmed": 0, "shipped": 0}
        assert numbers(None) == {"total": 5, "pending": 3, "confirmed": 0, "shipped": 1}
        monkeypatch.setattr(summaries, "COUNTED_MAX", 2)
        assert numbers(None) == {"total": 2, "pending": 2, "confirmed": 0, "shipped": 1}
