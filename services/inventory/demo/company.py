"""An invented company of 300 WorkSpaces over a year, for the fake AWS.

Everything follows from the day and the number of the WorkSpace, so it is the same at every start.
"""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from services.inventory.demo.world import (
    BUNDLES,
    HOME,
    REGION,
    CostGroup,
    Place,
    Row,
    World,
    standard_prices,
)

NUMBER = "000000000000"  # AWS has no account with this number
KEY_ID = "AKIADEMOCOMPANY00000"
DIRECTORY = "d-demo000001"
DAYS = 366
METRIC_DAYS = 66  # CloudWatch keeps these samples for 63
EVENT_DAYS = 8
LEFT_DAYS = 45  # since the contractors left
SAMPLE, HOUR = timedelta(minutes=5), timedelta(hours=1)
TIMEOUT_MINUTES = 60
REFRESHED_SECONDS = 60
CALLS_KEPT = 10_000
VALUE, STANDARD, PERFORMANCE, POWER = BUNDLES
AUTO_STOP, ALWAYS_ON = "AUTO_STOP", "ALWAYS_ON"


@dataclass(frozen=True, slots=True)
class Team:
    """People who work alike; `cpu` and `memory` are average percentages."""

    name: str
    people: int
    bundle: str
    mode: str
    days: int  # of a week
    hours: float  # of such a day
    cpu: float = 35
    memory: float = 55
    has_left: bool = False


TEAMS = (
    Team("support", 80, STANDARD, AUTO_STOP, 5, 7),  # would be cheaper always on
    Team("sales", 65, STANDARD, AUTO_STOP, 4, 2),
    Team("engineering", 50, PERFORMANCE, ALWAYS_ON, 5, 8, 60, 75),
    Team("design", 30, POWER, ALWAYS_ON, 5, 7, 12, 20),  # larger than they need
    Team("finance", 35, STANDARD, ALWAYS_ON, 2, 2),  # would be cheaper with AutoStop
    Team("contractors", 25, VALUE, AUTO_STOP, 5, 4, has_left=True),
    Team("trainees", 15, VALUE, AUTO_STOP, 0, 0),  # have never connected
)


