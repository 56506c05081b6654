"""The demo: an invented company, read from the fake AWS like a real one, and marked as invented."""

import copy
import dataclasses
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError
from sqlalchemy import func, select

from services.inventory import app
from services.inventory.aws import Aws, Target
from services.inventory.demo import company
from services.inventory.demo.company import NUMBER, TEAMS, Company
from services.inventory.demo.running import NAME
from services.inventory.demo.world import REGION
from services.inventory.models import WORKSPACES
from services.inventory.sessions import days_of
from services.inventory.settings import Settings
from shared.data.database import Database
from shared.testing import running
from tests.inventory.support import ADMIN, USER, ended, listed, sync

MONDAY = datetime(2026, 3, 2, 18, tzinfo=UTC)


@pytest.fixture(scope="module")
def invented() -> Company:
    found = company.build("a secret", lambda: MONDAY).place(NUMBER)
    assert isinstance(found, Company)
    return found


class TestCompany:
    def test_company_has_300_workspaces_and_costs_of_a_year(self, invented: Company) -> None:
        assert len(invented.workspaces) == sum(team.people for team in TEAMS) == 300
        assert {row["day"][:7] for row in invented.costs} == {
            *(f"2025-{month:02}" for month in range(3, 13)),
            *(f"2026-{month:02}" for month in range(1, 4)),
        }
        assert all(tags["demo"] == "yes" for tags in invented.tags.values())

    def test_company_is_the_same_at_every_start(self, invented: Company) -> None:
        again = company.build("another secret", lambda: MONDAY).place(NUMBER)

        assert (again.workspaces, again.costs, again.events) == (
            invented.workspaces,
            invented.costs,
            invented.events,
        )

    def test_bill_has_the_hours_that_the_samples_show(self, invented: Company) -> None:
        key = next(key for key, one in invented.people.items() if one.team.name == "support")
        samples = [datetime.fromtimestamp(at, UTC) for at, _ in invented.points("UserConnected", key)]
        used = days_of(samples, timedelta(minutes=company.TIMEOUT_MINUTES), MONDAY)
        billed = {
            row["day"]: int(row["quantity"])
            for row in invented.costs
            if row["resource"] == key and row["usage_type"].endswith("-Usage")
        }

        assert len(used) > 30
        assert {day.isoformat(): one.clock_hours for day, one in used.items() if day < MONDAY.date()} == {
            day: hours for day, hours in billed.items() if min(used).isoformat() <= day < "2026-03-02"
        }

    @pytest.mark.parametrize(("hour", "is_office_time"), [(3, False), (10, True)])
    def test_states_follow_the_clock(self, invented: Company, hour: int, is_office_time: bool) -> None:
        at = MONDAY.replace(hour=hour)
        workspaces = copy.deepcopy(invented.workspaces)
        found = dataclasses.replace(invented, workspaces=workspaces, connections={}, at=lambda: at)
        found.refresh()

        always_on = sum(team.people for team in TEAMS if team.mode == company.ALWAYS_ON)
        available = Counter(row["State"] for row in workspaces.values())["AVAILABLE"]
        assert available > always_on + 100 if is_office_time else available == always_on


class TestSettings:
    def make(self, tmp_path: Path, **values: Any) -> Settings:
        return Settings.model_validate({"data_dir": tmp_path, **values})

    def test_demo_is_off_by_default_and_has_its_own_database(self, tmp_path: Path) -> None:
        usual, demo = self.make(tmp_path), self.make(tmp_path, demo="on")

        assert (usual.demo, usual.notice(), usual.resource_days) == (False, None, 14)
        assert demo.notice() is not None
        assert demo.database_url == f"sqlite:///{tmp_path}/inventory-demo.db"
        assert usual.database_url == f"sqlite:///{tmp_path}/inventory.db"

    def test_demo_is_refused_in_production_and_on_a_given_database(self, tmp_path: Path) -> None:
        with pytest.raises(ValidationError, match="must be off in production"):
            self.make(tmp_path, demo=True, environment="production")
        with pytest.raises(ValidationError, match="needs a database of its own"):
            self.make(tmp_path, demo=True, database_url="postgresql://user@host/inventory")


