"""Smaller sizes: which fit the measured load, what a sync measures, and what that would save."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from services.inventory.advising import AdviceKind, Facts, Rates, advise
from services.inventory.sizing import Load, fitting, percentile
from shared.clock import now
from tests.inventory import aws
from tests.inventory.aws import Double, World
from tests.inventory.support import USER, add_account, sync

AT = datetime(2026, 4, 10, tzinfo=UTC)
POWER = Rates(Decimal(85), Decimal(13), Decimal("0.68"), "USD")
PERFORMANCE = Rates(Decimal(65), Decimal(13), Decimal("0.57"), "USD")


def facts(**changes: Any) -> Facts:
    usual: dict[str, Any] = {
        "running_mode": "ALWAYS_ON",
        "last_connection": AT - timedelta(days=1),
        "knows_connections": True,
        "first_seen": AT - timedelta(days=300),
        "hours": {},
        "rates": POWER,
        "size": "POWER",
        "load": Load(100, 14, 24),
        "smaller": {"PERFORMANCE": PERFORMANCE},
    }
    return Facts(**{**usual, **changes})


@pytest.mark.parametrize(
    ("size", "load", "expected"),
    [
        ("POWER", Load(100, 14, 24), ["PERFORMANCE"]),  # 28 % of the CPU and 48 % of the memory of that size
        ("POWER", Load(100, 14, 19), ["STANDARD", "PERFORMANCE"]),
        ("POWER", Load(100, 41, 10), []),  # its CPU would be full
        ("POWER", Load(100, 10, 41), []),  # its memory would be
        ("POWER", Load(39, 1, 1), []),  # measured for too short
        ("POWER", None, []),
        ("VALUE", Load(100, 1, 1), []),
        ("GRAPHICS_G4DN", Load(100, 1, 1), []),
        (None, Load(100, 1, 1), []),
    ],
)
def test_smaller_sizes_must_carry_the_load_with_some_reserve(
    size: str | None, load: Load | None, expected: list[str]
) -> None:
    assert fitting(size, load) == expected


def test_percentile_is_not_exceeded_by_its_share_of_the_values() -> None:
    assert percentile([float(one) for one in range(1, 101)], 95) == 95
    assert (percentile([7.0], 95), percentile([], 95)) == (7.0, 0.0)


def test_oversized_workspace_saves_the_difference_of_the_prices() -> None:
    found = advise(facts(), AT, 30)
    assert found is not None
    assert (found.kind, found.low, found.high) == (AdviceKind.OVERSIZED, Decimal(20), Decimal(20))
    assert found.basis["smaller_size"] == "PERFORMANCE"
    assert found.basis["load_on_smaller_size"] == {"cpu_percent": 28.0, "memory_percent": 48.0}

    found = advise(
        facts(running_mode="AUTO_STOP", hours={"2026-02": Decimal(40), "2026-03": Decimal(60)}), AT, 30
    )
    assert found is not None
    assert (found.kind, found.low, found.high) == (AdviceKind.OVERSIZED, Decimal("4.95"), Decimal("6.60"))


@pytest.mark.parametrize(
    "changes",
    [
        {"load": None},
        {"smaller": {}},  # the smaller size has no price
        {"smaller": {"PERFORMANCE": POWER}},  # it costs the same
        {"running_mode": "AUTO_STOP"},  # its hours are unknown
    ],
)
def test_without_evidence_or_saving_there_is_no_advice_on_the_size(changes: dict[str, Any]) -> None:
    assert advise(facts(**changes), AT, 30) is None


def test_advice_with_the_larger_saving_is_given() -> None:
    found = advise(facts(hours={"2026-03": Decimal(10)}), AT, 30)

    assert found is not None
    assert found.kind is AdviceKind.TO_AUTO_STOP  # saves 65.20 instead of 20


async def test_sync_measures_loads_once_a_week_and_advises_a_smaller_size(
    inventory: httpx.AsyncClient, double: Double, world: World
) -> None:
    aws.add_workspaces(world, 3, 1)
    place = world.place()
    first, second, third = sorted(place.workspaces)
    hour = now().replace(minute=0, second=0, microsecond=0)
    for key, cpu in ((first, 10.0), (second, 60.0)):
        properties = place.workspaces[key]["WorkspaceProperties"]
        properties |= {"RunningMode": "ALWAYS_ON", "ComputeTypeName": "POWER", "UserVolumeSizeGib": 50}
        place.connections[key]["LastKnownUserConnectionTimestamp"] = now()
        place.loads[key] = [(hour - timedelta(hours=one), cpu, 20.0) for one in range(1, 60)]
    await add_account(inventory, double)
    done = await sync(inventory)
    assert done["state"] == "completed"

    found = (await inventory.get("/advice?kind=oversized", headers=USER)).json()
    assert [row["workspace_id"] for row in found] == [first]
    assert (found[0]["saving_low"], found[0]["basis"]["smaller_size"]) == ("45", "STANDARD")
    assert found[0]["basis"]["hours_measured"] == 59
    again = await sync(inventory)
    assert "load" not in [part["source"] for part in again["parts"]]
    del place.workspaces[second]
    await sync(inventory)
    named = await sync(inventory, kind="load")
    (part,) = named["parts"]
    assert (part["state"], part["changed"], part["gone"]) == ("done", 0, 1)
    assert third in place.workspaces


async def test_without_the_permission_loads_stay_unknown_and_it_is_named(
    inventory: httpx.AsyncClient, double: Double, world: World
) -> None:
    aws.add_workspaces(world, 2, 1)
    await add_account(inventory, double)
    await sync(inventory, kind="workspaces")
    world.denied.add("cloudwatch:GetMetricData")
    done = await sync(inventory, kind="load")

    assert (done["state"], done["parts"][0]["missing"]) == ("completed", ["cloudwatch:GetMetricData"])
