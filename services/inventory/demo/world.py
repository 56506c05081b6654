"""The data of the fake AWS, and its faults."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

NUMBER, REGION, HOME = "123456789012", "eu-central-1", "us-east-1"
BEGIN = datetime(2026, 3, 2, 9, tzinfo=UTC)

Row = dict[str, Any]
CostGroup = tuple[tuple[str, str, str], tuple[Decimal, Decimal]]

BUNDLES = {
    "wsb-value0001": ("Value with Windows 10", "VALUE"),
    "wsb-stand0002": ("Standard with Windows 10", "STANDARD"),
    "wsb-perf00003": ("Performance with Windows 10", "PERFORMANCE"),
    "wsb-power0004": ("Power with Amazon Linux 2", "POWER"),
}


class Refused(Exception):
    """An error response of AWS."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


@dataclass
class Place:
    """What one account has in one region."""

    directories: list[Row] = field(default_factory=list)
    workspaces: dict[str, Row] = field(default_factory=dict)
    connections: dict[str, Row] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    events: list[Row] = field(default_factory=list)  # CloudTrail events
    connected: dict[str, list[datetime]] = field(default_factory=dict)  # samples of UserConnected
    loads: dict[str, list[tuple[datetime, float, float]]] = field(default_factory=dict)  # CPU and memory
    costs: list[Row] = field(default_factory=list)  # day, resource, usage_type, region, amount, quantity

    def points(self, metric: str, workspace_id: str) -> Iterator[tuple[float, float]]:
        """Yield the time and value of each sample of a CloudWatch metric, in any order."""
        if metric == "UserConnected":
            yield from ((at.timestamp(), 1.0) for at in self.connected.get(workspace_id, ()))
        else:
            for at, cpu, memory in self.loads.get(workspace_id, ()):
                yield at.timestamp(), cpu if metric == "CPUUsage" else memory

    def cost_groups(self, start: str, end: str, keys: tuple[str, str]) -> list[CostGroup]:
        """Sum the costs of these days by day and two more keys, sorted by these."""
        groups: dict[tuple[str, str, str], tuple[Decimal, Decimal]] = {}
        for row in self.costs:
            if start <= row["day"] < end:
                key = row["day"], row[keys[0]], row[keys[1]]
                amount, quantity = groups.get(key, (Decimal(0), Decimal(0)))
                groups[key] = amount + Decimal(row["amount"]), quantity + Decimal(row["quantity"])
        return sorted(groups.items())


def standard_prices(region: str = REGION) -> list[Row]:
    """Create a price list of all bundles and volumes that the fake AWS uses."""
    rows = []
    for bundle, month, base, hour in (
        ("Value", 25, "7.25", "0.22"),
        ("Standard", 35, "9.75", "0.30"),
        ("Performance", 60, "13.00", "0.57"),
        ("Power", 80, "13.00", "0.68"),
    ):
        for user in (10, 50, 100):
            kind = {"region": region, "bundle": bundle, "root": 80, "user": user}
            rows += [
                {**kind, "mode": "AlwaysOn", "unit": "Month", "price": f"{month + user / 10:.10f}"},
                {**kind, "mode": "AutoStop", "unit": "Month", "price": base},
                {**kind, "mode": "AutoStop", "unit": "Hour", "price": hour},
            ]
    return rows


@dataclass
class World:
    """All data of the fake AWS, and its faults."""

    places: dict[tuple[str, str], Place] = field(default_factory=dict)
    keys: dict[str, tuple[str, str, str]] = field(default_factory=dict)  # id: secret, account, token
    roles: dict[str, str | None] = field(default_factory=dict)  # ARN: external id
    denied: set[str] = field(default_factory=set)  # permissions denied to every account
    throttle_every: int = 0  # throttle every nth call; 0 for none
    broken: dict[str, int] = field(default_factory=dict)  # operation: number of the first call that fails
    token_epoch: int = 0  # incrementing it expires all page tokens
    now: datetime = BEGIN
    is_cost_by_resource: bool = True
    resource_days: int = 14  # how far back costs per resource go
    cost_page_rows: int = 100
    estimated_days: int = 2
    prices: list[Row] = field(default_factory=standard_prices)
    metric_page_points: int = 100_800
    calls: list[str] = field(default_factory=list)
    before_page: Callable[[str, int], None] | None = (
        None  # called with the operation and the number of the call
    )
    lock: threading.RLock = field(default_factory=threading.RLock)

    def place(self, number: str = NUMBER, region: str = REGION) -> Place:
        return self.places.setdefault((number, region), Place())

    def count(self, operation: str) -> int:
        return self.calls.count(operation)
