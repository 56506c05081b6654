"""Reads metrics of WorkSpaces from CloudWatch, which charges per metric, however long its time range."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from services.inventory.aws import AwsFailed, Call, Kind
from services.inventory.sync.source import Reading

ACTION = "cloudwatch:GetMetricData"
NAMESPACE = "AWS/WorkSpaces"
POINTS_MAX = 100_800  # per call
PAGES_MAX = 50


@dataclass(frozen=True, slots=True)
class Metric:
    name: str
    stat: str
    period: timedelta


Sample = tuple[datetime, float]


async def read_metrics(
    reading: Reading, wanted: Sequence[tuple[str, Metric]], begin: datetime
) -> dict[tuple[str, Metric], list[Sample]]:
    """Read the samples of these metrics of WorkSpaces from `begin` to the start of the scan."""
    found: dict[tuple[str, Metric], list[Sample]] = {one: [] for one in wanted}
    asked: dict[str, Any] = {
        "MetricDataQueries": [query(number, *one) for number, one in enumerate(wanted)],
        "StartTime": begin,
        "EndTime": reading.place.started,
        "ScanBy": "TimestampAscending",
        "MaxDatapoints": POINTS_MAX,
    }
    for _ in range(PAGES_MAX):
        call = Call("cloudwatch", "get_metric_data", ACTION, asked)
        answer = await reading.aws.call(reading.target, reading.place.region, call, reading.tally)
        for one in answer.get("MetricDataResults", ()):
            values = zip(one.get("Timestamps", ()), one.get("Values", ()), strict=False)
            found[wanted[int(one["Id"][1:])]] += [(at.astimezone(UTC), float(value)) for at, value in values]
        if not answer.get("NextToken"):
            return found
        asked["NextToken"] = answer["NextToken"]
    raise AwsFailed(Kind.OTHER, ACTION, "TooManyPages", json.dumps({"metrics": len(wanted)}))


def query(number: int, workspace_id: str, metric: Metric) -> dict[str, Any]:
    dimensions = [{"Name": "WorkspaceId", "Value": workspace_id}]
    told = {"Namespace": NAMESPACE, "MetricName": metric.name, "Dimensions": dimensions}
    stat = {"Metric": told, "Period": int(metric.period.total_seconds()), "Stat": metric.stat}
    return {"Id": f"w{number}", "MetricStat": stat, "ReturnData": True}