@pytest.fixture
async def demo(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    """The service in demo mode, with a small company."""
    small = [dataclasses.replace(team, people=1) for team in TEAMS]
    monkeypatch.setattr(company, "TEAMS", small)
    async with running(app.create_app, make_settings(Settings, demo=True)) as client:
        yield client


async def test_demo_is_read_from_the_fake_aws_and_marked(
    demo: httpx.AsyncClient,
) -> None:
    (first,) = (await demo.get("/sync/history", headers=USER)).json()
    done = await ended(demo, first["id"])
    assert (done["state"], done["parts"][0]["error"]) == ("completed", None)

    rows = await listed(demo)
    assert len(rows) == 7
    assert {row["tags"]["demo"] for row in rows} == {"yes"}
    shown = (await demo.get("/dashboard", headers=USER)).json()
    assert (shown["is_demo"], shown["total_workspaces"]) == (True, 7)
    (account,) = (await demo.get("/admin/aws-accounts", headers=ADMIN)).json()
    assert (account["name"], account["account_number"]) == (NAME, NUMBER)

    sums = (await demo.get("/billing/summary?by=month", headers=USER)).json()
    expected = company.build("a secret").place(NUMBER).costs
    assert len(sums["sums"]) in (12, 13)
    assert Decimal(sums["total"]["USD"]) == sum(Decimal(row["amount"]) for row in expected)
    used = (await demo.get("/usage?limit=200", headers=USER)).json()
    assert {row["source"] for row in used} == {"bill", "metrics"}
    assert len({row["month"] for row in used}) >= 11
    kinds = {row["kind"] for row in (await demo.get("/advice?limit=200", headers=USER)).json()}
    assert {"to_always_on", "to_auto_stop", "unused", "oversized"} <= kinds


async def test_wrong_keys_are_refused_by_the_fake_aws_instead_of_being_sent_to_the_real_one(
    demo: httpx.AsyncClient,
) -> None:
    body = {"name": "mine", "regions": [REGION], "access_key_id": "AKIAWRONG00000000000"}
    added = await demo.post(
        "/admin/aws-accounts", json={**body, "secret_access_key": "x" * 40}, headers=ADMIN
    )
    tested = await demo.post(f"/admin/aws-accounts/{added.json()['id']}/test", headers=ADMIN)

    assert (tested.status_code, tested.json()["status"]) == (200, "error")
    elsewhere = {**body, "name": "other", "endpoint_url": "http://127.0.0.1:9"}
    refused = await demo.post(
        "/admin/aws-accounts", json={**elsewhere, "secret_access_key": "x" * 40}, headers=ADMIN
    )
    assert refused.status_code == 422


async def test_second_start_adds_nothing(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(company, "TEAMS", [dataclasses.replace(TEAMS[1], people=2)])
    settings = make_settings(Settings, demo=True, sync_every_minutes=0)
    async with running(app.create_app, settings) as client:
        (only,) = (await client.get("/sync/history", headers=USER)).json()
        assert (await ended(client, only["id"]))["state"] == "completed"
    async with running(app.create_app, settings) as client:
        assert [one["id"] for one in (await client.get("/sync/history", headers=USER)).json()] == [only["id"]]
        again = await sync(client)
        assert (again["state"], again["gone"]) == ("completed", 0)
    database = Database(settings.database_url)
    with database.transaction(write=False) as session:
        number = session.connection().execute(select(func.count()).select_from(WORKSPACES)).scalar()
    database.close()
    assert number == 2


def test_endpoint_of_the_demo_applies_to_accounts_without_one(
    make_settings: Callable[..., Settings],
) -> None:
    aws = Aws(make_settings(Settings))
    aws.endpoint = "http://127.0.0.1:9"

    assert aws._endpoint(Target("a", 1)) == "http://127.0.0.1:9"
    assert aws._endpoint(Target("a", 1, endpoint_url="http://127.0.0.1:8")) == "http://127.0.0.1:8"
    aws.close()
