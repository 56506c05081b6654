"""Advice: what the rules say, what a sync stores, and what admins decide."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from sqlalchemy import update
from sqlmodel import Session

from services.inventory.advising import AdviceKind, Facts, Rates, advise, quartile
from services.inventory.dated import first_day, month_before, month_of
from services.inventory.models import WORKSPACES
from services.inventory.pricing import PriceList, rows_of
from services.inventory.sync import advice as advice_source
from shared.clock import now
from shared.ids import new_id
from tests.inventory import aws
from tests.inventory.aws import Double, World
from tests.inventory.support import ADMIN, USER, add_account, change, listed, sync

AT = datetime(2026, 4, 10, tzinfo=UTC)
# The same in both modes at (35 - 9.75) / 0.3 = 84.17 hours.
STANDARD = Rates(Decimal(35), Decimal("9.75"), Decimal("0.3"), "USD")


def facts(**changes: Any) -> Facts:
    usual: dict[str, Any] = {
        "running_mode": "AUTO_STOP",
        "last_connection": AT - timedelta(days=1),
        "knows_connections": True,
        "first_seen": AT - timedelta(days=300),
        "hours": {},
        "rates": STANDARD,
    }
    return Facts(**{**usual, **changes})


def hours(*figures: int) -> dict[str, Decimal]:
    return {f"2026-0{number}": Decimal(one) for number, one in enumerate(figures, 1)}


class TestRules:
    def test_break_even_is_where_both_modes_cost_the_same(self) -> None:
        assert round(STANDARD.break_even, 2) == Decimal("84.17")
        assert STANDARD.auto_stop(STANDARD.break_even) == STANDARD.always_on_month

    def test_auto_stop_above_the_break_even_is_advised_to_be_always_on(self) -> None:
        found = advise(facts(hours=hours(120, 100, 140)), AT, 30)
        assert found is not None
        # 9.75 + 0.3 h - 35 is 10.75, 4.75 and 16.75; a quarter of the way from the lowest is 7.75
        assert (found.kind, found.low, found.high) == ("to_always_on", Decimal("7.75"), Decimal("16.75"))
        assert found.basis["hours"] == {"2026-01": "120", "2026-02": "100", "2026-03": "140"}
        assert found.basis["break_even_hours"] == "84.17"

    def test_always_on_below_the_break_even_is_advised_to_auto_stop(self) -> None:
        found = advise(facts(running_mode="ALWAYS_ON", hours=hours(20)), AT, 30)
        assert found is not None
        assert (found.kind, found.low, found.high) == ("to_auto_stop", Decimal("19.25"), Decimal("19.25"))

    @pytest.mark.parametrize(
        "changes",
        [
            {"hours": hours(80)},
            {"hours": hours(84)},
            {"running_mode": "ALWAYS_ON", "hours": hours(85)},
            {"hours": {}},
            {"hours": hours(300), "rates": None},
            {"running_mode": "MANUAL", "hours": hours(300)},
            {"running_mode": None, "hours": hours(300)},
            {"hours": hours(20, 20, 300)},  # saves in one month of three only
        ],
    )
    def test_without_a_saving_or_evidence_there_is_no_advice(self, changes: dict[str, Any]) -> None:
        assert advise(facts(**changes), AT, 30) is None

    def test_unused_workspace_saves_what_it_costs_without_use(self) -> None:
        long_ago = AT - timedelta(days=31)
        found = advise(facts(last_connection=long_ago, hours=hours(0)), AT, 30)
        assert found is not None
        assert (found.kind, found.low) == ("unused", Decimal("9.75"))
        found = advise(facts(last_connection=long_ago, running_mode="ALWAYS_ON"), AT, 30)
        assert found is not None
        assert found.low == Decimal(35)
        found = advise(facts(last_connection=long_ago, rates=None), AT, 30)
        assert found is not None
        assert (found.low, found.high, found.currency) == (None, None, None)
        assert advise(facts(last_connection=AT - timedelta(days=29)), AT, 30) is None

    def test_workspace_is_never_used_only_with_known_connections_and_some_age(self) -> None:
        found = advise(facts(last_connection=None), AT, 30)
        assert found is not None
        assert found.kind is AdviceKind.NEVER_USED
        assert advise(facts(last_connection=None, knows_connections=False), AT, 30) is None
        assert advise(facts(last_connection=None, first_seen=AT - timedelta(days=29)), AT, 30) is None

    def test_quartile_lies_between_the_nearest_values(self) -> None:
        assert quartile([Decimal(8)]) == 8
        assert quartile([Decimal(10), Decimal(2)]) == 4
        assert quartile([Decimal(one) for one in (5, 1, 3, 9, 7)]) == 3


class TestPriceList:
    def product(self, **changes: Any) -> str:
        row = {"region": "r", "bundle": "PowerPro", "root": 80, "user": 50, "mode": "AutoStop"}
        return aws.product_text({**row, "unit": "Hour", "price": "0.3000000000", **changes})

    def test_price_is_read_from_a_product(self) -> None:
        assert [*rows_of([self.product()])] == [
            {
                "compute_type": "POWERPRO",
                "system": "windows",
                "licence": "included",
                "root_gib": 80,
                "user_gib": 50,
                "running_mode": "AUTO_STOP",
                "unit": "hour",
                "currency": "USD",
                "price": "0.3000000000",
            }
        ]

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "null",
            "[]",
            "{}",
            json.dumps({"product": {"attributes": {"bundle": "Standard"}}, "terms": {}}),
            json.dumps({"product": None}),
            "[" * 5_000,
        ],
    )
    def test_product_of_another_kind_is_left_out(self, text: str) -> None:
        assert [*rows_of([text, self.product()])] == [*rows_of([self.product()])]

    @pytest.mark.parametrize(
        "changes",
        [
            {"software": "Office 2016"},
            {"mode": "None"},
            {"root": "NA"},
            {"unit": "GB"},
            {"price": "free"},
            {"price": "0.0000000000"},
            {"price": "NaN"},
        ],
    )
    def test_other_price_is_left_out(self, changes: dict[str, Any]) -> None:
        assert [*rows_of([self.product(**changes)])] == []


async def advice(inventory: httpx.AsyncClient, query: str = "") -> list[dict[str, Any]]:
    response = await inventory.get(f"/advice?limit=200{query and '&' + query}", headers=USER)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()
    return found


def use(world: World, workspace_id: str, number_of: int) -> None:
    """Let the WorkSpace run for this many clock hours of the past month, and be connected yesterday."""
    month = first_day(month_before(month_of(now().date())))
    begin = datetime(month.year, month.month, 2, tzinfo=UTC)
    # One sample of five minutes and a timeout of an hour: two clock hours each.
    samples = [begin + timedelta(hours=3 * one) for one in range(number_of // 2)]
    world.place().connected[workspace_id] = samples
    world.place().connections[workspace_id]["LastKnownUserConnectionTimestamp"] = now() - timedelta(days=1)


@pytest.fixture
async def advised(
    inventory: httpx.AsyncClient, double: Double, world: World, database_url: str
) -> dict[str, str]:
    """One WorkSpace for each kind of advice, by kind; `none` is one that needs no advice."""
    aws.add_workspaces(world, 5, 1)
    place = world.place()
    keys = dict(
        zip(
            ("to_always_on", "to_auto_stop", "unused", "never_used", "none"),
            sorted(place.workspaces),
            strict=True,
        )
    )
    for key in keys.values():
        properties = place.workspaces[key]["WorkspaceProperties"]
        properties |= {"RunningMode": "AUTO_STOP", "RunningModeAutoStopTimeoutInMinutes": 60}
        properties |= {"ComputeTypeName": "STANDARD", "UserVolumeSizeGib": 50}
    place.workspaces[keys["to_auto_stop"]]["WorkspaceProperties"]["RunningMode"] = "ALWAYS_ON"
    use(world, keys["to_always_on"], 160)
    use(world, keys["to_auto_stop"], 20)
    use(world, keys["none"], 40)
    place.connections[keys["unused"]]["LastKnownUserConnectionTimestamp"] = now() - timedelta(days=40)
    place.connections[keys["never_used"]].pop("LastKnownUserConnectionTimestamp", None)
    await add_account(inventory, double)
    await sync(inventory)
    old = now() - timedelta(days=70)
    change(database_url, update(WORKSPACES).values(first_seen=old))
    await sync(inventory, kind="advice")
    return keys


async def test_sync_finds_advice_with_its_saving_and_evidence(
    inventory: httpx.AsyncClient, advised: dict[str, str], world: World
) -> None:
    found = {row["kind"]: row for row in await advice(inventory)}

    assert {kind: row["workspace_id"] for kind, row in found.items()} == {
        kind: key for kind, key in advised.items() if kind != "none"
    }
    # AlwaysOn is 40 a month, AutoStop 9.75 and 0.30 an hour.
    assert (found["to_always_on"]["saving_low"], found["to_always_on"]["currency"]) == ("17.75", "USD")
    assert found["to_auto_stop"]["saving_high"] == "24.25"
    assert [found[kind]["saving_low"] for kind in ("unused", "never_used")] == ["9.75", "9.75"]
    assert [*found["to_always_on"]["basis"]["hours"].values()] == ["160"]
    sums = {row["kind"]: row for row in (await inventory.get("/advice/summary", headers=USER)).json()["sums"]}
    assert {kind: row["count"] for kind, row in sums.items()} == dict.fromkeys(found, 1)
    assert sums["to_always_on"]["saving_low"] == "17.75"
    assert await advice(inventory, "kind=unused") == [found["unused"]]
    assert await advice(inventory, f"workspace_id={advised['unused']}") == [found["unused"]]
    assert await advice(inventory, "state=accepted") == []

    again = await sync(inventory, kind="advice")
    assert (again["state"], again["changed"]) == ("completed", 0)
    assert {row["kind"]: row for row in await advice(inventory)} == found


async def test_questions_about_savings_sum_the_known_ones_of_open_advice(
    inventory: httpx.AsyncClient, advised: dict[str, str]
) -> None:
    found = {row["kind"]: row for row in await advice(inventory)}
    await inventory.put(f"/advice/{found['unused']['id']}", json={"state": "dismissed"}, headers=ADMIN)

    async def ask(prompt: str) -> dict[str, Any]:
        response = await inventory.post("/ai/query", json={"prompt": prompt}, headers=USER)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    # 17.75 and 24.25 for the running modes, and 9.75 for the one that was never used
    for prompt in ("How much could we save?", "possible savings", "total savings"):
        answer = await ask(prompt)
        assert answer["rows"] == [["USD", 51.75, 51.75]], prompt
        assert answer["answer"] == "51.75 to 51.75 USD per month."
    assert answer["understood"] == "Known savings per month by open advice, at most 100"
    by_kind = await ask("savings by kind of advice")
    assert [row[0] for row in by_kind["rows"]] == ["never_used", "to_always_on", "to_auto_stop"]
    by_user = await ask("which users could save the most")
    assert [row[2] for row in by_user["rows"]] == [24.25, 17.75, 9.75]
    await inventory.put(f"/advice/{found['never_used']['id']}", json={"state": "done"}, headers=ADMIN)
    again = await inventory.post("/ai/run", json={"query": answer["query"]}, headers=USER)
    assert again.json()["rows"] == [["USD", 42.0, 42.0]]


async def test_decision_is_kept_by_later_syncs_until_the_reason_is_gone(
    inventory: httpx.AsyncClient, advised: dict[str, str], world: World
) -> None:
    found = {row["kind"]: row for row in await advice(inventory)}
    switch, unused, never = (found[kind] for kind in ("to_auto_stop", "unused", "never_used"))

    async def decide(row: dict[str, Any], **body: Any) -> httpx.Response:
        return await inventory.put(f"/advice/{row['id']}", json=body, headers=ADMIN)

    assert (await decide(switch, state="accepted")).json()["state"] == "accepted"
    until = (now().date() + timedelta(days=9)).isoformat()
    dismissed = await decide(unused, state="dismissed", reason="On leave.", until=until)
    assert (dismissed.json()["until"], dismissed.json()["reason"]) == (until, "On leave.")
    await decide(never, state="dismissed", until=now().date().isoformat())
    properties = world.place().workspaces[advised["to_auto_stop"]]["WorkspaceProperties"]
    properties["RunningMode"] = "AUTO_STOP"
    del world.place().workspaces[advised["to_always_on"]]
    await sync(inventory)

    states = {
        row["kind"]: row["state"]
        for state in ("open", "accepted", "dismissed", "done", "expired")
        for row in await advice(inventory, f"state={state}")
    }
    assert states == {
        "to_auto_stop": "done",  # it was accepted, and the mode has changed
        "unused": "dismissed",
        "never_used": "open",  # the day until which it was dismissed has come
        "to_always_on": "expired",  # the WorkSpace is gone
    }
    gone = next(iter(await advice(inventory, "state=expired")))
    refused = await decide(gone, state="open")
    assert (refused.status_code, refused.json()["code"], refused.json()["allowed"]) == (
        409,
        "illegal_state",
        [],
    )


async def test_decisions_are_checked(inventory: httpx.AsyncClient, advised: dict[str, str]) -> None:
    row = (await advice(inventory))[0]
    path = f"/advice/{row['id']}"
    body = {"state": "accepted"}

    assert (await inventory.put(path, json=body)).status_code == 401
    assert (await inventory.put(path, json=body, headers=USER)).status_code == 403
    assert (await inventory.put(f"/advice/{new_id()}", json=body, headers=ADMIN)).status_code == 404
    for wrong in ({}, {"state": "expired"}, {"state": "open", "until": "2026-01-01"}, {"state": "x"}):
        assert (await inventory.put(path, json=wrong, headers=ADMIN)).status_code == 422
    stale = {**ADMIN, "If-Match": '"99"'}
    assert (await inventory.put(path, json=body, headers=stale)).status_code == 412
    for query in ("state=x", "kind=x", "workspace_id=x", "colour=red"):
        assert (await inventory.get(f"/advice?{query}", headers=USER)).status_code == 422
    assert (await inventory.get("/advice")).status_code == 401


async def test_without_prices_only_unused_workspaces_are_found_and_the_permission_is_named(
    inventory: httpx.AsyncClient, double: Double, world: World
) -> None:
    aws.add_workspaces(world, 3, 1)
    for key in world.place().workspaces:
        use(world, key, 300)
    unused = min(world.place().workspaces)
    world.place().connections[unused]["LastKnownUserConnectionTimestamp"] = now() - timedelta(days=99)
    world.denied.add("pricing:GetProducts")
    account = await add_account(inventory, double)
    done = await sync(inventory)

    assert done["state"] == "completed"
    assert [(row["kind"], row["saving_low"]) for row in await advice(inventory)] == [("unused", None)]
    shown = (await inventory.get(f"/admin/aws-accounts/{account['id']}", headers=ADMIN)).json()
    assert shown["status_detail"] == ["pricing:GetProducts is missing."]
    assert len(await listed(inventory)) == 3


async def test_price_list_is_loaded_once_for_all_pages_of_a_sync(
    inventory: httpx.AsyncClient, double: Double, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []

    class Counted(PriceList):
        def __init__(self, session: Session, region: str) -> None:
            loaded.append(region)
            super().__init__(session, region)

    monkeypatch.setattr(advice_source, "PriceList", Counted)
    monkeypatch.setattr(advice_source, "PAGE_ROWS", 2)
    aws.add_workspaces(world, 7, 1)
    await add_account(inventory, double)
    await sync(inventory)

    assert loaded == ["eu-central-1"]


async def test_prices_are_read_once_a_week_and_per_region(
    inventory: httpx.AsyncClient, double: Double, world: World
) -> None:
    world.prices += aws.standard_prices("us-east-1")
    await add_account(inventory, double, regions=["eu-central-1", "us-east-1"])
    first = await sync(inventory)
    second = await sync(inventory)
    third = await sync(inventory, kind="prices")

    def seen(done: dict[str, Any]) -> list[int]:
        return [part["seen"] for part in done["parts"] if part["source"] == "prices"]

    assert (seen(first), seen(second), seen(third)) == ([36, 36], [], [36, 36])
    assert (third["changed"], third["gone"]) == (0, 0)
