"""The operations of the fake AWS, with its paging and its limits."""

import json
import statistics
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from services.inventory.demo.world import BUNDLES, HOME, Refused, Row, World

PAGE_ROWS, TAGGED_MAX, EVENTS_MAX = 25, 100, 50
METRICS_MAX, POINTS_MAX = 500, 100_800
METRIC_SECONDS = 300

Answer = dict[str, Any]


class Service:
    """The operations of all APIs, for one request."""

    def __init__(self, world: World, number: str, region: str, body: Row) -> None:
        self.world, self.number, self.region, self.body = world, number, region, body
        self.place = world.place(number, region)

    def describe_workspace_directories(self) -> Answer:
        return self._page("Directories", self.place.directories, "DirectoryId", PAGE_ROWS)

    def describe_workspaces(self) -> Answer:
        rows = [self.place.workspaces[key] for key in sorted(self.place.workspaces)]
        return self._page("Workspaces", rows, "WorkspaceId", self.body.get("Limit", PAGE_ROWS))

    def describe_workspaces_connection_status(self) -> Answer:
        wanted = self._at_most("WorkspaceIds", PAGE_ROWS)
        found = [self.place.connections[key] for key in wanted if key in self.place.connections]
        return {"WorkspacesConnectionStatus": found}

    def describe_workspace_bundles(self) -> Answer:
        wanted = self._at_most("BundleIds", PAGE_ROWS)
        named = [(key, *BUNDLES[key]) for key in wanted if key in BUNDLES]
        return {
            "Bundles": [
                {"BundleId": key, "Name": name, "Owner": "AMAZON", "ComputeType": {"Name": kind}}
                for key, name, kind in named
            ]
        }

    def modify_workspace_properties(self) -> Answer:
        workspace = self.place.workspaces.get(self.body["WorkspaceId"])
        if workspace is None:
            raise Refused("ResourceNotFoundException", "The WorkSpace could not be found")
        if len(self.body["WorkspaceProperties"]) != 1:
            raise Refused("InvalidParameterValuesException", "Only one property can be changed at a time")
        workspace["WorkspaceProperties"].update(self.body["WorkspaceProperties"])
        return {}

    def get_resources(self) -> Answer:
        keys = [arn.rpartition("/")[2] for arn in self._at_most("ResourceARNList", TAGGED_MAX)]
        arn = f"arn:aws:workspaces:{self.region}:{self.number}:workspace/"
        return {
            "PaginationToken": "",
            "ResourceTagMappingList": [
                {
                    "ResourceARN": arn + key,
                    "Tags": [{"Key": name, "Value": value} for name, value in self.place.tags[key].items()],
                }
                for key in keys
                if key in self.place.tags
            ],
        }

    def lookup_events(self) -> Answer:
        wanted = {one["AttributeKey"]: one["AttributeValue"] for one in self.body.get("LookupAttributes", ())}
        rows = [
            row
            for row in sorted(self.place.events, key=lambda row: row["EventTime"], reverse=True)
            if row["EventTime"].timestamp() >= self.body.get("StartTime", 0)
            and wanted.get("EventSource") in (None, row["EventSource"])
        ]
        size = self.body.get("MaxResults", EVENTS_MAX)
        if not 0 < size <= EVENTS_MAX:
            raise Refused("InvalidMaxResultsException", f"MaxResults must be between 1 and {EVENTS_MAX}")
        epoch, _, first = str(self.body.get("NextToken", f"{self.world.token_epoch}:0")).partition(":")
        if epoch != str(self.world.token_epoch):
            raise Refused("InvalidNextTokenException", "The next token is invalid")
        end = int(first) + size
        more = {"NextToken": f"{epoch}:{end}"} if end < len(rows) else {}
        return {"Events": rows[int(first) : end], **more}

    def get_metric_data(self) -> Answer:
        queries, body = self.body["MetricDataQueries"], self.body
        if not 0 < len(queries) <= METRICS_MAX:
            raise Refused("ValidationError", f"at most {METRICS_MAX} metrics")
        points: list[tuple[str, float, float]] = []
        for query in queries:
            metric, (period, reduce) = query["MetricStat"]["Metric"], _period(query["MetricStat"])
            sums: dict[float, list[float]] = {}
            for at, value in self.place.points(metric["MetricName"], metric["Dimensions"][0]["Value"]):
                if body["StartTime"] <= at < body["EndTime"]:
                    sums.setdefault(at // period * period, []).append(value)
            points += [(query["Id"], at, reduce(values)) for at, values in sorted(sums.items())]
        first = int(body.get("NextToken", "0"))
        size = min(body.get("MaxDatapoints", POINTS_MAX), self.world.metric_page_points)
        some: dict[str, list[tuple[float, float]]] = {}
        for key, at, value in points[first : first + size]:
            some.setdefault(key, []).append((at, value))
        results = [
            {
                "Id": query["Id"],
                "Label": query["MetricStat"]["Metric"]["MetricName"],
                "Timestamps": [at for at, _ in some.get(query["Id"], ())],
                "Values": [value for _, value in some.get(query["Id"], ())],
                "StatusCode": "Complete",
            }
            for query in queries
        ]
        more = {"NextToken": str(first + size)} if first + size < len(points) else {}
        return {"MetricDataResults": results, "Messages": [], **more}

    def get_products(self) -> Answer:
        self._only_at_home()
        wanted = {one["Field"]: one["Value"] for one in self.body.get("Filters", ())}
        rows = [row for row in self.world.prices if row["region"] == wanted.get("regionCode", row["region"])]
        first, size = int(self.body.get("NextToken", "0")), self.body.get("MaxResults", 100)
        more = {"NextToken": str(first + size)} if first + size < len(rows) else {}
        page = [product_text(row) for row in rows[first : first + size]]
        return {"FormatVersion": "aws_v1", "PriceList": page, **more}

    def get_cost_and_usage_with_resources(self) -> Answer:
        if not self.world.is_cost_by_resource:
            raise Refused("DataUnavailableException", "Resource-level data is not enabled")
        oldest = datetime.now(UTC) - timedelta(days=self.world.resource_days)
        begin = oldest.date().isoformat()
        if self.body["TimePeriod"]["Start"] < begin:
            raise Refused("ValidationException", f"Resource data goes back {self.world.resource_days} days")
        return self._costs(("resource", "usage_type"))

    def get_cost_and_usage(self) -> Answer:
        return self._costs(("usage_type", "region"))

    def _costs(self, keys: tuple[str, str]) -> Answer:
        self._only_at_home()
        days = self.body["TimePeriod"]
        groups = self.place.cost_groups(days["Start"], days["End"], keys)
        first, size = int(self.body.get("NextPageToken", "0")), self.world.cost_page_rows
        by_day: dict[str, list[Row]] = {}
        for (day, one, two), (amount, quantity) in groups[first : first + size]:
            metrics = {
                "UnblendedCost": {"Amount": f"{amount:f}", "Unit": "USD"},
                "UsageQuantity": {"Amount": f"{quantity:f}", "Unit": _unit({keys[0]: one, keys[1]: two})},
            }
            by_day.setdefault(day, []).append({"Keys": [one, two], "Metrics": metrics})
        recent = (datetime.now(UTC) - timedelta(days=self.world.estimated_days)).date().isoformat()
        results = [
            {"TimePeriod": {"Start": day, "End": day}, "Groups": rows, "Estimated": day >= recent}
            for day, rows in by_day.items()
        ]
        more = {"NextPageToken": str(first + size)} if first + size < len(groups) else {}
        return {"ResultsByTime": results, **more}

    def _only_at_home(self) -> None:
        if self.region != HOME:
            raise Refused("UnknownEndpoint", f"This API exists only in {HOME}")

    def _at_most(self, name: str, most: int) -> list[str]:
        wanted: list[str] = self.body.get(name) or []
        if not 0 < len(wanted) <= most:
            raise Refused("ValidationException", f"{name} must have length between 1 and {most}")
        return wanted

    def _page(self, name: str, rows: list[Row], key: str, size: int) -> Answer:
        if not 0 < size <= PAGE_ROWS:
            raise Refused("ValidationException", f"Limit must be between 1 and {PAGE_ROWS}")
        after = ""
        if token := self.body.get("NextToken"):
            epoch, _, after = str(token).partition(":")
            if epoch != str(self.world.token_epoch):
                raise Refused("InvalidParameterValuesException", "The next token is invalid")
        rest = [row for row in rows if row[key] > after]
        more = {"NextToken": f"{self.world.token_epoch}:{rest[size - 1][key]}"} if len(rest) > size else {}
        return {name: rest[:size], **more}


def _unit(keys: Mapping[str, str]) -> str:
    return "Month" if keys["usage_type"].endswith("-Month") else "Hrs"


def _period(stat: Row) -> tuple[int, Callable[[list[float]], float]]:
    """Return the seconds of a period and what reduces its samples to one value."""
    reduce: dict[str, Callable[[list[float]], float]] = {"Maximum": max, "Average": statistics.fmean}
    if stat["Stat"] not in reduce or stat["Period"] % METRIC_SECONDS:
        raise Refused("ValidationError", f"no statistic {stat['Stat']} of {stat['Period']} seconds")
    return stat["Period"], reduce[stat["Stat"]]


def product_text(row: Row) -> str:
    """Describe a price like AWS's price list."""
    attributes = {
        "servicecode": "AmazonWorkSpaces",
        "regionCode": row["region"],
        "bundle": row["bundle"],
        "license": "Included",
        "operatingSystem": row.get("system", "Windows"),
        "rootVolume": f"{row['root']} GB",
        "userVolume": f"{row['user']} GB",
        "runningMode": row["mode"],
        "softwareIncluded": row.get("software", "None"),
    }
    dimension = {"unit": row["unit"], "pricePerUnit": {"USD": row["price"]}}
    terms = {"OnDemand": {"T": {"priceDimensions": {"T.6YS6EN2CT7": dimension}}}}
    return json.dumps({"product": {"attributes": attributes}, "terms": terms})


PERMISSIONS = {
    "DescribeWorkspaceDirectories": "workspaces:DescribeWorkspaceDirectories",
    "DescribeWorkspaces": "workspaces:DescribeWorkspaces",
    "DescribeWorkspacesConnectionStatus": "workspaces:DescribeWorkspacesConnectionStatus",
    "DescribeWorkspaceBundles": "workspaces:DescribeWorkspaceBundles",
    "ModifyWorkspaceProperties": "workspaces:ModifyWorkspaceProperties",
    "GetResources": "tag:GetResources",
    "LookupEvents": "cloudtrail:LookupEvents",
    "GetProducts": "pricing:GetProducts",
    "GetMetricData": "cloudwatch:GetMetricData",
    "GetCostAndUsageWithResources": "ce:GetCostAndUsageWithResources",
    "GetCostAndUsage": "ce:GetCostAndUsage",
}
ANSWERS: dict[str, Callable[[Service], Answer]] = {
    "DescribeWorkspaceDirectories": Service.describe_workspace_directories,
    "DescribeWorkspaces": Service.describe_workspaces,
    "DescribeWorkspacesConnectionStatus": Service.describe_workspaces_connection_status,
    "DescribeWorkspaceBundles": Service.describe_workspace_bundles,
    "ModifyWorkspaceProperties": Service.modify_workspace_properties,
    "GetResources": Service.get_resources,
    "LookupEvents": Service.lookup_events,
    "GetProducts": Service.get_products,
    "GetMetricData": Service.get_metric_data,
    "GetCostAndUsageWithResources": Service.get_cost_and_usage_with_resources,
    "GetCostAndUsage": Service.get_cost_and_usage,
}
