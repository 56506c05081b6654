"""Usage hours: from CloudWatch samples to days and months, and from the bill once it is final."""

import random
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from botocore.utils import parse_timestamp

from services.inventory import usage_months
from services.inventory.aws import Aws, Call, Tally, Target, parsed_time
from services.inventory.dated import month_of, next_month
from services.inventory.sessions import Used, days_of, sessions_of
from services.inventory.settings import Settings
from services.inventory.sync import cloudwatch
from services.inventory.sync.usage import CONNECTED
from services.inventory.usage_months import MILLION, Hours, months_of
from shared.clock import now
from tests.inventory import aws
from tests.inventory.aws import REGION, Double, World
from tests.inventory.support import ADMIN, USER, add_account, sync

HOUR = timedelta(hours=1)
DAY = datetime(2026, 3, 4, tzinfo=UTC)
LATER = DAY + timedelta(days=9)
METRICS = dict.fromkeys(("days", "connected_minutes", "sessions", "session_hours", "clock_hours"), 3)


def at(hour: float, minutes: int = 0) -> list[datetime]:
    """Return the samples of a connection that begins at this hour and takes these minutes."""
    begin = DAY + timedelta(hours=hour)
    return [begin + timedelta(minutes=one) for one in range(0, minutes or 5, 5)]


class TestSessions:
    def test_session_ends_one_timeout_after_the_last_sample(self) -> None:
        assert sessions_of(at(9, 30), HOUR, LATER) == [
            (DAY + timedelta(hours=9), DAY + timedelta(hours=10.5))
        ]

    def test_reconnection_before_the_timeout_continues_the_session(self) -> None:
        assert len(sessions_of([*at(9, 5), *at(10)], HOUR, LATER)) == 1
        assert len(sessions_of([*at(9, 5), *at(10.25)], HOUR, LATER)) == 2

    def test_session_that_still_runs_is_cut_off_now(self) -> None:
        until = DAY + timedelta(hours=9.25)
        assert sessions_of(at(9), HOUR, until) == [(DAY + timedelta(hours=9), until)]
        assert sessions_of(at(9), HOUR, DAY) == []

    def test_order_and_repetition_of_samples_do_not_matter(self) -> None:
        samples = [*at(9, 60), *at(14, 20)]
        mixed = [*samples, *samples]
        random.Random(1).shuffle(mixed)
        assert days_of(mixed, HOUR, LATER) == days_of(samples, HOUR, LATER)


class TestDays:
    def test_hours_are_counted_per_session_and_per_clock_hour(self) -> None:
        # 9:00 to 10:35 is two hours begun in two clock hours, and 12:50 to 14:05 is two more in three.
        samples = [*at(9, 35), *(DAY + timedelta(hours=12, minutes=one) for one in (50, 55, 60))]
        found = days_of(samples, HOUR, LATER)
        assert found[DAY.date()] == Used(connected_minutes=50, sessions=2, session_hours=4, clock_hours=5)

    def test_session_over_midnight_counts_once_and_its_clock_hours_on_both_days(self) -> None:
        found = days_of(at(23.5, 20), HOUR, LATER)
        tomorrow = DAY.date() + timedelta(days=1)

        assert found[DAY.date()] == Used(connected_minutes=20, sessions=1, session_hours=2, clock_hours=1)
        assert found[tomorrow] == Used(clock_hours=1)

    def test_two_sessions_in_one_clock_hour_are_two_session_hours_and_one_clock_hour(self) -> None:
        found = days_of([*at(9), *at(9.5)], timedelta(minutes=5), LATER)
        assert found[DAY.date()] == Used(connected_minutes=10, sessions=2, session_hours=2, clock_hours=1)

    def test_no_samples_give_no_days(self) -> None:
        assert days_of([], HOUR, LATER) == {}