@dataclass(frozen=True, slots=True)
class Person:
    """One WorkSpace and how it is used."""

    number: int
    team: Team
    name: str

    @property
    def workspace_id(self) -> str:
        return f"ws-demo{self.number:05}"

    def worked(self, day: date, today: date) -> tuple[datetime, datetime] | None:
        """Return when this person was connected on a day, in samples of five minutes."""
        team = self.team
        if day.weekday() >= team.days or (team.has_left and (today - day).days < LEFT_DAYS):
            return None
        chance = random.Random(f"{self.number} {day}")  # noqa: S311 - invented data
        if chance.random() < 0.08:
            return None  # a day off
        begin = datetime.combine(day, time(7, tzinfo=UTC)) + SAMPLE * chance.randrange(24)
        return begin, begin + SAMPLE * max(1, round(team.hours * chance.uniform(0.7, 1.3) * 12))

    def hours(self, day: date, today: date) -> int:
        """Return the clock hours in which the WorkSpace ran, until its AutoStop timeout."""
        worked = self.worked(day, today)
        if worked is None:
            return 0
        end = worked[1] + timedelta(minutes=TIMEOUT_MINUTES)
        return -((worked[0].replace(minute=0) - end) // HOUR)


@dataclass
class Company(Place):
    """The company as one place; samples and sums of costs are computed on demand."""

    people: dict[str, Person] = field(default_factory=dict)
    at: Callable[[], datetime] = lambda: datetime.now(UTC)
    _groups: dict[tuple[str, str, tuple[str, str]], list[CostGroup]] = field(default_factory=dict)

    def points(self, metric: str, workspace_id: str) -> Iterator[tuple[float, float]]:
        now, person = self.at(), self.people.get(workspace_id)
        if person is None:
            return
        for ago in range(METRIC_DAYS):
            worked = person.worked(now.date() - timedelta(days=ago), now.date())
            if worked is not None:
                yield from _samples(metric, person, worked[0], min(worked[1], now))

    def cost_groups(self, start: str, end: str, keys: tuple[str, str]) -> list[CostGroup]:
        asked = start, end, keys
        if asked not in self._groups:
            self._groups = {asked: super().cost_groups(start, end, keys)}
        return self._groups[asked]

    def refresh(self) -> None:
        """Bring the states and connections up to date."""
        now = self.at()
        for key, person in self.people.items():
            last = _last_connection(person, now)
            is_connected = last is not None and last >= now
            runs = last is not None and last + timedelta(minutes=TIMEOUT_MINUTES) >= now
            always = person.team.mode == ALWAYS_ON
            self.workspaces[key]["State"] = "AVAILABLE" if runs or always else "STOPPED"
            told: Row = {"WorkspaceId": key}
            told["ConnectionState"] = "CONNECTED" if is_connected else "DISCONNECTED"
            if last is not None:
                told["LastKnownUserConnectionTimestamp"] = min(last, now)
            self.connections[key] = told


def _samples(metric: str, person: Person, begin: datetime, end: datetime) -> Iterator[tuple[float, float]]:
    if metric == "UserConnected":
        first, step = begin.timestamp(), SAMPLE.total_seconds()
        for number in range(max(0, (end - begin) // SAMPLE)):
            yield first + number * step, 1.0
        return
    mean = person.team.cpu if metric == "CPUUsage" else person.team.memory
    chance = random.Random(f"{metric} {person.number} {begin}")  # noqa: S311 - invented data
    while begin < end:
        yield begin.timestamp(), min(100.0, max(1.0, chance.gauss(mean, mean / 8)))
        begin += HOUR


def _last_connection(person: Person, now: datetime) -> datetime | None:
    """Return the end of the last time the person was connected; in the future if still connected."""
    for ago in range(DAYS if person.team.days else 0):
        worked = person.worked(now.date() - timedelta(days=ago), now.date())
        if worked is not None and worked[0] <= now:
            return worked[1]
    return None


def build(secret: str, at: Callable[[], datetime] = lambda: datetime.now(UTC)) -> World:
    """Create a fake AWS with the company as its only account, which has one key with this secret."""
    company = Company(at=at)
    _add_people(company, TEAMS)
    company.refresh()
    _add_costs(company)
    _add_events(company)
    world = World(
        places={(NUMBER, REGION): company, (NUMBER, HOME): company},
        keys={KEY_ID: (secret, NUMBER, "")},
        resource_days=DAYS + 1,
        cost_page_rows=2000,
        prices=standard_prices(),
    )
    refreshed = [at()]

    def before_page(_operation: str, _number: int) -> None:
        if (at() - refreshed[0]).total_seconds() > REFRESHED_SECONDS:
            refreshed[0] = at()
            company.refresh()
        del world.calls[:-CALLS_KEPT]

    world.before_page = before_page
    return world


def _add_people(company: Company, teams: Sequence[Team]) -> None:
    told = {"DirectoryId": DIRECTORY, "DirectoryName": "demo.example.com", "Alias": "demo"}
    company.directories.append({**told, "DirectoryType": "AD_CONNECTOR", "State": "REGISTERED"})
    number = 0
    for team in teams:
        for member in range(1, team.people + 1):
            number += 1
            person = Person(number, team, f"{team.name}-{member:03}")
            company.people[person.workspace_id] = person
            company.workspaces[person.workspace_id] = _described(person)
            company.tags[person.workspace_id] = {"team": team.name, "demo": "yes"}


def _described(person: Person) -> Row:
    mode: Row = {"RunningMode": person.team.mode}
    if person.team.mode == AUTO_STOP:
        mode["RunningModeAutoStopTimeoutInMinutes"] = TIMEOUT_MINUTES
    size: Row = {"RootVolumeSizeGib": 80, "UserVolumeSizeGib": 50, **mode}
    system: Row = {"ComputeTypeName": BUNDLES[person.team.bundle][1], "OperatingSystemName": "WINDOWS_10"}
    return {
        "WorkspaceId": person.workspace_id,
        "DirectoryId": DIRECTORY,
        "UserName": person.name,
        "IpAddress": f"10.0.{person.number >> 8}.{person.number & 255}",
        "State": "STOPPED",
        "BundleId": person.team.bundle,
        "SubnetId": "subnet-demo",
        "ComputerName": f"DEMO-{person.number:04}",
        "RootVolumeEncryptionEnabled": True,
        "UserVolumeEncryptionEnabled": True,
        "WorkspaceProperties": {**size, **system, "Protocols": ["DCV"]},
    }


def _add_costs(company: Company) -> None:
    """Add the fees of every month, and of every hour that AutoStop WorkSpaces ran."""
    today = company.at().date()
    prices = {
        (row["bundle"].upper(), row["mode"], row["unit"]): Decimal(row["price"])
        for row in standard_prices()
        if row["user"] == 50
    }
    for ago in range(DAYS - 1, -1, -1):
        day = today - timedelta(days=ago)
        for person in company.people.values():
            size = BUNDLES[person.team.bundle][1]
            is_stopping = person.team.mode == AUTO_STOP
            mode = "AutoStop" if is_stopping else "AlwaysOn"
            if day.day == 1:
                fee = prices[size, mode, "Month"]
                company.costs.append(_cost(person, day, f"EUC1-{size}-{mode}-Month", fee, 1))
            hours = person.hours(day, today) if is_stopping else 0
            if hours:
                price = prices[size, mode, "Hour"] * hours
                company.costs.append(_cost(person, day, f"EUC1-{size}-{mode}-Usage", price, hours))


def _cost(person: Person, day: date, usage_type: str, amount: Decimal, quantity: int) -> Row:
    what: Row = {"usage_type": usage_type, "resource": person.workspace_id, "region": REGION}
    return {"day": day.isoformat(), **what, "amount": str(amount), "quantity": str(quantity)}


def _add_events(company: Company) -> None:
    """Add calls by the help desk, six on each of the past days."""
    keys, now = [*company.people], company.at()
    for number in range(EVENT_DAYS * 6):
        day = datetime.combine(now.date() - timedelta(days=number // 6), time(8, tzinfo=UTC))
        at = day + number % 6 * HOUR
        if at > now:
            continue
        key = keys[(at.toordinal() * 31 + at.hour * 7) % len(keys)]
        inside: dict[str, Any] = {
            "sourceIPAddress": "192.0.2.10",
            "requestParameters": {"requests": [{"workspaceId": key}]},
            "userIdentity": {"type": "IAMUser", "userName": "help-desk"},
        }
        company.events.append(
            {
                "EventId": f"demo-{at:%Y%m%d%H}",  # the same at every start
                "EventName": ("RebootWorkspaces", "StartWorkspaces", "StopWorkspaces")[number % 3],
                "EventTime": at,
                "EventSource": "workspaces.amazonaws.com",
                "Username": "help-desk",
                "CloudTrailEvent": json.dumps(inside),
            }
        )