class TestMonth:
    def of(self, **given: Any) -> dict[str, Any] | None:
        usual: dict[str, Any] = {"before": None, "metrics": None, "bill": None, "read": None}
        return usage_months._month(**{**usual, **given})

    def test_without_metrics_and_bill_there_is_no_month(self) -> None:
        assert self.of() is None

    def test_metrics_that_were_read_without_a_connection_give_zero_hours(self) -> None:
        row = self.of(read=("2026-03-01", "2026-03-09"))
        assert row is not None
        assert (row["source"], row["hours"], row["days"]) == (Hours.METRICS, 0, 0)

    @pytest.mark.parametrize(("is_final", "source"), [(True, "bill"), (False, "metrics")])
    def test_bill_decides_once_it_is_final(self, is_final: bool, source: str) -> None:
        read = ("2026-03-01", "2026-03-31")
        row = self.of(metrics=METRICS, bill=(9 * MILLION, is_final), read=read)
        assert row is not None
        assert (row["source"], row["hours"]) == (source, (9 if is_final else 3) * MILLION)
        assert row["billed"] == 9 * MILLION

    def test_bill_decides_if_metrics_could_not_be_read(self) -> None:
        row = self.of(bill=(9 * MILLION, False))
        assert row is not None
        assert (row["source"], row["hours"], row["clock_hours"]) == ("bill", 9 * MILLION, None)

    def test_days_read_grow_with_each_scan(self) -> None:
        before = {"first_day": "2026-03-01", "last_day": "2026-03-09"}
        row = self.of(before=before, metrics=METRICS, read=("2026-03-08", "2026-03-12"))
        assert row is not None
        assert (row["first_day"], row["last_day"]) == ("2026-03-01", "2026-03-12")

    def test_months_of_a_range_are_listed_over_the_end_of_a_year(self) -> None:
        assert months_of((date(2025, 11, 30), date(2026, 2, 1))) == [
            "2025-11",
            "2025-12",
            "2026-01",
            "2026-02",
        ]
        assert next_month("2026-12") == "2027-01"


def connect(world: World, number: int = 4, seed: int = 3) -> dict[str, list[datetime]]:
    """Connect users at random times of the last 40 days, the last of them yesterday."""
    chance, place = random.Random(seed), world.place()
    midnight = now().replace(hour=0, minute=0, second=0, microsecond=0)
    for workspace_id in sorted(place.workspaces)[:number]:
        found = []
        for _ in range(25):
            begin = midnight - timedelta(minutes=5 * chance.randrange(288, 40 * 288))
            found += [begin + timedelta(minutes=5 * one) for one in range(chance.randrange(1, 40))]
        place.connected[workspace_id] = [one for one in found if one < midnight]
    return place.connected


def expected(world: World, workspace_id: str) -> dict[date, Used]:
    row = world.place().workspaces[workspace_id]
    minutes = row["WorkspaceProperties"].get("RunningModeAutoStopTimeoutInMinutes") or 60
    return dict(days_of(world.place().connected[workspace_id], timedelta(minutes=minutes), now()))


async def months(inventory: httpx.AsyncClient, query: str = "") -> list[dict[str, Any]]:
    response = await inventory.get(f"/usage?limit=200{query and '&' + query}", headers=USER)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()
    return found


async def test_hours_of_each_month_and_day_follow_from_the_samples_of_aws(
    inventory: httpx.AsyncClient, double: Double, world: World
) -> None:
    aws.add_workspaces(world, 12, 1)
    connect(world)
    world.metric_page_points = 250  # so that a call has several pages
    await add_account(inventory, double)
    done = await sync(inventory)
    assert (done["state"], world.count("GetMetricData") > 3) == ("completed", True)

    found = await months(inventory)
    by_workspace: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for row in found:
        by_workspace[row["workspace_id"]][row["month"]] = row
    this_month = month_of(now().date())
    for workspace_id in world.place().workspaces:
        if workspace_id not in world.place().connected:
            assert [*by_workspace[workspace_id]] == [this_month], "unknown before it was first seen"
            assert by_workspace[workspace_id][this_month]["hours"] == "0"
            continue
        days = expected(world, workspace_id)
        for month, row in by_workspace[workspace_id].items():
            mine = [used for day, used in days.items() if month_of(day) == month]
            assert row["clock_hours"] == sum(used.clock_hours for used in mine)
            assert row["session_hours"] == sum(used.session_hours for used in mine)
            assert row["connected_minutes"] == sum(used.connected_minutes for used in mine)
            assert row["days"] == sum(used.connected_minutes > 0 for used in mine)
            assert (row["source"], row["hours"]) == ("metrics", str(row["clock_hours"]))
        shown = (await inventory.get(f"/workspaces/{workspace_id}/metrics", headers=USER)).json()
        assert {one["day"]: one["sessions"] for one in shown["days"]} == {
            day.isoformat(): used.sessions for day, used in days.items()
        }
        assert shown["usage"] == [row for row in found if row["workspace_id"] == workspace_id]

    again = await sync(inventory, kind="usage")
    assert (again["state"], again["changed"]) == ("completed", 0)
    assert await months(inventory) == found, "a sync without changes updates nothing"


async def test_times_of_samples_are_those_that_botocore_reads_but_in_utc(
    make_inventory_settings: Callable[..., Settings], double: Double, world: World
) -> None:
    for told in (1_772_442_000, 1772442000.5, -1.0, 1e11, "2026-03-02T09:00:00Z", "1772442000"):
        assert parsed_time(told) == parse_timestamp(told)
    aws.add_workspaces(world, 1, 1)
    (key,) = world.place().workspaces
    world.place().connected[key] = samples = at(9, 30)
    client = Aws(make_inventory_settings())
    asked = {"MetricDataQueries": [cloudwatch.query(0, key, CONNECTED)], "StartTime": DAY, "EndTime": LATER}
    call = Call("cloudwatch", "get_metric_data", cloudwatch.ACTION, asked)
    answer = await client.call(Target("a", 1, endpoint_url=double.url), REGION, call, Tally())
    client.close()

    times = answer["MetricDataResults"][0]["Timestamps"]
    assert times == samples
    assert {one.tzinfo for one in times} == {UTC}, "a time zone for each takes most of the time of parsing it"


async def test_list_filters_by_month_workspace_and_user_and_names_each_workspace(
    inventory: httpx.AsyncClient, double: Double, world: World
) -> None:
    aws.add_workspaces(world, 6, 1)
    connect(world)
    await add_account(inventory, double)
    await sync(inventory)
    every = await months(inventory)
    this_month, one = month_of(now().date()), min(world.place().connected)
    user = world.place().workspaces[one]["UserName"]

    assert [row["month"] for row in every] == sorted((row["month"] for row in every), reverse=True)
    assert {row["user_name"] for row in every} == {
        row["UserName"] for row in world.place().workspaces.values()
    }
    cases = {
        f"month_from={this_month}": [row for row in every if row["month"] == this_month],
        f"month_to={this_month}": every,
        "month_to=2020-01": [],
        f"workspace_id={one}": [row for row in every if row["workspace_id"] == one],
        f"user_name={user}": [row for row in every if row["workspace_id"] == one],
        f"user_name={user}&month_to=2020-01": [],
        "user_name=nobody": [],
    }
    for query, wanted in cases.items():
        assert await months(inventory, query) == wanted, query
    summary = (await inventory.get(f"/usage/summary?month={this_month}", headers=USER)).json()
    hours = [Decimal(row["hours"]) for row in every if row["month"] == this_month]
    assert (summary["workspace_count"], summary["sources"]) == (6, {"metrics": 6})
    assert Decimal(summary["total_hours"]) == sum(hours)
    assert Decimal(summary["max_hours"]) == max(hours)
    assert Decimal(summary["avg_hours"]) == (sum(hours, Decimal(0)) / 6).quantize(Decimal("0.01"))


async def test_denied_metrics_fail_only_their_part_and_no_hours_are_invented(
    inventory: httpx.AsyncClient, double: Double, world: World
) -> None:
    aws.add_workspaces(world, 3, 1)
    world.denied.add("cloudwatch:GetMetricData")
    account = await add_account(inventory, double)
    done = await sync(inventory)

    failed = [part["source"] for part in done["parts"] if part["state"] == "failed"]
    assert (done["state"], failed) == ("partial", ["usage"])
    assert await months(inventory) == []
    shown = (await inventory.get("/dashboard", headers=USER)).json()
    assert (shown["usage"]["sources"], shown["usage"]["workspace_count"]) == ({}, 0)
    shown = (await inventory.get(f"/admin/aws-accounts/{account['id']}", headers=ADMIN)).json()
    assert "cloudwatch:GetMetricData" in shown["status_detail"][0]


@pytest.mark.parametrize(
    "path",
    [
        "/usage?month_from=2026-13",
        "/usage?month_to=soon",
        "/usage?workspace_id=x",
        "/usage?colour=red",
        "/usage/summary",
        "/usage/summary?month=2026",
        "/workspaces/ws-000000001/metrics?months=0",
        "/usage/export?format=pdf",
    ],
)
async def test_malformed_query_is_refused(inventory: httpx.AsyncClient, path: str) -> None:
    assert (await inventory.get(path)).status_code == 401
    assert (await inventory.get(path, headers=USER)).status_code == 422
    unknown = await inventory.get("/workspaces/ws-unknown1/metrics", headers=USER)
    assert unknown.status_code == 404
